from collections import Counter
from itertools import chain

import numpy as np
import pytest

from kdbias.data.order import Order

TRAIN = {"shuffle": True, "drop_last": True, "seed": 3}


def chosen(order, epoch=0):
    return [share.chosen.tolist() for share in order.shares(epoch)]


def visited(order, epoch=0):
    return list(chain.from_iterable(chosen(order, epoch)))


@pytest.mark.parametrize(("count", "batch_size"), [(103, 20), (1, 4), (7, 3), (10, 10), (5, 100), (101, 20)])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_image_is_evaluated_once(count, batch_size, world):
    orders = [Order(count, batch_size, rank=rank, world=world) for rank in range(world)]
    shares = [list(order.shares(0)) for order in orders]
    seen = [position for part in shares for share in part for position in share.chosen[share.start : share.stop]]
    assert sorted(seen) == list(range(count))
    assert [len(part) for part in shares] == [len(order) for order in orders]
    if count >= world:  # every process takes part in every step: they wait for one another
        assert len({len(order) for order in orders}) == 1


def test_training_shares_of_all_ranks_are_the_global_batch():
    single = list(Order(103, 24, **TRAIN).shares(2))
    ranks = [list(Order(103, 24, rank=rank, world=3, **TRAIN).shares(2)) for rank in range(3)]
    assert len(single) == 4
    for whole, *parts in zip(single, *ranks, strict=True):
        rows = [position for part in parts for position in part.chosen[part.start : part.stop]]
        assert rows == whole.chosen.tolist()
        assert {part.stop - part.start for part in parts} == {8}


@pytest.mark.parametrize(("repeats", "batch_size"), [(2, 24), (3, 24), (3, 32), (5, 24)])
def test_repeated_images_are_those_that_deit_would_take(repeats, batch_size):
    plain, repeated = (Order(103, batch_size, repeats=r, **TRAIN) for r in (1, repeats))
    first = visited(Order(103, 103, **TRAIN))
    taken = [position for position in first for _ in range(repeats)]  # RASampler: a row of copies, as many as images
    batches = chosen(repeated)
    assert len(batches) == len(repeated) == len(plain)
    for step, batch in enumerate(batches):
        assert Counter(batch) == Counter(taken[step * batch_size : (step + 1) * batch_size])
    assert max(Counter(visited(repeated)).values()) == repeats


@pytest.mark.parametrize(("repeats", "batch_size"), [(2, 24), (3, 24), (3, 32), (5, 24)])
def test_copies_lie_apart_so_that_no_image_is_mixed_with_itself(repeats, batch_size):
    for batch in chosen(Order(1_000, batch_size, repeats=repeats, **TRAIN)):
        for position in set(batch):
            (places,) = np.nonzero(np.array(batch) == position)
            assert np.all(np.diff(places) >= batch_size // repeats - 1)
        assert batch[0] != batch[-1]


def test_one_repeat_is_the_plain_order_and_each_epoch_has_its_own():
    order = Order(103, 24, **TRAIN)
    epochs = [visited(order, epoch) for epoch in (0, 1, 0)]
    assert all(len(set(seen)) == 96 for seen in epochs)
    assert epochs[0] == epochs[2] != epochs[1]
    assert epochs[0] != visited(Order(103, 24, shuffle=True, drop_last=True, seed=4))


def test_an_epoch_can_begin_in_its_middle():
    order = Order(103, 24, repeats=3, **TRAIN)
    whole, rest = list(order.shares(1)), list(order.shares(1, begin=2))
    assert [share.step for share in rest] == [2, 3]
    for ours, theirs in zip(rest, whole[2:], strict=True):
        assert np.array_equal(ours.chosen, theirs.chosen)


def test_a_lender_comes_first_and_is_the_last_one_for_the_first():
    first, second = (next(Order(10, 10, rank=rank, world=2).shares(0)) for rank in range(2))
    assert first.rows(lender=False).tolist() == [0, 1, 2, 3, 4]
    assert first.rows(lender=True).tolist() == [9, 0, 1, 2, 3, 4]
    assert second.rows(lender=True).tolist() == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"world": 5}, r"batch_size: 24 images .* do not divide among 5 processes .*: use 20 or 25"),
        ({"batch_size": 104}, "batch_size: no batch is full: set it to at most the 103 training images"),
        ({"repeats": 0}, "loader.repeats: must be a whole number of at least 1"),
        ({"batch_size": 2, "world": 3, "drop_last": False}, "a batch of 2 images leaves some of 3 processes without"),
    ],
)
def test_an_impossible_order_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Order(**({"count": 103, "batch_size": 24} | TRAIN | settings))
