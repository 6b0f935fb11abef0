"""The area of reliance, and errors under corruption, against closed forms."""

import numpy as np
import pytest

from kdbias.probes.bias_corruption import UNEVEN, corruption_errors
from kdbias.stats import retention
from kdbias.stats.corruption import mean_corruption_error, mean_error, relative_corruption_error
from kdbias.stats.reliance import heights, reliance_area


def first(count, n=1000):
    """The first ``count`` of n answers are right."""
    return np.arange(n) < count


def test_area_is_the_mean_height_of_the_line_of_losses():
    clean, strengths = first(900), [0.25, 0.5, 1.0]
    right = np.stack([first(700), first(400), first(100)])
    lost = [0.0, *(1 - retention(row, clean, 10).value for row in right)]
    found = reliance_area(right, clean, strengths, 10)
    assert found.value == pytest.approx(np.trapezoid(lost, [0.0, *strengths]), abs=1e-12)
    assert found.low < found.value < found.high
    assert lost[-1] == 1


def test_area_ends_at_the_last_strength():
    assert heights(np.array([0.5])).tolist() == [0.5, 0.5]
    assert heights(np.array([0.1, 0.5])).sum() == pytest.approx(1)


def test_a_cue_that_costs_nothing_has_no_area():
    found = reliance_area(np.stack([first(900)] * 2), first(900), [0.5, 1.0], 10)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_area_is_refused_at_chance_and_for_strengths_that_do_not_ascend():
    assert "not above chance" in reliance_area(first(50)[None], first(100), [1.0], 10).reason
    with pytest.raises(ValueError, match="ascending"):
        reliance_area(np.stack([first(9)] * 2), first(900), [1.0, 0.5], 10)


def test_area_covers_the_truth():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        clean = rng.random(400) < 0.9
        right = np.stack([clean & (rng.random(400) < kept) for kept in (0.8, 0.5)])
        truth = 0.25 * (0 + (1 - (0.72 - 0.1) / 0.8)) + 0.25 * ((1 - (0.72 - 0.1) / 0.8) + (1 - (0.45 - 0.1) / 0.8))
        found = reliance_area(right, clean, [0.5, 1.0], 10, resamples=500)
        hits += found.low <= truth <= found.high
    assert 0.92 < hits / 300 < 0.98


def test_mce_divides_the_errors_of_each_corruption_and_then_averages():
    wrong = np.stack([[first(100), first(300)], [first(200), first(200)]])
    reference = np.stack([[first(200), first(200)], [first(400), first(400)]])
    found = mean_corruption_error(wrong, reference, ["fog", "snow"])
    assert found.value == pytest.approx((400 / 400 + 400 / 800) / 2)
    assert found.low < found.value < found.high
    relative = relative_corruption_error(wrong, first(50), reference, first(100), ["fog", "snow"])
    assert relative.value == pytest.approx(((400 - 100) / (400 - 200) + (400 - 100) / (800 - 200)) / 2)
    assert mean_error(wrong).value == pytest.approx(0.2)


def test_mce_beside_itself_is_one_without_noise():
    wrong = np.stack([[first(100), first(300)]])
    found = mean_corruption_error(wrong, wrong, ["fog"])
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_mce_is_refused_where_the_reference_never_errs():
    wrong = np.stack([[first(100)]])
    assert "under fog" in mean_corruption_error(wrong, np.zeros_like(wrong), ["fog"]).reason


def test_interval_of_mce_covers_the_truth():
    rng, hits = np.random.default_rng(1), 0
    many = rng.random(200_000) + rng.normal(0, 0.2, 200_000)
    truth = float((many > 0.7).mean() / (many > 0.6).mean())
    for _ in range(300):
        hard = rng.random(500)  # both networks err on hard images
        wrong, reference = (np.stack([[hard + rng.normal(0, 0.2, 500) > one] * 2]) for one in (0.7, 0.6))
        found = mean_corruption_error(wrong, reference, ["fog"])
        hits += found.low <= truth <= found.high
    assert 0.92 < hits / 300 < 0.98


def test_extra_corruptions_are_no_part_of_mce():
    right = np.stack([first(900), first(800), first(100)])
    found, reason = corruption_errors(right, right, 0, {"fog": [1], "spatter": [2]}, ["fog"])
    assert reason == ""
    assert found["error_spatter"].value == pytest.approx(0.9)
    assert found["mean_error"].value == pytest.approx(0.2)
    assert found["mce"].value == 1
    assert corruption_errors(right, right, 0, {"fog": [1, 1], "snow": [2]}, ["fog", "snow"])[1] == UNEVEN


def test_a_draw_that_is_not_above_chance_leaves_an_area_its_interval():
    """20 images, 7 right where 2 are by chance: a thousandth of the draws has 2 right, fewer have less."""
    clean = np.arange(20) < 7
    found = reliance_area(clean[None], clean, [1.0], 10)
    assert found.value == 0
    assert not found.reason
    found = reliance_area((np.arange(20) < 3)[None], clean, [1.0], 10)
    assert found.low < found.value < found.high


def test_no_error_is_no_certainty():
    none, every = mean_error(np.zeros((3, 20), bool)), mean_error(np.ones((3, 20), bool))
    assert (none.value, every.value) == (0, 1)
    assert none.low == 0 < 0.1 < none.high < 0.2
    assert 0.8 < every.low < 0.9 < every.high == 1
    same = mean_corruption_error(np.zeros((2, 3, 20), bool), np.ones((2, 3, 20), bool), ["a", "b"])
    assert same.value == 0
    assert "no noise" in same.reason


def test_the_relative_mce_takes_from_each_network_its_own_clean_errors() -> None:
    """The first version is the clean one: there the network errs on 10 of 100 images, the reference on 20."""
    right, reference = (np.stack([~first(errors, n=100) for errors in of]) for of in ((10, 40, 55), (20, 50, 80)))
    found, why = corruption_errors(right, reference, 0, {"fog": [1], "snow": [2]}, ["fog", "snow"])
    assert why == ""
    assert found["mce"].value == pytest.approx((40 / 50 + 55 / 80) / 2)
    assert found["relative_mce"].value == pytest.approx((30 / 30 + 45 / 60) / 2)
