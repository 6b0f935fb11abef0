"""Which hypotheses of a study are not those that were stated before its first result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Claims = Mapping[str, Any]

OPEN = ("says", "sd", "seeds")  # wording and planning: a hypothesis that differs in these alone is the same


@dataclass(frozen=True)
class Stated:
    """The hypotheses of a study when its first result came.

    ``first`` is None as long as there is no result, and they are those of the study's yaml. ``late`` says that results
    were there when the study was recorded first, so nothing shows what was stated before them.
    """

    first: Claims | None = None
    late: bool = False

    def next(self, before: Claims, *, has_results: bool) -> Stated:
        """Give what holds when the study is begun again; ``before`` are the hypotheses of its record until then.

        What was stated first stays, whichever runs a later command has.
        """
        return Stated(before, self.late) if self.first is None and has_results else self

    def changed(self, now: Claims) -> list[str]:
        """Name the hypotheses that are new, other than they were stated, or gone.

        >>> Stated({"a": {"smallest": 0.2}, "c": {}}).changed({"a": {"smallest": 0.1}, "b": {}})
        ['a', 'b', 'c (left out)']
        >>> Stated({"a": {"smallest": 0.2, "seeds": 6}}).changed({"a": {"smallest": 0.2, "seeds": 7}})
        []
        """
        if self.first is None:
            return []
        first = self.first
        changed = [name for name, one in now.items() if name not in first or _decides(one) != _decides(first[name])]
        return [*changed, *(f"{name} (left out)" for name in first if name not in now)]


def _decides(one: Any) -> Any:
    return {key: value for key, value in one.items() if key not in OPEN} if isinstance(one, Mapping) else one
