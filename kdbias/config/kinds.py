"""Kinds of values that a setting may have: a test, and the words that say what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """Values that a setting may have: ``holds`` tests one, ``rule`` says in words what it must be.

    ``hint`` follows the value in a message: what to do instead.
    """

    holds: Callable[[Any], bool]
    rule: str
    hint: str = ""

    def refusal(self, value: Any) -> str:
        """Say why ``value`` is not of this kind; empty if it is.

        >>> whole(1).refusal(0)
        'must be a whole number of at least 1, got 0'
        """
        hint = f": {self.hint}" if self.hint else ""
        return "" if self.holds(value) else f"{self.rule}, got {value!r}{hint}"

    def or_null(self, meaning: str = "") -> Kind:
        """Give the kind that also takes None, which stands for ``meaning``."""
        rule = f"{self.rule}, or null{' for ' + meaning if meaning else ''}"
        return Kind(lambda value: value is None or self.holds(value), rule, self.hint)

    def or_each(self, name: str) -> Kind:
        """Give the kind that also takes a list of such values."""
        several = self.each(name)
        rule = f"{self.rule}, or be a list of {name} of this kind"
        return Kind(lambda value: self.holds(value) or several.holds(value), rule, self.hint)

    def each(self, name: str) -> Kind:
        """Give the kind of a list of at least one value of this kind; ``name`` says what the values are."""
        rule = f"must be a list of {name}, each of which {self.rule}"
        return Kind(lambda value: _listed(value) and len(value) > 0 and all(map(self.holds, value)), rule, self.hint)


class Rule(NamedTuple):
    """What several arguments must be together: ``holds`` gets them by position, ``rule`` is about the first."""

    arguments: tuple[str, ...]
    holds: Callable[..., bool]
    rule: str


def whole(least: int, most: int | None = None, hint: str = "") -> Kind:
    """Give the kind of whole numbers from ``least`` to ``most``; true and false are none."""
    top = math.inf if most is None else most
    rule = f"must be a whole number {f'of at least {least}' if most is None else f'in {least}..{most}'}"
    return Kind(lambda value: _is_number(value, Integral) and least <= value <= top, rule, hint)


def above(least: float, hint: str = "") -> Kind:
    """Give the kind of finite numbers above ``least``."""
    return Kind(lambda value: _is_number(value) and least < value < math.inf, f"must be above {least:g}", hint)


def at_least(least: float, hint: str = "") -> Kind:
    """Give the kind of finite numbers from ``least`` on."""
    rule = f"must be a number of at least {least:g}"
    return Kind(lambda value: _is_number(value) and least <= value < math.inf, rule, hint)


def within(low: float, high: float, ends: str = "[]", hint: str = "") -> Kind:
    """Give the kind of numbers from ``low`` to ``high``; a round bracket in ``ends`` leaves the end out.

    >>> within(0, 1, "[)").refusal(1)
    'must lie in [0, 1), got 1'
    """

    def holds(value: Any) -> bool:
        inside = _is_number(value) and low <= value <= high
        return inside and (ends[0] == "[" or value > low) and (ends[1] == "]" or value < high)

    return Kind(holds, f"must lie in {ends[0]}{low:g}, {high:g}{ends[1]}", hint)


def one_of(*choices: Any, hint: str = "") -> Kind:
    """Give the kind of a choice; 1 is not taken for true."""
    names = [str(one).lower() if isinstance(one, bool) else str(one) for one in choices]
    rule = f"must be {names[0]} or {names[1]}" if len(names) == 2 else f"must be one of {', '.join(names)}"
    return Kind(lambda value: any(type(value) is type(one) and value == one for one in choices), rule, hint)


def ascending(low: float, high: float = math.inf) -> Kind:
    """Give the kind of two ascending numbers above ``low``, up to ``high``."""
    rule = f"must be two ascending numbers above {low:g}{'' if high == math.inf else f', to {high:g}'}"

    def holds(value: Any) -> bool:
        pair = _listed(value) and len(value) == 2 and all(map(_is_number, value))
        return pair and low < value[0] <= value[1] <= high and value[0] < math.inf

    return Kind(holds, rule)


FLAG = one_of(True, False)
"""True or false."""


def _is_number(value: Any, kind: type = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
