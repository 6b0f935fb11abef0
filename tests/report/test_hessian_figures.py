import numpy as np
import pytest
from axes_of import assert_fits_a_card

from kdbias.probes.base import Result
from kdbias.report import hessian
from kdbias.report.networks import networks
from kdbias.report.style import rendered


def measured(seed=0, epoch=None, whole=True):
    rng = np.random.default_rng(seed)
    samples = rng.normal(300, 40, 8)
    names = ("loss", "trace_per_weight", "trace_scaled", "weight_norm", "gradient_norm", "n")
    scalars = {"trace": samples.mean(), "trace_se": samples.std(ddof=1) / 8**0.5} | dict.fromkeys(names, 1.5)
    arrays = {"trace_samples": samples}
    if whole:
        scalars |= {"top": 30.0, "second": 20.0, "bottom": -4.0}
        arrays["eigenvalues_top"], arrays["eigenvalues_bottom"] = np.array([30.0, 20.0]), np.array([-4.0, -2.0])
        arrays["density_nodes"] = np.array([[-4.0, 0.0, 30.0]])
        arrays["density_weights"] = np.array([[0.001, 0.998, 0.001]])
    meta = {"n": 256, "vectors": 8, "parameters": 1000} | ({} if epoch is None else {"epoch": epoch})
    return Result("hessian", scalars, arrays, meta)


def test_three_figures_of_networks_with_control_and_untrained_one():
    results = {"taught": [measured(1), measured(2)], "alone": measured(3), "new": measured(4)}
    drawn = hessian.figures(results, control="alone", initial="new")
    assert list(drawn) == ["hessian", "hessian-eigenvalues", "hessian-density"]
    images = {name: rendered(figure, "svg").decode() for name, figure in drawn.items()}
    for name, texts in {
        "hessian": ["Hessian trace (nats)", "256 images; bars: 95 % over 8 random vectors", "taught (2 seeds)"],
        "hessian-eigenvalues": ["2 most negative", "alone (control)", "n = 256 images"],
        "hessian-density": ["one eigenvalue", "density (1/nats)", "new (untrained)"],
    }.items():
        assert all(text in images[name] for text in texts), name


def test_what_was_not_computed_is_not_drawn():
    assert list(hessian.figures({"a": measured(whole=False)})) == ["hessian"]
    with pytest.raises(ValueError, match="nothing to draw"):
        hessian.figures({})


def test_the_density_integrates_to_one_and_lies_at_the_nodes():
    grid = np.linspace(-20, 50, 7001)
    curve = hessian.bells(measured(), grid, 0.5)
    assert np.trapezoid(curve, grid) == pytest.approx(1)
    assert grid[curve.argmax()] == pytest.approx(0, abs=1e-9)
    assert np.trapezoid(curve * (grid > 20), grid) == pytest.approx(0.001)


def test_eigenvalues_stand_where_they_are():
    figure = hessian.eigenvalues(networks({"a": measured()}))
    points = [line.get_xdata() for line in figure.axes[0].lines[:2]]
    np.testing.assert_array_equal(np.concatenate(points), [30, 20, -4, -2])


@pytest.mark.parametrize("whole", [True, False])
def test_training_over_epochs(whole):
    figure = hessian.training([measured(epoch, epoch, whole) for epoch in (0, 5, 10)])
    assert_fits_a_card(figure)
    left, right = figure.axes
    np.testing.assert_array_equal(left.lines[0].get_xdata(), [0, 5, 10])
    assert len(right.lines) == (3 if whole else 1)  # with the line at zero
    assert rendered(figure).startswith(b"\x89PNG")
