"""What torch asks about sizes that are numbers is answered as it would answer itself."""

import builtins
import sys
from threading import Event, Thread

import pytest
import torch

from kdbias.late import put_off
from kdbias.models.symbols import ANSWERS, Basic, answered, without_symbols


def test_what_torch_asks_about_numbers_is_answered_as_by_the_real_package():
    from torch.fx.experimental import symbolic_shapes

    asked = {
        ("sym_and", "sym_or"): [(True,), (True, False), (False, False), (True, True, True)],
        ("sym_eq",): [(1, 1), (1, 2), ((1, 2), (1, 2)), ((1, 2), (1, 3)), ((), (1,)), (torch.Size([4]), (4,))],
        ("is_nested_int", "has_guarding_hint", "guarding_hint_or_throw"): [(0,), (3,), (True,)],
    }
    rest = set(ANSWERS).difference(*asked)
    for names, questions in [*asked.items(), (rest, [(True,), (False,)])]:
        for name in names:
            if not hasattr(symbolic_shapes, name):  # an older torch does not ask it
                continue
            for question in questions:
                theirs = getattr(symbolic_shapes, name)(*question)
                found = answered(name, *question)
                assert (found, type(found)) == (theirs, type(theirs)), (name, question)
    with pytest.raises(AssertionError, match="sym_eq"):  # what is no number is the real package's affair
        answered("sym_eq", 1.5, 2)


def test_shapes_are_computed_without_symbols_and_imports_are_as_ever_after_it(monkeypatch):
    before, shapes = builtins.__import__, "torch.fx.experimental.symbolic_shapes"
    monkeypatch.delitem(sys.modules, shapes, raising=False)
    with without_symbols(), torch.device("meta"):
        assert builtins.__import__ is not before
        assert torch.nn.functional.conv2d(torch.zeros(1, 3, 8, 8), torch.zeros(4, 3, 3, 3)).shape == (1, 4, 6, 6)
        assert (torch.zeros(2, 3) * 2 + torch.zeros(3)).softmax(-1).shape == (2, 3)
        with pytest.raises(RuntimeError, match="broadcast"):
            torch.zeros(2) + torch.zeros(3)
        assert shapes not in sys.modules
    assert builtins.__import__ is before


def test_threads_that_overlap_leave_the_import_statement_as_it_was():
    """Without a lock, the one that entered last and leaves last would put back the statement of the other."""
    before = builtins.__import__
    inside, leave = [Event(), Event()], [Event(), Event()]

    def block(number, put):
        with put():
            inside[number].set()
            leave[number].wait(10)

    threads = [Thread(target=block, args=each) for each in ((0, without_symbols), (1, put_off))]
    threads[0].start()
    assert inside[0].wait(10)
    threads[1].start()
    assert not inside[1].wait(0.2)
    for thread, event in zip(threads, leave, strict=True):
        event.set()
        thread.join(10)
    assert builtins.__import__ is before


def test_nothing_is_a_symbol_before_sympy_is_loaded(monkeypatch):
    import sympy

    assert isinstance(sympy.Symbol("x"), Basic)
    assert isinstance(3, int | Basic)
    monkeypatch.delitem(sys.modules, "sympy")
    assert not isinstance(sympy.Symbol("x"), Basic)
