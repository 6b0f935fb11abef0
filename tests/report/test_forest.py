import math

import pytest

from kdbias.report.forest import Measure, forest
from kdbias.report.style import rendered
from kdbias.stats import Estimate

INDEX = Measure("index", references=(0.0, 1.0), limits=(-0.5, 1.5))
ACCURACY = Measure("accuracy (%)", scale=100)


def one(value, arm=0.1):
    return Estimate(value, value - arm, value + arm)


def drawn(axes):
    """Give (x, row) of every dot, and (left, right) of every arm."""
    lines = [line for line in axes.lines if line.get_marker() in ("o", "s") and len(line.get_xdata())]
    points = [(pytest.approx(line.get_xdata()[0]), pytest.approx(line.get_ydata()[0])) for line in lines]
    return points, [tuple(part.get_segments()[0][:, 0]) for part in axes.collections]


def test_each_estimate_stands_in_its_row_and_panel_with_its_interval():
    groups = {
        "CNN": {"kl": [one(0.9), one(0.8)], "gram": [one(0.0), one(0.7)]},
        "ViT": {"gram": [one(0.1), one(0.6)]},
    }
    figure = forest(groups, [INDEX, ACCURACY], sections=[1])
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["kl", "gram"]
    points, arms = drawn(right)
    assert points == [(80.0, -0.2), (70.0, 0.8), (60.0, 1.2)]
    assert arms[0] == pytest.approx((70, 90))
    assert left.get_xlim() == (-0.5, 1.5)
    assert rendered(figure) == rendered(forest(groups, [INDEX, ACCURACY], sections=[1]))


def test_what_is_refused_is_a_dash_and_what_has_no_interval_a_dot():
    refused = Estimate.refuse("guesses")
    bare = Estimate(0.5, math.nan, math.nan, "one seed")
    (axes,) = forest({"CNN": {"random": [refused], "kl": [bare]}}, [INDEX]).axes
    assert [text.get_text() for text in axes.texts] == ["–"]
    points, arms = drawn(axes)
    assert points == [(0.5, 1.0)]
    assert arms == []


def test_no_row_and_a_row_of_another_length_are_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        forest({"CNN": {}}, [INDEX])
    with pytest.raises(ValueError, match="'kl' has 1 estimates for 2 measures"):
        forest({"CNN": {"kl": [one(0.1)]}}, [INDEX, ACCURACY])


def test_rows_come_in_the_order_asked_for():
    group = {"kl": [one(0.9)], "gram": [one(0.0)]}
    (axes,) = forest({"CNN": group}, [INDEX], rows=["gram", "random", "kl"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gram", "random", "kl"]
    assert drawn(axes)[0] == [(0.9, 2.0), (0.0, 0.0)]
    with pytest.raises(ValueError, match="lacks kl"):
        forest({"CNN": group}, [INDEX], rows=["gram"])


def test_eight_groups_have_eight_looks_and_marks_without_a_line():
    figure = forest({f"group {place}": {"kl": [one(0.1 * place)]} for place in range(8)}, [INDEX])
    named = figure.legends[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in named}) == 8
    assert {line.get_linestyle() for line in named} == {"None"}
