import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from kdbias.data.erase import draw_cutout, draw_erasing, erase

FILL = torch.tensor([125, 0, 255], dtype=torch.uint8)


@pytest.mark.parametrize("kind", ["cutout", "erasing"])
def test_erase_is_torchvisions_bit_for_bit(kind):
    rng = np.random.default_rng(0)
    boxes = draw_cutout(rng, 60, 32, 16) if kind == "cutout" else draw_erasing(rng, 60, 32, 0.7)
    images = torch.randint(0, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    for image, (top, left, bottom, right), got in zip(images, boxes.tolist(), erase(images, boxes, FILL), strict=True):
        expected = reference.erase(image, top, left, bottom - top, right - left, FILL[:, None, None])
        assert torch.equal(got, expected)
    assert torch.equal(images, before)


def test_cutout_is_centred_anywhere_and_clipped():
    boxes = draw_cutout(np.random.default_rng(0), 20_000, 32, 16)
    assert boxes.min() == 0
    assert boxes.max() == 32
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.max() == 16
    assert sides.min() == 8
    # of the 32 centres 8..24 keep the whole side, the others lose 1 to 8 on the left or 1 to 7 on the right
    assert sides.mean() == pytest.approx(16 - (36 + 28) / 32, abs=0.05)


def test_erasing_draws_area_aspect_and_probability():
    boxes = draw_erasing(np.random.default_rng(0), 20_000, 32, 0.25)
    sides = (boxes[:, 2:] - boxes[:, :2])[boxes[:, 2] > 0]
    assert len(sides) / 20_000 == pytest.approx(0.25, abs=0.01)
    area = sides.prod(axis=1) / 32**2
    assert 0.01 < area.min() < 0.03
    assert 0.3 < area.max() < 0.36
    aspect = np.log(sides[:, 0] / sides[:, 1])
    assert aspect.mean() == pytest.approx(0, abs=0.05)
    assert boxes.min() >= 0
    assert boxes.max() <= 32


def test_switched_off_draws_nothing():
    rng = np.random.default_rng(0)
    assert not draw_erasing(rng, 50, 32, 0.0).any()
    assert not draw_cutout(rng, 50, 32, 0).any()


def test_erased_boxes_are_of_all_aspects():
    boxes = draw_erasing(np.random.default_rng(0), 20_000, 32, 1.0)
    sides = (boxes[:, 2:] - boxes[:, :2])[boxes[:, 2] > 0]
    aspect = np.log(sides[:, 0] / sides[:, 1])
    assert aspect.std() == pytest.approx((math.log(3.3) - math.log(0.3)) / math.sqrt(12), rel=0.1)
