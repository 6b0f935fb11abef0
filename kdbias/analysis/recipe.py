"""The recipe of a run: all that decides its result but the seed, so that the seeds of one sweep have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdbias.config.kept import KEYS, put_kept
from kdbias.config.spec import Tree, flat, spec

DRAWS = "teacher.cache_seed"
Recipe = Mapping[str, Any]
"""As ``recipe`` gives it."""


def recipe(saved: Tree) -> dict[str, Any]:
    """Give the spec of a resolved config without its seed, as ``{"a.b": value}``.

    The spec leaves out a ``teacher.cache_seed`` that is the run's own seed. A recipe has it as the config writes it.
    """
    return flat(spec({key: value for key, value in saved.items() if key != "seed"}))


def joined(recipes: Sequence[Recipe], seeds: Sequence[int | None]) -> list[Recipe]:
    """Give the recipe under which each run is grouped: its own, or that of a sweep that reused the run.

    A run of seed 0 is the same with ``teacher.cache_seed=0`` and without, so a sweep with it does not train such a run
    again. A run takes another recipe if no other run has its own, if both are the same run at its seed, and if no run
    of the other recipe has this seed. If there is none, a run whose draws are of its own seed takes the recipe without
    their seed, as all runs of a sweep with ``teacher.cache_seed=${seed}`` do.

    Args:
        recipes: Those of the runs, as ``recipe`` gives them.
        seeds: Those of the runs, in the same order.
    """
    runs = list(zip(recipes, seeds, strict=True))
    return [_shared(one, seed, [*runs[:at], *runs[at + 1 :]]) for at, (one, seed) in enumerate(runs)]


def _shared(one: Recipe, seed: int | None, others: Sequence[tuple[Recipe, int | None]]) -> Recipe:
    if any(other == one for other, _ in others):
        return one
    taken = [other for other, of in others if of == seed]
    named = [other for other, _ in others if seed in (one.get(DRAWS), other.get(DRAWS))]
    own = _at(one, seed)
    alone = {key: value for key, value in one.items() if key != DRAWS} if one.get(DRAWS) == seed else one
    return next((other for other in named if other not in taken and _at(other, seed) == own), alone)


def _at(one: Recipe, seed: int | None) -> dict[str, Any]:
    """A recipe for a run of this seed: without the settings of kept answers that change nothing there."""
    kept = {key: one.get(f"teacher.{key}") for key in KEYS}
    put_kept(kept, seed)
    skip = {f"teacher.{key}" for key in KEYS}
    rest = {key: value for key, value in one.items() if key not in skip and (key, value) != ("teacher", {})}
    return rest | {f"teacher.{key}": value for key, value in kept.items()}
