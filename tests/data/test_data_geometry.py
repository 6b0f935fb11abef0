import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from kdbias.data.affine import draw_affine, rotate_shift
from kdbias.data.geometry import crop_flip


@pytest.fixture(params=[(3, 32), (1, 28)], ids=["colour-32", "grey-28"])
def images(request):
    channels, size = request.param
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (60, channels, size, size), dtype=torch.uint8, generator=generator)


def test_crop_and_flip_are_torchvisions_bit_for_bit(images):
    rng, size = np.random.default_rng(0), images.shape[-1]
    corner, flip = rng.integers(0, 9, (60, 2)), rng.random(60) < 0.5
    ours = crop_flip(images, corner, flip, padding=4)
    for image, (top, left), mirrored, got in zip(images, corner.tolist(), flip, ours, strict=True):
        expected = reference.crop(reference.pad(image, [4]), top, left, size, size)
        assert torch.equal(got, reference.horizontal_flip(expected) if mirrored else expected)


def test_the_middle_corner_without_flip_changes_nothing(images):
    assert torch.equal(crop_flip(images, np.full((60, 2), 4), np.zeros(60, dtype=bool), padding=4), images)


def test_rotation_and_shift_are_torchvisions(images):
    motion = draw_affine(np.random.default_rng(0), 60, images.shape[-1], rotate=15, translate=0.1)
    ours = rotate_shift(images, motion)
    expected = [
        reference.affine(
            image, angle, [int(right), int(down)], scale=1, shear=[0, 0], interpolation=InterpolationMode.NEAREST
        )
        for image, (angle, right, down) in zip(images, motion.tolist(), strict=True)
    ]
    # a source exactly between two pixels may be rounded either way
    assert (ours != torch.stack(expected)).float().mean() < 1e-3


def test_shifts_move_whole_pixels_and_black_comes_in(images):
    moved = rotate_shift(images, np.tile([0.0, 2.0, -1.0], (60, 1)))
    assert torch.equal(moved[:, :, :-1, 2:], images[:, :, 1:, :-2])
    assert not moved[:, :, -1].any()
    assert not moved[..., :2].any()


def test_affine_draws_fill_their_range():
    motion = draw_affine(np.random.default_rng(0), 20_000, 28, rotate=10, translate=0.1)
    assert np.abs(motion[:, 0]).max() <= 10
    assert motion[:, 0].std() == pytest.approx(10 / np.sqrt(3), rel=0.02)
    assert set(np.unique(motion[:, 1:])) == {-3, -2, -1, 0, 1, 2, 3}
