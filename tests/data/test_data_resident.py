import pytest
import torch

from kdbias.batch import Batch
from kdbias.data.augment import Augment, to_float
from kdbias.data.resident import ResidentLoader

COUNT = 103
ALWAYS_MIXED = Augment(
    policy="cifar10", mix_probability=1.0, erasing=0.5, cutout=8, rotate=10, translate=0.1, view="photometric"
)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (COUNT,), generator=generator)


@pytest.fixture
def make(images, tiny_info):
    def loader(train=True, **settings):
        if train:
            settings = {"augment": Augment(), "shuffle": True, "drop_last": True, "seed": 1} | settings
        return ResidentLoader(*images, info=tiny_info, **({"batch_size": 24} | settings))

    return loader


def joined(parts):
    return Batch(*(torch.cat(field) for field in zip(*parts, strict=True)))


def assert_same(one, other):
    for field, ours, theirs in zip(Batch._fields, one, other, strict=True):
        assert torch.equal(ours, theirs), field


@pytest.mark.parametrize("augment", [None, Augment(erasing=0, mixup=0, cutmix=0), Augment(), ALWAYS_MIXED])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_the_single_process(make, augment, world):
    loaders = [make(augment=augment, rank=rank, world=world) for rank in range(world)]
    single = make(augment=augment)
    for loader in (*loaders, single):
        loader.sampler.set_epoch(2)
    batches = list(single)
    assert len(batches) == len(single) == 4
    for whole, *parts in zip(batches, *loaders, strict=True):
        assert_same(whole, joined(parts))


def test_mixing_happens_in_both_ways(make):
    targets = [batch.target for epoch in range(3) for batch in _epoch(make(augment=ALWAYS_MIXED), epoch)]
    assert all((target > 0).sum(dim=1).max() == 2 for target in targets)
    assert all(torch.allclose(target.sum(dim=1), torch.ones(24)) for target in targets)


def _epoch(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_mixed_targets_are_the_labels_of_the_image_and_the_one_before(make, images):
    labels = images[1]
    for batch in make(augment=ALWAYS_MIXED):
        own, partner = labels[batch.index], labels[batch.index].roll(1)
        rows = torch.arange(24)
        assert ((batch.target[rows, own] + batch.target[rows, partner] * (own != partner)) - 1).abs().max() < 1e-6


def test_targets_stay_soft_in_unmixed_batches(make):
    batches = list(make(augment=Augment(mix_probability=1e-9)))
    assert all(batch.target.shape == (24, 10) and set(batch.target.unique().tolist()) == {0, 1} for batch in batches)


def test_targets_are_labels_where_nothing_mixes(make, images):
    for batch in make(augment=Augment(mixup=0, cutmix=0)):
        assert torch.equal(batch.target, images[1][batch.index])


def test_evaluation_sees_each_image_once(make, images):
    seen = [list(make(train=False, batch_size=20, rank=rank, world=3)) for rank in range(3)]
    index = torch.cat([batch.index for batches in seen for batch in batches])
    assert torch.equal(index.sort().values, torch.arange(COUNT))
    for batch in (batch for batches in seen for batch in batches):
        assert torch.equal(batch.image, to_float(images[0][batch.index]))
        assert torch.equal(batch.target, images[1][batch.index])
        assert batch.teacher_image is batch.image


@pytest.mark.parametrize(("batch_size", "world"), [(20, 1), (20, 3), (34, 3), (3, 3), (51, 2), (103, 2), (500, 2)])
def test_length_is_what_comes(make, batch_size, world):
    for rank in range(world):
        loader = make(train=False, batch_size=batch_size, rank=rank, world=world)
        assert len(list(loader)) == len(loader)


def test_training_visits_no_image_twice_and_changes_order(make):
    loader = make()
    orders = [torch.cat([batch.index for batch in _epoch(loader, epoch)]) for epoch in (0, 1, 0)]
    assert all(len(order.unique()) == 96 for order in orders)
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], torch.cat([batch.index for batch in make(seed=2)]))


def test_a_loader_goes_on_where_its_state_says(make):
    loader, again = make(), make()
    loader.sampler.set_epoch(5)
    iterator = iter(loader)
    next(iterator)
    again.load_state_dict(loader.state_dict())
    rest = list(_epoch(again, 5))
    assert len(rest) == 3
    for ours, theirs in zip(rest, iterator, strict=True):
        assert_same(ours, theirs)
    assert len(_epoch(again, 5)) == 4


def test_a_state_of_another_epoch_is_ignored(make):
    loader = make()
    loader.load_state_dict({"epoch": 4, "step": 4})
    assert len(_epoch(loader, 5)) == 4


def test_a_batch_that_processes_do_not_divide_is_refused(make):
    with pytest.raises(ValueError, match=r"batch_size: 24 images .* do not divide among 5 processes"):
        make(world=5)


def test_too_few_images_are_refused(make):
    with pytest.raises(ValueError, match="batch_size: no batch is full: set it to at most the 103"):
        make(batch_size=104)
