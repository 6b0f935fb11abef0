import lightning
import numpy as np
import pytest
import torch

from kdbias.data.augment import Augment, to_float
from kdbias.data.base import PictureData, split_train


class Pictures:
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


@pytest.fixture
def data(tiny_info):
    return PictureData(Pictures(tiny_info), Augment(), batch_size=20, eval_batch_size=16, seed=4)


def trainer(folder, **settings):
    return lightning.Trainer(
        **(
            {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "num_sanity_val_steps": 0, "logger": False}
            | {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
            | {"default_root_dir": folder}
            | settings
        )
    )


def test_lightning_sets_the_epoch_and_sees_each_picture(data, tmp_path):
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


def test_resuming_in_the_middle_of_an_epoch_sees_the_rest(data, tmp_path):
    whole, rest = Recorder(), Recorder()
    keep = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=7, save_top_k=-1, save_on_train_epoch_end=False
    )
    trainer(tmp_path, enable_checkpointing=True, callbacks=[keep]).fit(whole, datamodule=data)
    trainer(tmp_path).fit(rest, datamodule=data, ckpt_path=tmp_path / "step=7.ckpt", weights_only=True)
    assert rest.seen == whole.seen[7:]
    assert rest.weight.item() == whole.weight.item()


def test_batches_are_plain_pictures_in_order(data):
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
