import hashlib

import lightning
import numpy as np
import pytest
import torch

from kdbias.batch import DataInfo
from kdbias.data.augment import Augment, to_float
from kdbias.data.base import ImageData, split_train
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers

LOADERS = {
    "resident": Resident(prefetch=False),
    "prefetch": Resident(),
    "repeats": Resident(repeats=3),
    "workers": Workers(num_workers=1),
}


class Images:
    def __init__(self, info):
        self.info, self.prepared, self.read = info, 0, []

    def prepare(self):
        self.prepared += 1

    def split(self, name):
        self.read.append(name)
        count = {"train": 100, "val": 30, "test": 50}[name]
        generator = torch.Generator().manual_seed(count)
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return images, torch.arange(count) % 10


class Recorder(lightning.LightningModule):
    """Trains one number and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.val, self.test = [], [], []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, batch.index.tolist(), batch.image.sum().item()))
        return (self.weight - batch.image.mean()) ** 2

    def validation_step(self, batch, batch_idx):
        self.val += batch.index.tolist()

    def test_step(self, batch, batch_idx):
        self.test += batch.index.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def feed(info, loader=None):
    return ImageData(Images(info), Augment(), batch_size=20, eval_batch_size=16, seed=4, loader=loader)


@pytest.fixture
def data(tiny_info):
    return feed(tiny_info)


def trainer(folder, **settings):
    return lightning.Trainer(
        **(
            {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "num_sanity_val_steps": 0, "logger": False}
            | {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
            | {"default_root_dir": folder}
            | settings
        )
    )


def test_lightning_sets_the_epoch_and_sees_each_image(data, tmp_path):
    module = Recorder()
    run = trainer(tmp_path)
    run.fit(module, datamodule=data)
    epochs = [[index for epoch, _, index, _ in module.seen if epoch == wanted] for wanted in (0, 1)]
    loader = data.train_dataloader()
    for epoch, seen in enumerate(epochs):
        loader.sampler.set_epoch(epoch)
        assert seen == [batch.index.tolist() for batch in loader]
    assert epochs[0] != epochs[1]
    assert module.val == list(range(30)) * 2
    run.test(module, datamodule=data)
    assert module.test == list(range(50))
    assert data.source.prepared >= 1
    assert sorted(data.source.read) == ["test", "train", "val"]


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_resuming_in_the_middle_of_an_epoch_sees_the_rest(tiny_info, tmp_path, loader):
    whole, rest = Recorder(), Recorder()
    keep = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=7, save_top_k=-1, save_on_train_epoch_end=False
    )
    trainer(tmp_path, enable_checkpointing=True, callbacks=[keep]).fit(whole, datamodule=feed(tiny_info, loader))
    data = feed(tiny_info, loader)
    trainer(tmp_path).fit(rest, datamodule=data, ckpt_path=tmp_path / "step=7.ckpt", weights_only=True)
    assert rest.seen == whole.seen[7:]
    assert rest.weight.item() == whole.weight.item()


class Witness(Recorder):
    """Writes down, process by process, the positions and the bytes of what it trains on and the positions it tests."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def training_step(self, batch, batch_idx):
        images = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch.image]
        self.seen.append(list(zip(batch.index.tolist(), images, batch.target.tolist(), strict=True)))
        return (self.weight - batch.image.mean()) ** 2

    def on_train_end(self):
        torch.save((self.seen, self.val), self.folder / f"{self.trainer.world_size}-{self.global_rank}.pt")


@pytest.mark.parametrize("loader", [LOADERS["repeats"], LOADERS["workers"]], ids=["resident", "workers"])
def test_one_and_two_processes_train_on_the_same_images(tiny_info, tmp_path, loader):
    settings = {"use_distributed_sampler": False, "max_epochs": 2}
    trainer(tmp_path, **settings).fit(Witness(tmp_path), datamodule=feed(tiny_info, loader))
    two = trainer(tmp_path, devices=2, strategy="ddp_fork", **settings)
    two.fit(Witness(tmp_path), datamodule=feed(tiny_info, loader))
    (seen, val), *ranks = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert len(seen) == 10
    assert [first + second for first, second in zip(ranks[0][0], ranks[1][0], strict=True)] == seen
    assert val == list(range(30)) * 2
    assert sorted(ranks[0][1] + ranks[1][1]) == sorted(val)


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())
def test_all_loaders_feed_the_same_splits(tiny_info, data, loader):
    other = feed(tiny_info, loader)
    assert [other.count(split) for split in ("train", "val", "test")] == [100, 30, 50]
    for ours, theirs in zip(other.test_dataloader(), data.test_dataloader(), strict=True):
        assert torch.equal(ours.image, theirs.image)
        assert torch.equal(ours.target, theirs.target)
    first = next(other.batches("val", limit=7))
    assert torch.equal(first.image, to_float(data.source.split("val")[0][:7]))


def test_batches_are_plain_images_in_order(data):
    images, labels = data.source.split("test")
    batches = list(data.batches("test", limit=40))
    assert [len(batch.index) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat([batch.image for batch in batches]), to_float(images[:40]))
    assert torch.equal(torch.cat([batch.target for batch in batches]), labels[:40])
    assert len(next(data.batches("train", batch_size=64)).index) == 64


def test_a_batch_on_its_device_is_handed_through(data):
    batch = next(data.batches("val"))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch


def test_the_split_is_fixed_and_whole():
    train, val = split_train(1_000, 100, seed=0)
    assert sorted([*train, *val]) == list(range(1_000))
    assert len(val) == 100
    small, same = split_train(1_000, 100, seed=0, limit=50)
    assert np.array_equal(small, train[:50])
    assert np.array_equal(same, val)
    assert not np.array_equal(split_train(1_000, 100, seed=1)[1], val)
    assert not np.array_equal(np.sort(train), train)


@pytest.mark.parametrize(("val", "limit", "message"), [(1_000, None, "data.val=1000"), (100, 0, "data.limit=0")])
def test_an_impossible_split_is_refused(val, limit, message):
    with pytest.raises(ValueError, match=message):
        split_train(1_000, val, 0, limit)


INFO = DataInfo(3, 32, 2, ("a", "b"), 9, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    "change",
    [
        {"size": "32"}, {"size": True}, {"classes": -1}, {"train": 1.5}, {"names": "ab"}, {"names": ["a"]},
        {"names": [1, 2]}, {"mean": None}, {"mean": ["x"]}, {"std": 0.5}, {"more": 1},
    ],
)  # fmt: skip
def test_a_description_of_a_stranger_is_refused_by_a_value_error(change):
    assert DataInfo.from_dict(INFO.to_dict()) == INFO
    with pytest.raises(ValueError, match=r"^data"):
        DataInfo.from_dict(INFO.to_dict() | change)
    with pytest.raises(ValueError, match="must hold"):
        DataInfo.from_dict(
            {key: value for key, value in INFO.to_dict().items() if key != next(iter(change))} | {"x": 0}
        )
