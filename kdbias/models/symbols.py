"""Shapes without sympy: torch imports it to ask whether a size is a symbol, which takes half a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from kdbias.late import Import, StandIn, importing

COMPUTES = ("torch", "torch._prims", "torch._prims_common", "torch._refs", "torch._meta_registrations", "torch._decomp")
"""Packages in which torch computes the shapes of tensors that have no values."""

ANSWERS: Mapping[str, Callable[..., bool | int]] = {
    **dict.fromkeys(
        ("expect_true", "guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true"), bool
    ),
    "sym_and": lambda *all_of: all(all_of),
    "sym_or": lambda *any_of: any(any_of),
    "sym_eq": lambda one, other: one == other,
    "is_nested_int": lambda size: False,
    "has_guarding_hint": lambda size: True,
    "guarding_hint_or_throw": lambda size: size,
}
"""What torch asks about sizes, answered for numbers."""


class _NoneYet(type):
    def __instancecheck__(cls, thing: object) -> bool:
        return "sympy" in sys.modules and isinstance(thing, sys.modules["sympy"].Basic)


class Basic(metaclass=_NoneYet):
    """Stands for ``sympy.Basic`` as the second argument of ``isinstance``: nothing is one before sympy is imported."""


@contextmanager
def without_symbols() -> Iterator[None]:
    """Let torch compute shapes in this block without sympy, which it imports to ask whether a size is a symbol.

    Sizes are numbers here. Where one is not, torch gets the answer of the real package.
    """
    shapes = "torch.fx.experimental.symbolic_shapes"
    try:
        import torch.fx.experimental._config  # noqa: F401  # torch reads it, and the real package would have imported it
    except ImportError:  # another version of torch
        yield
        return
    given = {name: partial(answered, name) for name in ANSWERS}
    stand_ins = {shapes: StandIn(shapes, given), "sympy": StandIn("sympy", {"Basic": Basic})}

    def statement(
        real: Import, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        importer = globals.get("__name__", "") if globals else ""
        wanted = name in stand_ins and name not in sys.modules and (fromlist or "." not in name)
        if wanted and importer.removesuffix(".decompositions") in COMPUTES:
            return stand_ins[name]
        return real(name, globals, locals, fromlist, level)

    with importing(statement):
        yield


def answered(question: str, *asked: Any, **named: Any) -> Any:
    """Answer one of ``ANSWERS``; the real package does, if anything asked about is no number."""
    numbers = [each for one in asked for each in (one if isinstance(one, tuple) else (one,))]
    if not named and all(type(each) in (bool, int) for each in numbers):
        return ANSWERS[question](*asked)
    from torch.fx.experimental import symbolic_shapes

    return getattr(symbolic_shapes, question)(*asked, **named)
