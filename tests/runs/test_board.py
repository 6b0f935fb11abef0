import io

from rich.console import Console

from kdbias.runs.board import Bars, BoardLines


def test_lines_come_with_progress_only(capsys):
    with BoardLines() as lines:
        lines.show("student", 0, 3)
        lines.show("student", 1, 3, "val accuracy 40 %")
        lines.show("student", 1, 3, "val accuracy 40 %")
        lines.show("student", 3, 3)
    assert [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "student: 1/3  val accuracy 40 %",
        "student: 3/3",
    ]


def test_bars_add_up():
    out = io.StringIO()
    with Bars("all", 5, Console(file=out, force_terminal=True, width=120)) as bars:
        bars.show("student", 3, 3)
        bars.show("control", 1, 2, "val accuracy 50 %")
    last = out.getvalue()[out.getvalue().rfind("all") :]
    assert "4/5" in last.splitlines()[0]
    assert "1/2" in last
    assert "val accuracy 50 %" in last
