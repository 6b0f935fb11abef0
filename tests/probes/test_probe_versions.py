"""Accuracy under shuffles, shifts and filters, on networks for which it is known."""

import numpy as np
import pytest
import torch
from toy_networks import one_convolution

from kdbias import stats
from kdbias.batch import Batch
from kdbias.functional.frequency import filtered, response
from kdbias.functional.shift import shift_images
from kdbias.functional.shuffle import shuffle_patches
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.frequency import FrequencyProbe
from kdbias.probes.shift import ShiftProbe
from kdbias.probes.shuffle import ShuffleProbe
from kdbias.probes.versions import take


@pytest.fixture
def answered(images):
    """Images whose classes are mostly what a network answers."""

    def batches(network):
        found = []
        for batch in images(n=48, size=16):
            own = network.eval()(batch.image).logits.argmax(1)
            target = torch.where(batch.index % 8 == 0, (own + 1) % 10, own)
            found.append(batch._replace(target=target))
        return found

    return batches


def answer(network, image):
    return network.eval()(image).logits.argmax(1).numpy()


def test_grid_one_is_clean_accuracy_and_the_others_are_by_hand(tiny_vit, answered):
    batches = answered(tiny_vit)
    result = ShuffleProbe(grids=[2, 8], seed=3)(tiny_vit, batches)
    clean = AccuracyProbe()(tiny_vit, batches)
    assert result.arrays["grids"].tolist() == [1, 2, 8]
    assert result.scalars["accuracy_1"] == clean.scalars["accuracy"] == 42 / 48
    np.testing.assert_array_equal(result.arrays["right"][0], clean.arrays["right"])
    image, target = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
    orders = np.stack([np.random.default_rng([3, index, 2]).permutation(4) for index in range(48)])
    assert len({tuple(order) for order in orders}) > 10  # each image has its own
    right = answer(tiny_vit, shuffle_patches(image, torch.from_numpy(orders))) == target.numpy()
    np.testing.assert_array_equal(result.arrays["right"][1], right)
    expected = stats.retention(right, clean.arrays["right"], 10)
    assert result.scalars["retention_2"] == expected.value
    assert tuple(result.arrays["retention_interval"][1]) == (expected.low, expected.high)
    np.testing.assert_array_equal(result.arrays["target"], target)
    other = ShuffleProbe(grids=[2, 8], seed=4)(tiny_vit, batches)
    assert (other.arrays["right"] != result.arrays["right"]).any()


def test_a_network_of_mean_colour_does_not_see_shuffles(answered):
    network = one_convolution(kernel=1)
    batches = answered(network)
    assert len({int(label) for batch in batches for label in batch.target}) > 2
    result = ShuffleProbe(grids=(1, 2, 4, 8, 32))(network, batches)
    assert (result.arrays["right"] == result.arrays["right"][0]).all()
    assert [result.scalars[f"retention_{grid}"] for grid in (2, 4, 8, 32)] == [1, 1, 1, 1]


def test_grids_that_do_not_divide_are_an_error(tiny_cnn, images):
    with pytest.raises(ValueError, match=r"probe\.shuffle\.grids: 3 patches to a side do not divide .* 32×32"):
        ShuffleProbe(grids=[1, 3])(tiny_cnn, images())
    with pytest.raises(ValueError, match=r"probe\.shift\.shifts: 32 pixels are too many"):
        ShiftProbe(shifts=[32])(tiny_cnn, images())


def test_a_circular_network_does_not_see_circular_shifts(answered):
    network = one_convolution(kernel=3, padding="circular")
    batches = answered(network)
    circular = ShiftProbe(shifts=(1, 7, 31), padding="circular")(network, batches)
    assert circular.scalars["consistency"] == 1
    assert circular.scalars["accuracy_31"] == circular.scalars["accuracy_0"] == 42 / 48


def test_shifts_by_hand(tiny_vit, answered):
    batches = answered(tiny_vit)
    result = ShiftProbe(shifts=[4, 2])(tiny_vit, batches)
    assert result.arrays["shifts"].tolist() == [0, 2, 4]
    image, target = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
    signs = np.stack([np.random.default_rng([0, index]).choice([-1, 1], size=2) for index in range(48)])
    down, right = torch.from_numpy(4 * signs).T
    none, still = torch.zeros(48, dtype=torch.long), answer(tiny_vit, image)
    for place, steps in enumerate([(none, right), (down, none), (down, right)]):
        moved = answer(tiny_vit, shift_images(image, *steps))
        assert result.arrays["consistency"][place].tolist()[::2] == [1.0, (moved == still).mean()]
        assert result.arrays["accuracy"][place, 2] == (moved == target.numpy()).mean()
    assert result.scalars["consistency_4"] == pytest.approx(result.arrays["consistency"][:, 2].mean())
    assert result.scalars["consistency"] == pytest.approx(result.arrays["consistency"][:, 1:].mean())
    assert 0 < result.scalars["consistency"] < 1


def test_low_pass_at_one_is_clean_and_the_others_are_by_hand(tiny_cnn, answered):
    batches = answered(tiny_cnn)
    result = FrequencyProbe(cutoffs=[1.0, 0.25])(tiny_cnn, batches)
    clean = AccuracyProbe()(tiny_cnn, batches)
    assert result.arrays["cutoffs"].tolist() == [0.25, 1.0]
    assert result.scalars["accuracy"] == clean.scalars["accuracy"] == result.arrays["accuracy_low"][1]
    np.testing.assert_array_equal(result.arrays["right_low"][1], clean.arrays["right"])
    image, target = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
    high = filtered(image, response((32, 32), 0.25, "high"))
    assert ((high < 0) | (high > 1)).any()
    right = answer(tiny_cnn, high.clamp(0, 1)) == target.numpy()
    np.testing.assert_array_equal(result.arrays["right_high"][0], right)
    grey = image.mean((2, 3), keepdim=True).expand_as(image)  # nothing lies above the highest frequency
    assert result.arrays["accuracy_high"][1] == (answer(tiny_cnn, grey) == target.numpy()).mean()
    for band in ("low", "high"):
        assert result.scalars[f"area_{band}"] == pytest.approx(result.arrays[f"accuracy_{band}"].mean())
        assert result.scalars[f"retention_area_{band}"] == pytest.approx(result.arrays[f"retention_{band}"].mean())


def test_a_network_of_mean_colour_does_not_see_filters_within_range(answered):
    network = one_convolution(kernel=1)
    flat = [batch._replace(image=0.5 + 0.1 * (batch.image - 0.5)) for batch in answered(network)]
    target = [torch.from_numpy(answer(network, batch.image)) for batch in flat]
    batches = [batch._replace(target=labels) for batch, labels in zip(flat, target, strict=True)]
    result = FrequencyProbe(cutoffs=(0.1, 0.5), window="gaussian")(network, batches)
    assert result.scalars["area_low"] == result.scalars["area_high"] == 1


def test_retention_is_refused_at_chance(tiny_cnn, images):
    batches = [batch._replace(target=torch.full_like(batch.target, 11)) for batch in images()]
    result = ShuffleProbe(grids=[2])(tiny_cnn, batches)
    assert np.isnan(result.scalars["retention_2"])
    assert result.scalars["accuracy_2"] == 0


def test_take_gives_the_first_images_in_small_batches(images):
    taken = list(take(images(n=24, size=10), limit=13, size=4))
    assert [len(batch.target) for batch in taken] == [4, 4, 2, 3]
    assert torch.cat([batch.index for batch in taken]).tolist() == list(range(13))
    assert all(isinstance(batch, Batch) and batch.image.shape[1:] == (3, 32, 32) for batch in taken)
    assert len(list(take(images(n=24, size=10), limit=20, size=10))) == 2
