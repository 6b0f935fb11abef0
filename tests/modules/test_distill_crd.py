"""CRD in a run: it is told the labels of its own images, whatever the loader, and goes on from a checkpoint."""

from pathlib import Path

import lightning as L
import pytest
import torch
from processes import alone
from test_distill import CNN, STUDENT, StopAfter, make_data, make_spec, same_weights
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from training import quiet_trainer

from kdbias.callbacks.averaging import EMA
from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill

CRD = {"_target_": "kdbias.losses.crd.CRD", "negatives": 20, "dim": 8, "positive": "relax"}
NETWORKS = {"vit": {**STUDENT, "distilled": False, "drop_path": 0.1}, "cnn": {**CNN, "widths": [4, 8, 16]}}


def make_module(student: str = "vit", teacher: str = "cnn") -> Distill:
    data = make_data()
    spec = {**make_spec(data), "model": NETWORKS[student]}
    spec["loss"] = {"ce": {"_target_": "kdbias.losses.ce.CE"}, "crd": CRD}
    torch.manual_seed(5)
    taught = Teacher(build(NETWORKS[teacher], data.info), "taught")
    torch.manual_seed(0)
    return Distill(spec, taught)


def fit(folder: Path, *callbacks: L.Callback, resume: Path | None = None, **settings) -> Distill:
    module = make_module()
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=3,
        callbacks=[EMA(begin=0.3), *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(module, datamodule=make_data(mix_probability=0.0), ckpt_path=resume, weights_only=True)
    return module


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    """With banks, Z and the draws of each step."""
    path = tmp_path / "stop.ckpt"
    whole = fit(tmp_path)
    fit(tmp_path, StopAfter(2, path))
    assert same_weights(whole, fit(tmp_path, resume=path))
    saved = {key for key in torch.load(path, weights_only=True)["state_dict"] if key.startswith("total.terms.crd.")}
    parts = {f"embed_{side}.{part}" for side in ("student", "teacher") for part in ("weight", "bias")}
    assert saved == {f"total.terms.crd.{part}" for part in (*parts, "bank_student", "bank_teacher", "z")}


def test_ddp_sends_no_banks_at_every_step(tmp_path):
    """They are the same in all processes; statistics of BatchNorm are not."""
    module = make_module("cnn")
    module.setup("fit")
    with alone(tmp_path):
        sent = {id(buffer) for buffer in DistributedDataParallel(module).modules_buffers}
    of_student = [buffer for name, buffer in module.student.named_buffers() if "running" in name]
    assert of_student
    assert all(id(buffer) in sent for buffer in of_student)
    assert not [name for name, buffer in module.total.named_buffers() if id(buffer) in sent]


class Labels(L.Callback):
    """Hold every batch's labels against those that the term knows."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        known = pl_module.total.terms["crd"]._images.classes
        assert torch.equal(known[batch.index], batch.target)
        self.seen += batch.index.tolist()


@pytest.mark.parametrize("loader", [Resident(), Resident(repeats=2), Workers(num_workers=0)], ids=repr)
@pytest.mark.parametrize(("student", "teacher"), [("vit", "cnn"), ("cnn", "vit")])
def test_it_knows_the_labels_of_the_training_split(loader, student, teacher, tmp_path):
    source = cues(train=96, val=32, test=32)
    data = ImageData(source, Augment(mix_probability=0.0), batch_size=16, eval_batch_size=32, loader=loader)
    labels, module = Labels(), make_module(student, teacher)
    before = {name: value.clone() for name, value in module.total.named_parameters()}
    quiet_trainer(default_root_dir=tmp_path, max_epochs=1, callbacks=[labels]).fit(module, datamodule=data)
    assert len(labels.seen) == 64
    assert all(not torch.equal(value, before[name]) for name, value in module.total.named_parameters())


def test_batches_of_another_loader_are_refused_by_name(tmp_path):
    module, batches = make_module(), list(make_data().batches("train", batch_size=16))
    loader = DataLoader(batches, batch_size=None)
    with pytest.raises(ValueError, match=r"loss\.crd does not know the classes of the training images"):
        quiet_trainer(default_root_dir=tmp_path, max_epochs=1).fit(module, loader)
    module.total.take_classes(torch.cat([batch.target for batch in batches]))
    quiet_trainer(default_root_dir=tmp_path, max_epochs=1).fit(module, loader)
    assert module.total.terms["crd"].z.min() > 0
