import numpy as np
import pytest

from kdbias.stats.factorial import effects


def test_effects_of_a_design_whose_terms_are_known():
    """Score = block of the seed + 2 first + 0.5 second + 3 first second."""
    block = np.array([0.0, 5.0, -1.0])
    cells = {
        (a, b): block + 2 * x + 0.5 * y + 3 * x * y for x, a in enumerate(("cnn", "vit")) for y, b in enumerate("lh")
    }
    found = effects(cells)
    assert found.first.estimate.value == pytest.approx(2 + 3 / 2)
    assert found.second.estimate.value == pytest.approx(0.5 + 3 / 2)
    assert found.interaction.estimate.value == pytest.approx(3)
    assert not found.interaction.shown  # blocks cancel: pairing leaves no noise to compare it with
    assert "no noise" in found.first.estimate.reason


def test_noise_alone_shows_no_effect_about_19_times_in_20():
    generator = np.random.default_rng(0)
    shown = 0
    for _ in range(200):
        cells = {(a, b): generator.normal(size=5) for a in "ab" for b in "cd"}
        shown += effects(cells).interaction.shown
    assert 1 <= shown <= 24


def test_a_design_that_is_not_two_by_two_is_refused():
    with pytest.raises(ValueError, match="two levels by two"):
        effects({("a", "c"): [1, 2], ("a", "d"): [1, 2], ("b", "c"): [1, 2]})
    with pytest.raises(ValueError, match="one score for each seed"):
        effects({("a", "c"): [1, 2], ("a", "d"): [1, 2], ("b", "c"): [1, 2], ("b", "d"): [1]})
