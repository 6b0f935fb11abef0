"""Teachers of graded accuracies: the mistakes in their settings, and which of them must be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.checks.plan import REFUSALS, Plan, refusal
from kdbias.config.errors import ArgumentError, Problem
from kdbias.controls.base import missing_file
from kdbias.controls.named import named_teacher, network_of


def graded_problems(graded: Mapping[str, Mapping[str, Any]], run: Plan) -> Iterator[Problem]:
    """Give the mistakes in ``control.graded``: teachers by the names of their configs, with weights and accuracy."""
    for name, given in graded.items():
        key = f"control.graded.{name}"
        unknown = sorted(given.keys() - {"weights", "accuracy"})
        if unknown:
            yield Problem(f"{key}.{unknown[0]}", "nothing reads it: the settings are weights and accuracy")
        yield from missing_file(f"{key}.weights", given.get("weights"))
        yield from _accuracy_problems(key, given)
        try:
            teacher = named_teacher(name)
            classes = network_of(teacher, run.data).classes if run.data is not None else None
        except REFUSALS as error:
            yield Problem(key, str(error))
        else:
            if run.data is not None and classes != run.data.classes:
                yield Problem(key, "has no classifier for these images: name another teacher")


def require_share(accuracy: Any) -> None:
    """Raise ``ArgumentError`` where a number is no accuracy that a teacher may have."""
    if type(accuracy) not in (int, float) or not 0 < accuracy <= 1:
        raise ArgumentError("accuracy", f"must be in (0, 1], got {accuracy!r}; .917 is 91.7 %")


def to_train(teacher: Mapping[str, Any]) -> bool:
    """Whether a teacher with these settings is trained by its recipe, once."""
    return teacher["weights"] is None and teacher["recipe"] is not None


def _accuracy_problems(key: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    value = given.get("accuracy")
    if value is None:
        return
    try:
        require_share(value)
    except ArgumentError as error:
        yield refusal(key, error)
    if given.get("weights") is None:
        yield Problem(
            f"{key}.accuracy",
            f"needs weights that have this accuracy, since training would reach another: add {key}.weights=PATH, or "
            "leave it out to have it measured",
        )
