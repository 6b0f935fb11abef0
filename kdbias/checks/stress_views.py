"""The rules of stress sets in the views of training images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kdbias.checks.plan import Plan
from kdbias.config.errors import Problem
from kdbias.modules.choice import module_class
from kdbias.modules.taught import Taught


def stress_views(run: Plan) -> Iterator[Problem]:
    """Give the problems of a view that a stress set changes: images, networks or terms that it is not for."""
    if run.augment is None or not run.augment.stress:
        return
    yield from _images(run)
    kind = module_class(run.tree)
    for who in run.augment.stress:
        if (run.tree.get("module") or {}).get("views") is not None:
            text = f"{kind.__name__} makes its views itself, of whole images: leave it at null"
            yield Problem(f"augment.{who}_stress", text)
        elif who == "teacher" and not run.has_teacher and run.tree.get("control") is None:
            yield Problem("augment.teacher_stress", "no teacher would see it: name one, or set student_stress")
    yield from _places(run)


def _images(run: Plan) -> Iterator[Problem]:
    """Images that a set refuses, by their size or channels."""
    if run.augment is None or run.data is None:
        return
    for who, change in run.augment.stress.items():
        reason = change.refuses(run.data.size, run.data.channels)
        if reason:
            yield Problem(f"augment.{who}_stress", re.sub(r"^stress\.\w+(\.\w+)?: ", "", reason))


def _places(run: Plan) -> Iterator[Problem]:
    """Terms that compare places of two images of which one has its parts elsewhere."""
    if run.augment is None or run.augment.view == "clean":  # which has its own rule
        return
    changes = run.augment.stress
    moved = [who for who, change in changes.items() if not change.aligned]
    if not moved or changes.get("teacher") == changes.get("student"):
        return
    named = [name for name, term in run.terms.items() if term.positional and not term.allow_misaligned]
    kind = module_class(run.tree)
    if named:
        what, remedy = f"loss=[{','.join(named)}]", " ".join(f"loss.{name}.allow_misaligned=true" for name in named)
    elif issubclass(kind, Taught) and kind.aligned:
        what, remedy = kind.__name__, ""
    else:
        return
    choice = "choose smooth or grey" + (f", or accept it with {remedy}" if remedy else "")
    yield Problem(
        f"augment.{moved[0]}_stress",
        f"it moves parts of the image in one view, and {what} compares them place by place: {choice}",
    )
