"""What is shown while probes run."""

import pytest

from kdbias.analysis.passes import Shown
from kdbias.callbacks.progress import Bar, RunLeft
from kdbias.runs.bars import columns
from kdbias.runs.board import Bars


def test_without_a_terminal_each_finished_part_has_a_line_and_nothing_else(capsys):
    with Shown(4) as shown:
        shown.step("student", [], "cached")
        shown.begin("student: attention", 2)
        shown.batch()
        shown.step("student", ["attention", "cka"])
        shown.step("teacher", ["cka"], "cached")
        shown.skip(1)
        shown.say("left out: attention")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("s  ")[-1] for line in lines] == [
        "student: attention, cka",
        "teacher: cka cached",
        "left out: attention",
    ]


@pytest.mark.parametrize("made", [lambda: Shown(1)._bars.columns, lambda: Bars("all", 1)._progress.columns])
def test_every_bar_has_the_same_columns(made):
    kinds = [type(column) for column in columns()]
    assert [type(column) for column in made()] == kinds
    training = [type(column) for column in Bar().configure_columns(None)]  # its time is that of the whole run
    assert training == [*kinds[:3], RunLeft, kinds[-1]]
