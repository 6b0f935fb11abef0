"""What ``teacher.cache`` refuses: answers that change, that belong to no single image, or that no disk holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdbias.checks.plan import Plan
from kdbias.config.errors import Problem
from kdbias.config.kept import EPOCHS, KINDS, kept_as, kept_draws, kept_layers
from kdbias.data.drawing import MIXES, REPEATS
from kdbias.losses.paired import layers_read
from kdbias.models.kept_record import CHECK
from kdbias.modules.choice import module_class
from kdbias.modules.distill import Distill


def kept_answers(run: Plan, tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of ``teacher.cache``.

    Args:
        run: the run as its control changes it.
        tree: the config before that.
    """
    teacher = tree.get("teacher") or {}
    cache = teacher.get("cache")
    if cache is None and teacher.get("cache_seed") is not None:
        yield Problem(
            "teacher.cache_seed",
            "chooses the draws of teacher.cache, which is null: set teacher.cache too, or teacher.cache_seed to null",
        )
    counted = cache == EPOCHS or (type(cache) is int and cache >= 1)
    if not counted or teacher.get("cache_dtype") not in (None, *KINDS):  # another rule says so
        return
    if teacher.get("name") is None:
        yield Problem("teacher.cache", "there is no teacher whose answers could be kept: set it to null")
    elif not issubclass(module_class(tree), Distill):
        how = (tree.get("module") or {}).get("_target_")
        yield Problem("teacher.cache", f"{how} reads more of the teacher than its answers: set it to null")
    if run.augment is not None and run.augment.mixes:
        yield Problem("augment.mix_probability", MIXES)
    if run.loader is not None and run.loader.repeats != 1:
        yield Problem("loader.repeats", REPEATS)
    if run.control is not None and not run.control.answers_kept:
        return  # it sees the same draws, and nothing is kept
    for name, term in run.terms.items():
        if refused := sorted({"dense", "qkv"} & term.needs):
            text = f"reads the teacher's {' and '.join(refused)}, which teacher.cache does not keep"
            yield Problem(f"loss.{name}", f"{text}: set teacher.cache=null, or leave {name} out")
    yield from _room(run, tree)


def _room(run: Plan, tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Answers that the disk does not hold, even in place of all that are kept there."""
    root, size = _root(tree), answer_bytes(run, tree)
    if root is None or size is None or run.data is None or type(tree.get("epochs")) is not int:
        return
    draws = kept_draws(tree) or 0
    wanted = draws * run.data.train * size
    free = shutil.disk_usage(_nearest(root)).free + sum(path.stat().st_size for path in root.glob("*/draw-*.bin"))
    if wanted > free:
        yield Problem(
            "teacher.cache",
            f"{draws} draws of {run.data.train:,} images, {size:,} bytes each, take {wanted / 1e9:.1f} GB, and {root} "
            f"has {free / 1e9:.1f} GB: keep fewer draws, have fewer layers read (teacher.layers), or choose another "
            "disk by paths.answers",
        )


def answer_bytes(run: Plan, tree: Mapping[str, Any]) -> int | None:
    """Give the bytes of one kept answer, by shapes; None where the teacher or a term is not known.

    Exact answers count as fp32.
    """
    if run.teacher is None or any("tokens" in t.needs and not getattr(t, "pairs", True) for t in run.terms.values()):
        return None
    info = run.teacher.info
    count = len(info.layers)
    layers = [info.layers[j] for j in kept_layers(tree["teacher"], layers_read(run.terms.values(), count), count)]
    tokens = sum((layer.grid[0] * layer.grid[1] + info.prefix) * layer.width for layer in layers)
    logits = (info.classes or 0) * (3 if info.has_dist else 1)
    return (tokens + info.width + logits) * (4 if kept_as(tree["teacher"]) == "exact" else 2) + CHECK


def _root(tree: Mapping[str, Any]) -> Path | None:
    paths = tree.get("paths") or {}
    given = paths.get("answers") or (paths.get("runs") and Path(str(paths["runs"]), "answers"))
    return Path(str(given)) if given else None


def _nearest(folder: Path) -> Path:
    place = folder.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
