import numpy as np
import pytest
import torch

from kdbias.data.cues import cues
from kdbias.probes.cues import CueProbe

SHAPE, TEXTURE = torch.arange(40) % 10, (torch.arange(40) + 3) % 10


class Red:
    """Images whose red says the answer: for 30 conflicts the shape's class, for 8 the texture's, for 2 neither."""

    def variant(self, name, n):
        answer = {"shape": SHAPE, "texture": TEXTURE}.get(name)
        if name == "conflict":
            answer = torch.where(torch.arange(40) < 30, SHAPE, TEXTURE)
            answer[38:] = (SHAPE[38:] + 5) % 10
        elif name == "texture":
            answer = torch.where(torch.arange(40) < 10, TEXTURE, (TEXTURE + 1) % 10)
        image = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
        image[:, 0] = (25 * answer)[:, None, None].to(torch.uint8)
        none = torch.full((40,), -1)
        return image[:n], (none if name == "texture" else SHAPE)[:n], (none if name == "shape" else TEXTURE)[:n]


@pytest.fixture
def red_reader(tiny_cnn, monkeypatch):
    """A network that answers with the class that the red of an image stands for."""
    forward = type(tiny_cnn).forward

    def answer(self, image):
        features = forward(self, image)
        red = (image[:, 0].mean((1, 2)) * 255 / 25).round().long()
        object.__setattr__(features, "logits", torch.nn.functional.one_hot(red, 10).float())
        return features

    monkeypatch.setattr(type(tiny_cnn), "forward", answer)
    return tiny_cnn


def test_shares_and_masks_by_hand(red_reader):
    result = CueProbe(Red(), images=40, batch_size=16)(red_reader)
    assert result.scalars["shape_share"] == pytest.approx(30 / 38)
    assert result.scalars["decided"] == pytest.approx(38 / 40)
    assert result.scalars["accuracy_shape"] == 1
    assert result.scalars["accuracy_texture"] == 0.25
    assert result.arrays["decided"].tolist() == [True] * 38 + [False] * 2
    assert result.arrays["by_shape"].tolist() == [True] * 30 + [False] * 10
    assert result.arrays["right_texture"].tolist() == [True] * 10 + [False] * 30
    np.testing.assert_array_equal(result.arrays["answer"][:30], SHAPE[:30])
    assert result.meta["n"] == 40


def test_the_embedded_data_set_is_a_source(tiny_vit):
    source = cues(train=300, val=50, test=50)
    result = CueProbe(source, images=60, batch_size=32)(tiny_vit)
    again = CueProbe(source, images=60, batch_size=60)(tiny_vit)
    assert tiny_vit.training
    assert result.meta["n"] == 60
    assert (result.arrays["shape"] != result.arrays["texture"]).all()
    np.testing.assert_array_equal(result.arrays["answer"], again.arrays["answer"])
