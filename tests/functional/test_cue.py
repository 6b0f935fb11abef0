import pytest
import torch
from torch.nn import functional as F

from kdbias.functional.cue import shape_share, share_without_guesses


def decide(*classes: int) -> torch.Tensor:
    return F.one_hot(torch.tensor(classes), 4).float()


def test_share_counts_decisions_for_either_cue():
    shape, texture = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 0, 1, 0, 3])
    share, decided, by_shape = shape_share(decide(0, 0, 2, 1, 0), shape, texture)
    assert share.item() == 3 / 4
    assert decided.tolist() == [True, True, True, False, True]
    assert by_shape.tolist() == [True, False, True, False, True]


def test_swapping_the_cues_gives_the_rest():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 4, generator=generator)
    shape = torch.randint(0, 4, (500,), generator=generator)
    texture = (shape + torch.randint(1, 4, (500,), generator=generator)) % 4
    one, decided, _ = shape_share(logits, shape, texture)
    other, decided_too, _ = shape_share(logits, texture, shape)
    assert one.item() + other.item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(decided, decided_too)


def test_no_decision_for_either_cue_is_nan():
    share, decided, by_shape = shape_share(decide(3, 3), torch.tensor([0, 1]), torch.tensor([1, 2]))
    assert share.isnan()
    assert not decided.any()
    assert not by_shape.any()


def test_agreeing_cues_are_refused():
    with pytest.raises(ValueError, match="conflict"):
        shape_share(decide(0, 1), torch.tensor([0, 1]), torch.tensor([1, 1]))


def test_unlike_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 4\), \(2,\), \(3,\)"):
        shape_share(decide(0, 1), torch.tensor([0, 1]), torch.tensor([1, 0, 1]))


@pytest.mark.parametrize(("preference", "guesses"), [(0.8, 0.0), (0.8, 0.7), (0.3, 0.5), (1.0, 0.9)])
def test_guesses_are_taken_away(preference, guesses):
    """Of a network that guesses evenly on a part of the images and goes by its preference on the others."""
    classes = 10
    by_shape = (1 - guesses) * preference + guesses / classes
    by_texture = (1 - guesses) * (1 - preference) + guesses / classes
    decided = by_shape + by_texture
    assert share_without_guesses(by_shape / decided, decided, classes) == pytest.approx(preference, abs=1e-12)


def test_guesses_alone_leave_no_share():
    with pytest.raises(ValueError, match=r"guesses alone give 0\.2"):
        share_without_guesses(0.5, 0.2, 10)
    with pytest.raises(ValueError, match="no third class"):
        share_without_guesses(0.5, 0.9, 2)
