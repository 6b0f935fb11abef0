"""Four rotations of an image: their order, one flip for all, a crop for each, and draws that depend on their place."""

import numpy as np
import pytest
import torch

from kdbias.config.errors import ArgumentError
from kdbias.data.rotations import RotationDraws, Rotations


def images(count: int = 6, side: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def by_numpy(image: np.ndarray, flip: bool, corners: np.ndarray, crop: int) -> np.ndarray:
    """The four views of one image ``(H, W, C)``, step by step as the official data set makes them."""
    image = image[:, ::-1] if flip else image
    views = []
    for turns, (top, left) in enumerate(corners):
        padded = np.pad(np.rot90(image, turns), ((crop, crop), (crop, crop), (0, 0)))
        views.append(padded[top : top + image.shape[0], left : left + image.shape[1]])
    return np.stack(views)


@pytest.mark.parametrize(("crop", "flip", "channels"), [(0, False, 3), (2, True, 3), (4, True, 1)])
def test_views_are_those_of_the_official_order_bit_for_bit(crop, flip, channels):
    image, views = images(channels=channels), Rotations(crop=crop, flip=flip)
    draws = views.draw(len(image), seed=3, epoch=1, step=2)
    found = views.view(image, draws).permute(0, 2, 3, 1).numpy()
    expected = [
        by_numpy(one.permute(1, 2, 0).numpy(), draws.flip[i], draws.corner[i], crop) for i, one in enumerate(image)
    ]
    np.testing.assert_array_equal(found, np.concatenate(expected))


def test_without_flip_and_crop_every_fourth_view_is_the_image_and_the_next_turn_it_counter_clockwise():
    arrow = torch.zeros(1, 1, 3, 3)
    arrow[0, 0, 0, 2] = 1.0  # upper right
    views = Rotations(crop=0, flip=False)
    found = views.view(arrow, views.draw(1, 0, 0, 0))
    assert [tuple(one[0].nonzero()[0].tolist()) for one in found] == [(0, 2), (0, 0), (2, 0), (2, 2)]


def test_one_flip_for_all_rotations_of_an_image_and_a_crop_for_each():
    draws = Rotations(crop=4).draw(1000, seed=0, epoch=0, step=0)
    assert draws.flip.shape == (1000,)
    assert 0.4 < draws.flip.mean() < 0.6
    assert draws.corner.shape == (1000, 4, 2)
    assert set(draws.corner.ravel()) == set(range(9))
    places = draws.corner.reshape(1000, 8) - draws.corner.mean()
    correlation = np.corrcoef(places.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.15  # no two of the eight numbers go together; .1 is three standard errors
    assert not Rotations(flip=False).draw(1000, 0, 0, 0).flip.any()


def test_draws_depend_on_seed_epoch_and_step_alone():
    views = Rotations()

    def drawn(*place: int) -> tuple[list, list]:
        draws = views.draw(16, *place)
        return draws.flip.tolist(), draws.corner.tolist()

    first = drawn(1, 2, 3)
    views.draw(5, 9, 9, 9)
    assert drawn(1, 2, 3) == first
    assert all(drawn(*place) != first for place in ((0, 2, 3), (1, 0, 3), (1, 2, 0)))


def test_slices_of_the_draws_give_the_views_of_the_whole_batch():
    image, views = images(), Rotations()
    draws = views.draw(6, 0, 0, 0)
    halves = [views.view(image[rows], draws.take(rows)) for rows in (slice(0, 2), slice(2, 6))]
    assert torch.equal(torch.cat(halves), views.view(image, draws))


def test_what_cannot_be_turned_or_drawn_is_refused():
    draws = RotationDraws(np.zeros(1, dtype=bool), np.zeros((1, 4, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="rotations need square images, got 4x6"):
        Rotations().view(torch.rand(1, 3, 4, 6), draws)
    for wrong in ({"crop": -1}, {"crop": 1.5}, {"crop": True}, {"flip": 1}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Rotations(**wrong)
