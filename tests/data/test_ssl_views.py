"""Two views: torchvision's colours, crops where they should be, draws that processes share."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from kdbias.data import colour
from kdbias.data.ssl_views import TwoViews

PLAIN = {"crop": (1.0, 1.0), "aspect": (1.0, 1.0), "flip": False, "jitter": 0.0, "grey": 0.0}


def images(count=6, channels=3, size=16):
    image = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))
    image[0, :, :4] = 0.5  # grey
    image[1, :, :2] = torch.tensor([0.0, 1.0, 1.0])[:channels, None, None]  # two strongest channels
    return image


@pytest.mark.parametrize(
    ("mine", "theirs", "values"),
    [
        (colour.brighten, TF.adjust_brightness, (0.0, 0.3, 1.0, 1.8)),
        (colour.stretch, TF.adjust_contrast, (0.0, 0.3, 1.0, 1.8)),
        (colour.saturate, TF.adjust_saturation, (0.0, 0.3, 1.0, 1.8)),
        (colour.turn_hue, TF.adjust_hue, (-0.5, -0.2, 0.0, 0.31, 0.5)),
    ],
)
def test_colours_are_torchvisions_each_image_with_its_own(mine, theirs, values):
    image = images(len(values))
    changed = mine(image, torch.tensor(values))
    for one, value, found in zip(image, values, changed, strict=True):
        torch.testing.assert_close(found, theirs(one, value), rtol=0, atol=3e-6)


def test_everything_off_leaves_the_images():
    image, views = images(), TwoViews(**PLAIN)
    for draws in views.draw(6, 0, 0, 0):
        torch.testing.assert_close(views.view(image, draws), image, rtol=0, atol=1e-6)


def test_flip_and_negative():
    image, views = images(200), TwoViews(**{**PLAIN, "flip": True}, invert=0.5)
    draws, _ = views.draw(200, 0, 0, 0)
    mirrored = draws.theta[:, 0, 0] < 0
    assert 60 < mirrored.sum() < 140
    assert 60 < draws.invert.sum() < 140
    expected = torch.stack([p.flip(2) if m else p for p, m in zip(image, mirrored, strict=True)])
    expected = torch.stack([1 - p if i else p for p, i in zip(expected, draws.invert, strict=True)])
    torch.testing.assert_close(views.view(image, draws), expected, rtol=0, atol=1e-6)


def test_a_quarter_turn_is_torchs():
    image, views = images(), TwoViews(**PLAIN, rotate=90)
    draws, _ = views.draw(6, 0, 0, 0)
    quarter = np.array([[0, 1, 0], [-1, 0, 0]], dtype=np.float32)
    draws.theta[:] = quarter
    torch.testing.assert_close(views.view(image, draws), image.rot90(-1, (2, 3)), rtol=0, atol=1e-5)


def test_a_crop_is_torchvisions_resized_crop():
    image, views = images(size=32), TwoViews(**PLAIN, size=8)
    draws, _ = views.draw(6, 0, 0, 0)
    top, left, height, width = 4, 10, 8, 16  # in pixels, of 32
    draws.theta[:] = [[width / 32, 0, (2 * left + width) / 32 - 1], [0, height / 32, (2 * top + height) / 32 - 1]]
    expected = TF.resized_crop(image, top, left, height, width, [8, 8], antialias=False)
    torch.testing.assert_close(views.view(image, draws)[..., 1:-1], expected[..., 1:-1], rtol=0, atol=1e-5)


def test_crops_lie_within_the_image_and_have_their_area():
    views = TwoViews(crop=(0.3, 0.8), aspect=(0.75, 4 / 3), flip=False)
    theta = np.concatenate([draws.theta for draws in views.draw(2000, 0, 0, 0)])
    width, height, middle = theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2]
    assert np.all(np.abs(middle) + np.stack([width, height], 1) <= 1 + 1e-6)
    area = width * height
    assert 0.3 - 1e-6 <= area.min() < 0.32
    assert 0.78 < area.max() <= 0.8 + 1e-6
    assert 0.75 - 1e-6 <= (width / height).min() < 0.77


def test_a_process_makes_its_part_of_the_global_batch():
    views = TwoViews(rotate=15, invert=0.5, hue=0.5)
    image = images(8)
    for draws in views.draw(8, 3, 1, 2):
        whole = views.view(image, draws)
        parts = [views.view(image[rows], draws.take(rows)) for rows in (slice(0, 4), slice(4, 8))]
        assert torch.equal(torch.cat(parts), whole)


def test_draws_are_a_function_of_seed_epoch_and_step():
    views = TwoViews()
    first, second = views.draw(4, 0, 0, 0)
    again, _ = views.draw(4, 0, 0, 0)
    assert np.array_equal(first.theta, again.theta)
    others = [second, *(views.draw(4, *place)[0] for place in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))]
    assert not any(np.array_equal(first.theta, other.theta) for other in others)


def test_grey_images_and_values_in_range():
    views = TwoViews(brightness=1, contrast=1, rotate=30, invert=0.5)
    for channels in (1, 3):
        image = images(32, channels)
        for draws in views.draw(32, 0, 0, 0):
            view = views.view(image, draws)
            assert view.shape == image.shape
            assert 0 <= view.min() <= view.max() <= 1 + 1e-6
    grey, _ = TwoViews(**{**PLAIN, "grey": 1.0}).draw(2, 0, 0, 0)
    view = views.view(images(2), grey)
    torch.testing.assert_close(view[:, 0], view[:, 2])


@pytest.mark.parametrize(
    ("key", "value"), [("crop", (0.0, 1.0)), ("crop", (0.9, 0.5)), ("hue", 0.6), ("invert", -1), ("rotate", -1)]
)
def test_bad_values_are_named(key, value):
    with pytest.raises(ValueError, match=f"^{key}: "):
        TwoViews(**{key: value})
