"""``task=power``: the planner's tables, and what it says of numbers that make no sense."""

import pytest
from config_base import composed

from kdbias.analysis.power import power_tables
from kdbias.analysis.tasks import run
from kdbias.config.errors import ConfigError
from kdbias.stats import power, seeds_needed


def test_the_tables_hold_the_powers(capsys) -> None:
    run(composed(["task=power", "effect=.01", "sd=.006"], "analyze"))
    shown = capsys.readouterr().out
    assert f"{100 * power(0.01, 0.006, 5):.1f}" in shown
    by_seeds, by_power = power_tables(0.01, 0.006, rows=17)
    assert by_seeds.rows[1] == [3, power(0.01, 0.006, 3, 17)]
    assert by_power.rows[1] == ["80 %", seeds_needed(0.01, 0.006, 0.8, 17)]
    run(composed(["task=power", "effect=.01", "sd=.006", "rows=17"], "analyze"))
    assert "corrected for 17 comparisons" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["effect=.01"], "sd: is missing"),
        (["effect=x", "sd=.1"], "effect: must be a number, got 'x'"),
        (["effect=0", "sd=.1"], "effect: must be a number other than 0"),
        (["effect=.01", "sd=-1"], "sd: must be above 0"),
        (["effect=.01", "sd=.1", "rows=0"], "rows: the number of comparisons"),
        (["effect=1e-7", "sd=1"], "effect: more than 10,000 seeds"),
    ],
)
def test_numbers_that_make_no_sense_are_one_error(changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(composed(["task=power", *changes], "analyze"))
