"""Which hypotheses of a study are not those that were stated before its first result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Claims = Mapping[str, Any]

WORDING = "says"  # a hypothesis that is put into other words is the same


def first_stated(now: Claims, before: Claims, stated: Claims | None, *, has_results: bool) -> Claims:
    """Give the hypotheses of before the first result, from those of a study's record and of a command.

    Args:
        now: the hypotheses of the command, by name.
        before: those of the record; without a result, those of the command take their place.
        stated: those that the record gives as the first; None if they are ``before``.
        has_results: whether a run of the study is done.
    """
    return (before if stated is None else stated) if has_results else now


def restated(now: Claims, stated: Claims | None) -> list[str]:
    """Name the hypotheses that are new, other than they were ``stated`` (the wording aside), or gone.

    >>> restated({"a": {"smallest": 0.1}, "b": {}}, {"a": {"smallest": 0.2}, "c": {}})
    ['a', 'b', 'c (left out)']
    """
    if stated is None:
        return []
    changed = [name for name, one in now.items() if name not in stated or _decides(one) != _decides(stated[name])]
    return [*changed, *(f"{name} (left out)" for name in stated if name not in now)]


def _decides(one: Any) -> Any:
    return {key: value for key, value in one.items() if key != WORDING} if isinstance(one, Mapping) else one
