import _thread
import signal
import threading

import lightning
import pytest
import torch
from loading import AUGMENTS, assert_same, epoch_of, resident, side_threads

from kdbias.batch import Batch
from kdbias.data.prefetch import ahead, side_thread


@pytest.fixture(autouse=True)
def interruptible():
    """A shell's background ignores SIGINT, and hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make(job):
    image = torch.full((1, 1, 1, 1), float(job))
    return Batch(image, torch.tensor([job]), torch.tensor([job]), image)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS.keys())
@pytest.mark.parametrize("world", [1, 2])
def test_batches_are_those_without_prefetch(tiny_info, augment, world):
    loaders = [resident(tiny_info, augment=augment, prefetch=on, rank=world - 1, world=world) for on in (True, False)]
    for epoch in (0, 1):
        for ours, theirs in zip(*(epoch_of(loader, epoch) for loader in loaders), strict=True):
            assert_same(ours, theirs)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_job_comes_once_in_order_and_no_more_than_one_ahead(count):
    begun, seen = [], []

    def noted(job):
        begun.append(job)
        return make(job)

    for job, batch in ahead(noted, range(count)):
        seen.append((job, batch.index.item()))
        assert len(begun) <= len(seen) + 1
    assert seen == [(job, job) for job in range(count)]
    assert side_threads() == []


def test_the_next_batch_is_made_before_it_is_asked_for():
    made = _thread.allocate_lock()
    made.acquire()

    def noted(job):
        if job == 1:
            made.release()
        return make(job)

    batches = ahead(noted, range(3))
    next(batches)
    assert made.acquire(timeout=600)
    batches.close()


def test_an_error_is_raised_at_its_turn_and_the_thread_ends():
    def failing(job):
        if job == 2:
            raise ValueError("image 2 is broken")
        return make(job)

    batches = ahead(failing, range(5))
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(ValueError, match="image 2 is broken"):
        next(batches)
    assert side_threads() == []


def leave(loader):
    for _ in loader:
        break


def fail(loader):
    def loop():
        for _ in loader:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()


def interrupt(loader):
    def loop():
        for _ in loader:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        loop()


def close(loader):
    batches = iter(loader)
    next(batches)
    assert side_threads()
    batches.close()


@pytest.mark.parametrize("way", [leave, fail, interrupt, close])
def test_an_iterator_that_is_given_up_leaves_no_thread(tiny_info, way):
    way(resident(tiny_info, prefetch=True))
    assert side_threads() == []


def test_an_interrupt_while_waiting_ends_the_thread():
    def interrupting(job):
        if job == 1:
            _thread.interrupt_main()
        return make(job)

    with pytest.raises(KeyboardInterrupt):
        list(ahead(interrupting, range(3)))
    assert side_threads() == []


def test_the_last_batch_finds_no_thread(tiny_info):
    loader = resident(tiny_info, prefetch=True)
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    assert side_threads() == []


def test_the_state_counts_what_was_handed_out(tiny_info):
    loader, again = (resident(tiny_info, prefetch=True) for _ in range(2))
    loader.sampler.set_epoch(5)
    batches = iter(loader)
    next(batches)
    assert loader.state_dict() == {"epoch": 5, "step": 1}
    again.load_state_dict(loader.state_dict())
    for ours, theirs in zip(epoch_of(again, 5), batches, strict=True):
        assert_same(ours, theirs)


def test_the_side_thread_takes_one_core_and_leaves_the_others_theirs():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with side_thread() as side, side_thread() as later:
            assert side.submit(torch.get_num_threads).result() == 1
            assert later.submit(torch.get_num_threads).result() == 1
            assert torch.get_num_threads() == 2
            found = []
            other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
            other.start()
            other.join()
            assert found == [2]
    finally:
        torch.set_num_threads(before)


class Breaks(lightning.LightningModule):
    """Raises in its second step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            raise ZeroDivisionError
        return self.weight * batch.image.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("limit", [1, None])
def test_a_run_leaves_no_thread_behind_however_it_ends(tiny_info, tmp_path, limit):
    run = lightning.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=tmp_path, limit_train_batches=limit,
    )  # fmt: skip
    loader = resident(tiny_info, prefetch=True)
    if limit:
        run.fit(Breaks(), loader)
    else:
        with pytest.raises(ZeroDivisionError):
            run.fit(Breaks(), loader)
    assert side_threads() == []
