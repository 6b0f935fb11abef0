"""The networks of a figure: names, seeds, styles and numbers of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.report.style import CONTROL, INITIAL, look, seeds

Array = npt.NDArray[Any]
Runs = Result | Sequence[Result]
"""One run of a network, or several seeds of it."""
Looks = Mapping[str, Mapping[str, Any]]
"""Colour, line and marker of each network by name."""
BESIDE = ("control, no teacher", "untrained")
"""Names of the control and the untrained network if they have none of their own."""


@dataclass(frozen=True)
class NetworkLines:
    """One network of a figure: its name, its runs (seeds) and its style."""

    label: str
    runs: list[Result]
    style: Mapping[str, Any]

    @property
    def counted(self) -> str:
        """The name, with the number of seeds if there are several."""
        return counted(self.label, len(self.runs))

    def values(self, key: str) -> Array:
        """Give the array ``key`` of all runs, ``(seeds, ...)``."""
        return np.stack([run.arrays[key] for run in self.runs])


def networks(
    results: Mapping[str, Runs],
    control: str | None = None,
    initial: str | None = None,
    *,
    among: Iterable[str] = (),
) -> list[NetworkLines]:
    """Give the networks of a figure; those that ``control`` and ``initial`` name come last, in their own styles.

    ``among`` are the names of all networks of a set of figures, so that each has the same colour in all of them.

    Raises:
        ValueError: there is no network.
    """
    if not any(seeds(runs, Result) for runs in results.values()):
        raise ValueError("nothing to draw: no Result")
    styles = looks([*among, *results], control, initial)
    last = [name for name in (control, initial) if name is not None and name in results]
    order = [*(name for name in results if name not in last), *last]
    return [
        NetworkLines(named(name, control, initial), seeds(results[name], Result), styles[name])
        for name in dict.fromkeys(order)
    ]


def beside(own: Mapping[str, Runs], control: Runs | None, initial: Runs | None) -> list[NetworkLines]:
    """Give the networks of a figure, with the control and the untrained network unless they are None.

    Raises:
        ValueError: there is no network.
    """
    given = {name: runs for name, runs in zip(BESIDE, (control, initial), strict=True) if runs is not None}
    own = {f"{name} (a run)" if name in given else name: runs for name, runs in own.items()}
    return networks({**own, **given}, *(name if name in given else None for name in BESIDE))


def looks(names: Iterable[str], control: str | None, initial: str | None) -> dict[str, Mapping[str, Any]]:
    """Give each network its style: the control and the untrained network have their own, the others take turns."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in dict.fromkeys(names):
        place = len(found.keys() - {control, initial})
        found[name] = CONTROL if name == control else INITIAL if name == initial else look(place)
    return found


def named(name: str, control: str | None, initial: str | None) -> str:
    """Give the name with its role in the comparison, unless the name contains it: ``base (control)``."""
    part = {control: "control", initial: "untrained"}.get(name)
    return name if part is None or part in name else f"{name} ({part})"


def counted(label: str, seen: int) -> str:
    """Give the label, with the number of seeds if there are several."""
    return label if seen == 1 else f"{label} ({seen} seeds)"


def sample(results: Mapping[str, Runs]) -> str:
    """Say on how many images the Results were measured: ``n = 10,000 images``, or the least and the most."""
    counts = sorted({int(run.meta["n"]) for runs in results.values() for run in seeds(runs, Result)})
    return f"n = {counts[0]:,} images" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,} images"


def teachers(results: Mapping[str, Runs]) -> str:
    """Name the teachers beside which the Results were measured."""
    return ", ".join(sorted({str(run.meta["teacher"]) for runs in results.values() for run in seeds(runs, Result)}))


def images(found: Sequence[NetworkLines]) -> str:
    """Say on how many images the networks were measured."""
    return sample({network.label: network.runs for network in found})


def epoch_name(result: Result) -> str:
    """Give the name of a row or line of one Result of a ``ProbeCallback``: ``untrained``, ``epoch 5``."""
    return f"epoch {result.meta['epoch']}" if result.meta["epoch"] else "untrained"
