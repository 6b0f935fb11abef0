import numpy as np

from kdbias.probes.base import Result
from kdbias.report.means import mean, trace
from kdbias.report.networks import networks
from kdbias.report.panels import layers
from kdbias.report.style import canvas


def found(value: float, error: float) -> Result:
    return Result("hessian", {"trace": value, "trace_se": error}, {}, {})


def test_numbers_have_their_significant_digits_and_no_exponent():
    assert trace([found(957.2, 131.4)]) == "957 ± 130"
    assert trace([found(12345.6, 30.0), found(12345.6, 40.0)]) == "12300 ± 25"  # √(30² + 40²) / 2
    assert trace([]) == "-"


def test_a_mean_over_seeds_has_their_deviation():
    runs = [found(1000.0, 1.0), found(1300.0, 1.0)]
    assert mean(runs, "trace") == "1150 ± 210"
    assert mean(runs, "trace", digits=1) == "1150.0 ± 212.1"
    assert mean(runs[:1], "trace_se") == "1"
    assert mean(runs, "distance") == "-"


def test_uniform_attention_is_drawn_by_name_for_each_grid_and_the_axis_is_about_it():
    def attention(uniform):
        return Result("attention", {}, {"distance": np.full((3, 2), 5.0), "uniform_distance": np.array(uniform)}, {})

    groups = {"small": [attention(4.136), attention(4.136)], "large": [attention(7.281)]}
    _, axes = canvas()
    layers(axes, networks(groups))
    assert [text.get_text() for text in axes.texts] == ["uniform attention, 4.14", "uniform attention, 7.28"]
    low, high = axes.get_ylim()
    assert 3 < low < 4.136  # not from 0
    assert 7.281 < high < 8.5
