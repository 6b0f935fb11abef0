"""RKD and attention transfer as terms: which features they compare, their settings, batches that are too small."""

import pytest
import torch

from kdbias.config.errors import ArgumentError
from kdbias.functional.attention_transfer import attention_transfer
from kdbias.functional.rkd import rkd
from kdbias.losses.at import AT
from kdbias.losses.rkd import RKD
from kdbias.models.features import Layer, NetworkInfo


@pytest.fixture
def two(pair):
    return pair(family="vit", teacher_family="cnn")


def run(term, two, batch):
    two.build(term)
    return term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)


def test_rkd_compares_penultimate_features(two):
    batch = two.batch()
    features = two.student(batch.image).pooled, two.teacher(batch.image).pooled
    torch.testing.assert_close(run(RKD(), two, batch), rkd(*features))
    settings = {"distance": 2.0, "angle": 3.0, "squared": True}
    torch.testing.assert_close(run(RKD(**settings), two, batch), rkd(*features, **settings))
    assert rkd(*features) > 0


def test_rkd_of_two_images_or_of_nothing_is_refused(two):
    with pytest.raises(ValueError, match=r"loss\.rkd compares images and needs at least 3 in a batch, got 2: raise"):
        run(RKD(), two, two.batch(2))
    with pytest.raises(ArgumentError, match="distance=0 and angle=0 nothing is compared"):
        RKD(distance=0, angle=0)


def test_at_is_a_mean_over_layers_of_the_maps(two):
    """The ViT has a grid of 4x4 in both blocks, the CNN 16x16 and 8x8 in its last stages."""
    batch, term = two.batch(), AT(power=3.0)
    loss = run(term, two, batch)
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    expected = []
    for i, j in term.pairs:
        maps = [of.tokens[k].transpose(1, 2).reshape(16, -1, *of.grids[k]) for of, k in ((student, i), (teacher, j))]
        expected.append(attention_transfer(*maps, 3.0))
    assert len(expected) == 2
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert set(term.report) == set(term.names)


def test_at_needs_places(tiny_info):
    one = NetworkInfo((Layer("l0", 1.0, 6, (1, 1)),), 6, 10, 0, False, "cnn")
    with pytest.raises(ValueError, match=r"loss\.at compares the tokens of an image .* needs at least 2, but l0"):
        AT().build(one, one, tiny_info)


def test_bad_settings_are_refused_when_built():
    with pytest.raises(ValueError, match=r"power: must be a number of at least 1, got 0\.5"):
        AT(power=0.5)
    with pytest.raises(ValueError, match=r"distance: must be a number of at least 0, got -1"):
        RKD(distance=-1)
