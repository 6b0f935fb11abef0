import multiprocessing
import pickle

import pytest
import torch
from loading import AUGMENTS, COUNT, assert_same, epoch_of, joined, random_images, resident, workers

from kdbias.data.augment import Augment, to_float
from kdbias.data.workers import Workers


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS.keys())
def test_batches_are_the_resident_loaders_bit_for_bit(tiny_info, augment):
    loader = workers(tiny_info, augment=augment, num_workers=1)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for ours, theirs in zip(batches, resident(tiny_info, augment=augment), strict=True):
        assert_same(ours, theirs)


def test_repeated_images_are_the_resident_loaders_in_every_epoch(tiny_info):
    ours, theirs = workers(tiny_info, repeats=3), resident(tiny_info, repeats=3)
    for epoch in (0, 1):
        for one, other in zip(epoch_of(ours, epoch), epoch_of(theirs, epoch), strict=True):
            assert_same(one, other)


def test_rotated_images_are_the_resident_loaders_but_for_ties(tiny_info):
    augment = Augment(crop=0, rotate=15, translate=0.1, mixup=0, cutmix=0)
    for ours, theirs in zip(
        workers(tiny_info, augment=augment, num_workers=1), resident(tiny_info, augment=augment), strict=True
    ):
        assert (ours.image != theirs.image).float().mean() < 1e-3  # a source between two pixels may round either way


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_number_of_workers_does_not_matter(tiny_info, num_workers):
    for ours, theirs in zip(workers(tiny_info, num_workers=num_workers), resident(tiny_info), strict=True):
        assert_same(ours, theirs)


def test_ranks_together_are_the_single_process(tiny_info):
    augment = AUGMENTS["mixed, photometric view"]
    ranks = [workers(tiny_info, augment=augment, num_workers=0, rank=rank, world=3) for rank in range(3)]
    for whole, *parts in zip(resident(tiny_info, augment=augment), *ranks, strict=True):
        for ours, theirs in zip(joined(parts), whole, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_each_image_once(tiny_info, world):
    images, labels = random_images()
    ranks = [workers(tiny_info, train=False, batch_size=20, num_workers=0, rank=r, world=world) for r in range(world)]
    batches = [batch for loader in ranks for batch in loader]
    assert torch.equal(torch.cat([batch.index for batch in batches]).sort().values, torch.arange(COUNT))
    for batch in batches:
        assert torch.equal(batch.image, to_float(images[batch.index]))
        assert torch.equal(batch.target, labels[batch.index])
        assert batch.teacher_image is batch.image


def test_a_loader_goes_on_where_its_state_says(tiny_info):
    loader, again = workers(tiny_info), workers(tiny_info)
    loader.sampler.set_epoch(5)
    batches = iter(loader)
    next(batches)
    next(batches)
    assert loader.state_dict() == {"epoch": 5, "step": 2}  # though the workers are further
    again.load_state_dict(loader.state_dict())
    rest = epoch_of(again, 5)
    assert len(rest) == 2
    for ours, theirs in zip(rest, batches, strict=True):
        assert_same(ours, theirs)


def test_the_runs_own_random_numbers_are_left_alone(tiny_info):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(workers(tiny_info))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_end_with_the_last_batch_and_with_an_iterator_that_is_given_up(tiny_info):
    loader = workers(tiny_info)
    batches = iter(loader)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    assert multiprocessing.active_children() == []


def test_what_is_sent_to_a_worker_and_back_arrives(tiny_info):
    loader = workers(tiny_info)
    share = next(loader.order.shares(0))
    maker, sent = pickle.loads(pickle.dumps((loader._make, share)))  # as a spawned process gets it
    views = pickle.loads(pickle.dumps(maker[sent]))
    assert_same(loader._batch(share, views), next(iter(resident(tiny_info))))


class Broken:
    def __len__(self):
        return COUNT

    def __getitem__(self, position):
        raise ValueError(f"no image {position}")


def test_an_error_in_a_worker_is_raised_here(tiny_info):
    loader = workers(tiny_info)
    loader._make.images = Broken()
    with pytest.raises(ValueError, match="no image"):
        list(loader)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("settings", "key"), [({"num_workers": -1}, "num_workers"), ({"prefetch_factor": 0}, "pref")])
def test_a_number_out_of_range_is_named(settings, key):
    with pytest.raises(ValueError, match=f"^{key}"):
        Workers(**settings)
