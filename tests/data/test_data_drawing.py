"""Draws that each image keeps: as many as epochs are new ones, and fewer come again wherever an image stands."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from loading import AUGMENTS, BATCH, COUNT, assert_same, epoch_of, resident, workers

from kdbias.config.errors import ArgumentError
from kdbias.data.drawing import every_image
from kdbias.data.order import Order

UNMIXED = {
    "AutoAugment": AUGMENTS["AutoAugment"],
    "photometric view": AUGMENTS["unmixed, photometric view"],
    "stressed, clean view": replace(AUGMENTS["plain"], view="clean", teacher_stress="scramble", crop=4),
    "stressed student": replace(AUGMENTS["stressed student, photometric view"], mix_probability=0),
    "moved": replace(AUGMENTS["plain"], rotate=10.0, translate=0.1, erasing=0.5, crop=4),
}


def by_image(batches):
    return {
        index: (image, teacher)
        for batch in batches
        for index, image, teacher in zip(batch.index.tolist(), batch.image, batch.teacher_image, strict=True)
    }


@pytest.mark.parametrize("augment", UNMIXED.values(), ids=UNMIXED)
def test_as_many_draws_as_epochs_are_the_draws_of_the_epochs(tiny_info, augment):
    drawn, kept = resident(tiny_info, augment=augment), resident(tiny_info, augment=augment, draws=3)
    for epoch in range(3):
        for one, other in zip(epoch_of(drawn, epoch), epoch_of(kept, epoch), strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("augment", UNMIXED.values(), ids=UNMIXED)
def test_a_draw_comes_again_at_another_place_of_another_epoch(tiny_info, augment):
    loader = resident(tiny_info, augment=augment, draws=2)
    first, again, other = (by_image(epoch_of(loader, epoch)) for epoch in (1, 3, 2))
    assert list(first) != list(again)  # the order is that of the epoch
    both = first.keys() & again.keys()
    assert len(both) > COUNT // 2
    for index in both:
        for one, same in zip(first[index], again[index], strict=True):
            assert torch.equal(one, same)
    assert any(not torch.equal(first[index][0], other[index][0]) for index in first.keys() & other.keys())


def test_an_image_that_an_epoch_leaves_out_has_a_draw_of_it(tiny_info):
    """103 images in batches of 24: seven are left out of an epoch, and come in another."""
    augment, order = UNMIXED["stressed, clean view"], Order(COUNT, BATCH, 1, shuffle=True, drop_last=True)
    found = every_image(augment, order, 32, 0)
    assert len(found.flip) == len(found.motion) == len(found.keys) == COUNT
    share = next(order.shares(0, 2))
    drawn = augment.draw(BATCH, 32, 1, 0, 2, share.chosen)
    for name in ("motion", "corner", "flip", "actions", "cutout", "erasing", "keys"):
        assert np.array_equal(getattr(found.take(share.chosen), name), getattr(drawn, name)), name


def test_workers_and_two_processes_give_the_same_kept_draws(tiny_info):
    augment = UNMIXED["stressed, clean view"]
    whole = epoch_of(resident(tiny_info, augment=augment, draws=2), 3)
    for one, other in zip(whole, epoch_of(workers(tiny_info, augment=augment, draws=2, num_workers=0), 3), strict=True):
        assert_same(one, other)
    halves = [epoch_of(resident(tiny_info, augment=augment, draws=2, rank=rank, world=2), 3) for rank in range(2)]
    for batch, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(batch.teacher_image, torch.cat([part.teacher_image for part in parts]))


@pytest.mark.parametrize("augment", [UNMIXED["moved"], UNMIXED["stressed, clean view"]])
def test_runs_of_two_seeds_share_the_draws_of_a_third_in_orders_of_their_own(tiny_info, augment):
    settings = {"augment": augment, "draws": 2, "draws_seed": 5}
    of = {seed: by_image(epoch_of(resident(tiny_info, seed=seed, **settings), 3)) for seed in (1, 2)}
    third = by_image(epoch_of(resident(tiny_info, augment=augment, draws=2, seed=5), 1))
    assert list(of[1]) != list(of[2])
    assert len(of[1].keys() & of[2].keys() & third.keys()) > COUNT // 2
    for index in of[1].keys() & of[2].keys() & third.keys():
        for one, other, same in zip(of[1][index], of[2][index], third[index], strict=True):
            assert torch.equal(one, same)
            assert torch.equal(other, same)
    by_workers = epoch_of(workers(tiny_info, seed=1, num_workers=0, **settings), 3)
    for one, other in zip(epoch_of(resident(tiny_info, seed=1, **settings), 3), by_workers, strict=True):
        assert_same(one, other)


def test_mixed_batches_and_repeated_images_have_no_draw_of_their_own(tiny_info):
    with pytest.raises(ArgumentError, match=r"augment.mix_probability: teacher.cache keeps answers for single images"):
        resident(tiny_info, augment=AUGMENTS["default"], draws=2)
    with pytest.raises(ArgumentError, match=r"loader.repeats: .* set loader.repeats=1"):
        resident(tiny_info, augment=UNMIXED["moved"], draws=2, repeats=2)
