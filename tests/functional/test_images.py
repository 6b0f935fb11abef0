"""Images shuffled, shifted and filtered."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdbias.functional.frequency import filtered, mean_height, response
from kdbias.functional.shift import shift_images
from kdbias.functional.shuffle import shuffle_patches

IMAGES = torch.rand(4, 3, 12, 8, generator=torch.Generator().manual_seed(0))


def test_patches_go_where_the_order_says():
    order = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    shuffled = shuffle_patches(IMAGES, order)
    for image in range(4):
        for place in range(16):
            (y, x), (v, u) = divmod(place, 4), divmod(int(order[image, place]), 4)
            here = shuffled[image, :, 3 * y : 3 * y + 3, 2 * x : 2 * x + 2]
            assert torch.equal(here, IMAGES[image, :, 3 * v : 3 * v + 3, 2 * u : 2 * u + 2])
    assert torch.equal(shuffle_patches(shuffled, order.argsort(1)), IMAGES)
    assert shuffle_patches(IMAGES, torch.zeros(4, 1, dtype=torch.long)) is IMAGES
    with pytest.raises(ValueError, match="3×3 grid of patches does not divide images of 12×8"):
        shuffle_patches(IMAGES, torch.arange(9).expand(4, 9))


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_shift_is_padding_and_cropping(padding):
    down, right = torch.tensor([0, 3, -7, 1]), torch.tensor([2, 0, -7, 5])
    shifted = shift_images(IMAGES, down, right, padding)
    padded = F.pad(IMAGES, (7, 7, 7, 7), mode=padding)
    for i in range(4):
        y, x = 7 - int(down[i]), 7 - int(right[i])
        assert torch.equal(shifted[i], padded[i, :, y : y + 12, x : x + 8])
    with pytest.raises(ValueError, match="8 pixels is too much"):
        shift_images(IMAGES, down, torch.tensor([0, 0, 0, 8]))


def wave(rows, columns, size=16):
    """A wave with so many periods in each direction, around one half."""
    y, x = np.mgrid[:size, :size] * 2 * math.pi / size
    return torch.from_numpy(0.5 + 0.4 * np.cos(rows * y + columns * x)).view(1, 1, size, size)


@pytest.mark.parametrize(("rows", "columns"), [(0, 2), (3, 0), (3, 4), (8, 8)])
def test_a_wave_passes_on_its_side_of_the_cutoff_only(rows, columns):
    image, grey = wave(rows, columns), torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    frequency = min(math.hypot(rows, columns) / 8, 1.0)  # Nyquist: 8 periods in 16 pixels
    cases = {"low": (frequency, frequency - 0.01), "high": (frequency - 0.01, frequency)}
    if (rows, columns) == (8, 8):
        image = torch.full_like(image, 0.5) + 0.4 * torch.tensor([1.0, -1.0]).repeat(8).outer(
            torch.tensor([1.0, -1.0]).repeat(8)
        )
    for band, (passing, stopping) in cases.items():
        torch.testing.assert_close(filtered(image, response((16, 16), passing, band)), image)
        torch.testing.assert_close(filtered(image, response((16, 16), stopping, band)), grey)


@pytest.mark.parametrize("window", ["ideal", "gaussian"])
def test_bands_add_up_to_the_image_and_its_mean(window):
    mean = IMAGES.mean((2, 3), keepdim=True)
    low, high = (filtered(IMAGES, response((12, 8), 0.4, band, window)) for band in ("low", "high"))
    torch.testing.assert_close(low + high, IMAGES + mean)
    torch.testing.assert_close(high.mean((2, 3), keepdim=True), mean)
    assert low.dtype == torch.float32


def test_gaussian_weakens_a_wave_by_its_closed_form():
    weakened = filtered(wave(0, 4), response((16, 16), 0.25, "low", "gaussian")) - 0.5
    torch.testing.assert_close(weakened, math.exp(-(0.5**2) / (2 * 0.25**2)) * (wave(0, 4) - 0.5))


def test_everything_passes_bit_for_bit():
    assert filtered(IMAGES, response((12, 8), 1.0, "low")) is IMAGES
    assert filtered(IMAGES, response((12, 8), 0.0, "high")) is IMAGES


def test_mean_height():
    x = torch.tensor([0.0, 1.0, 4.0])
    assert mean_height(x, torch.tensor([1.0, 1.0, 1.0])) == 1
    assert mean_height(x, torch.tensor([0.0, 1.0, 2.0])) == pytest.approx((0.5 + 4.5) / 4)
    assert mean_height(x[:1], x[:1]) == 0
