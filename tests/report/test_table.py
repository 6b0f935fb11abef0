"""The table: how numbers, refusals and differences are written, and the four forms."""

import csv
import io
import math

import pytest
from rich.console import Console

from kdbias.report.estimate_text import format_difference, format_estimate
from kdbias.report.style import canvas, styled
from kdbias.report.table import Column, Table, fitted, percent, show
from kdbias.stats import Difference, Estimate

REFUSED = Estimate.refuse("clean accuracy is not above chance")


@pytest.fixture
def table() -> Table:
    return Table(
        "Runs",
        [Column("run"), percent("accuracy"), Column("transfer", digits=2)],
        [
            ["control", Estimate(0.901, 0.895, 0.906), REFUSED],
            ["a|b <kl> [x]", Estimate(0.5, 0.25, 0.75), REFUSED],
            ["gain", Difference(Estimate(0.02, 0.01, 0.03), 0.04), "n/a"],
        ],
        caption="3 seeds",
    )


def test_an_estimate_is_written_with_its_interval() -> None:
    assert format_estimate(Estimate(0.901, 0.895, 0.906), scale=100, digits=1) == "90.1 [89.5, 90.6]"


def test_an_estimate_of_one_seed_has_no_brackets() -> None:
    assert format_estimate(Estimate(0.901, math.nan, math.nan, "one seed"), scale=100, digits=1) == "90.1"


def test_a_difference_inside_the_noise_is_not_printed_as_a_number() -> None:
    inside = Difference(Estimate(0.0006, -0.003, 0.004), 0.7)
    assert format_difference(inside, scale=100, digits=2) == "no difference shown [-0.30, +0.40]"
    outside = Difference(Estimate(0.02, 0.01, 0.03), 0.01)
    assert format_difference(outside, scale=100, digits=1) == "+2.0 [+1.0, +3.0]"


def test_equal_reasons_share_a_note(table: Table) -> None:
    written, notes = table.text()
    assert [row[2] for row in written] == ["- (1)", "- (1)", "n/a"]
    assert notes == ["(1) clean accuracy is not above chance"]


def test_markdown_has_one_line_a_row_and_escapes_bars(table: Table) -> None:
    lines = table.markdown().splitlines()
    assert lines[2:4] == ["| run | accuracy (%) | transfer |", "| --- | ---: | ---: |"]
    assert lines[4] == "| control | 90.1 [89.5, 90.6] | - (1) |"
    assert lines[5].startswith(r"| a\|b &lt;kl> [x] |")
    assert lines[-1] == "3 seeds"


def test_html_escapes(table: Table) -> None:
    text = table.html()
    assert "a|b &lt;kl&gt; [x]" in text
    assert text.count("<tr>") == 4
    assert "not above chance" in text


def test_csv_reads_back_with_full_precision(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert float(rows[0]["accuracy"]) == 0.901
    assert float(rows[0]["accuracy high"]) == 0.906
    assert rows[0]["transfer"] == ""
    assert rows[0]["transfer reason"] == REFUSED.reason
    assert rows[2]["transfer"] == "n/a"
    assert float(rows[2]["accuracy low"]) == 0.01
    assert rows[0]["accuracy p"] == ""
    assert (float(rows[2]["accuracy p"]), rows[2]["accuracy verdict"]) == (0.04, "higher")


def test_csv_has_the_corrected_p_of_each_difference_and_the_verdict_that_follows_it() -> None:
    cells = [Difference(Estimate(x, x - 0.1, x + 0.1), p) for x, p in ((0.3, 0.01), (-0.2, 0.02), (0.2, 0.03))]
    rows = list(csv.DictReader(io.StringIO(Table("t", [Column("gain")], [[cell] for cell in cells]).csv())))
    assert [float(row["gain p"]) for row in rows] == [0.01, 0.02, 0.03]
    assert [float(row["gain p after Holm"]) for row in rows] == pytest.approx([0.03, 0.04, 0.04])
    assert [row["gain verdict"] for row in rows] == ["higher", "lower", "higher"]
    alone = Table("t", [Column("gain")], [["-"], [Difference(Estimate(0.1, -0.1, 0.3), 0.2)]])
    dash, row = csv.DictReader(io.StringIO(alone.csv()))
    assert (dash["gain"], dash["gain verdict"]) == ("-", "")
    assert (row["gain p after Holm"], row["gain verdict"]) == ("0.2", "no difference shown")


def test_csv_of_a_column_without_differences_has_no_p(table: Table) -> None:
    heads = table.csv().splitlines()[0].split(",")
    assert [head for head in heads if head.startswith("transfer")] == [
        *("transfer", "transfer low", "transfer high", "transfer reason")
    ]


def test_the_ends_of_an_interval_read_differently() -> None:
    near = Estimate(0.0004, -0.0004, 0.0012)
    assert format_estimate(near, digits=2) == "0.0004 [-0.0004, 0.0012]"
    assert format_difference(Difference(near, 0.4), digits=2) == "no difference shown [-0.0004, +0.0012]"
    assert format_estimate(Estimate(0.9998, 0.9996, 1.0), scale=100, digits=1) == "99.98 [99.96, 100.00]"
    assert format_difference(Difference(Estimate(0.13, 0.004, 0.26), 0.046), digits=2) == "+0.130 [+0.004, +0.260]"
    assert format_estimate(Estimate(0.13, 1e-8, 0.26), digits=2) == "0.13 [0.00, 0.26]"
    assert format_estimate(Estimate(0.13, 0.0, 0.26), digits=2) == "0.13 [0.00, 0.26]"
    assert format_estimate(Estimate(0.0, -0.3, 0.3), digits=1) == "0.0 [-0.3, 0.3]"
    assert format_estimate(Estimate(1.0, 1.0, 1.0), digits=1) == "1.0 [1.0, 1.0]"
    assert format_estimate(Estimate(1.0, 1.0, 1.0 + 1e-15), digits=1) == "1.0 [1.0, 1.0]"


def test_a_head_of_csv_has_the_unit_of_its_values() -> None:
    columns = [Column("group"), Column("a run", unit="min"), percent("accuracy")]
    assert Table("t", columns, [["a", 1.5, 0.9]]).csv() == "group,a run (min),accuracy\na,1.5,0.9\n"
    head = Table("t", [Column("gain", unit="s")], [[Difference(Estimate(0.1, -0.1, 0.3), 0.2)]]).csv().splitlines()[0]
    assert head == "gain (s),gain low (s),gain high (s),gain reason,gain p,gain p after Holm,gain verdict"


def test_the_terminal_shows_brackets_and_notes(table: Table) -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table.rich())
    text = console.export_text()
    for part in ("90.1 [89.5, 90.6]", "a|b <kl> [x]", "(1) clean accuracy", "3 seeds", "+2.0 [+1.0, +3.0]"):
        assert part in text


def test_a_short_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 columns, a row has 1 cells"):
        Table("t", [Column("a"), Column("b")], [["x"]])


def test_names_that_people_gave_stay_text():
    name = "<script>alert(1)</script> | [red]$a_b$[/red]\nnext"
    table = Table(name, [Column(name), Column("b")], [[name, 1.0]], name)
    written = table.markdown()
    assert "<script" not in written
    assert len(written.splitlines()) == 7  # a name starts no line
    assert "<script" not in table.html()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table.rich())
    assert console.export_text().count("[red]$a_b$[/red]") == 4


def test_a_dollar_in_a_name_is_a_dollar():
    with styled():
        figure, axes = canvas()
        axes.set_title("costs $5 and $x_$")
        figure.savefig(io.BytesIO())
        assert not axes.title.get_parse_math()


def wide() -> Table:
    names = ["exp1_resnet_kl/2026-11-29_10-10-10-123456", "vit", "baseline_dist/2026-11-29_10-10-10-654321"]
    rows = [["accuracy", 0.5, 0.25, 0.75], ["loss", 1.0, 2.0, 3.0]]
    return Table("accuracy", [Column("measure"), *map(Column, names)], rows, "On test.")


@pytest.mark.parametrize("width", [80, 40, 24])
def test_a_wide_table_fits_the_terminal_and_loses_nothing(width):
    out = io.StringIO()
    show(wide(), Console(file=out, width=width))
    written = out.getvalue()
    assert max(map(len, written.splitlines())) <= width
    for text in ("0.500", "0.250", "0.750", "1.000", "2.000", "3.000", "vit"):
        assert text in written
    whole = "".join(written.split())
    for name in ("[1]exp1_resnet_kl/2026-11-29_10-10-10-123456", "[2]baseline_dist/2026-11-29_10-10-10-654321"):
        assert name in whole
    assert "…" not in written


def test_a_table_that_fits_stays_as_it_is():
    table = Table("t", [Column("a"), Column("a rather long head of a column")], [["x", 1.0]])
    assert fitted(table, 80) == [table]
