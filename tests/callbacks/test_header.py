"""What a run says before its first step; the teacher's accuracy is measured once, bounded, and ends nothing."""

import doctest

import pytest
import torch
from training import Noise, quiet_trainer

from kdbias.batch import DataInfo
from kdbias.callbacks import header, teacher_accuracy
from kdbias.callbacks.header import Header, chance_warning, experiment, images_text, teacher_text
from kdbias.callbacks.teacher_accuracy import known_or_measured, measured
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.modules.supervised import Supervised
from kdbias.probes.base import Result, refused

CPU = torch.device("cpu")
NODE = {"_target_": "kdbias.data.noise.noise", "root": "here"}


def parts(info, told=False, classes=None):
    data = ImageData(Noise(info, told), Augment(), batch_size=8, eval_batch_size=8)
    made = DataInfo(**{**info.__dict__, "classes": classes or info.classes})
    return data, Teacher(small_cnn(made, widths=(4, 8)), "small")


def right(teacher, data, images):
    return torch.cat([
        teacher(b.image).logits.argmax(1) == b.target for b in data.batches("val", limit=images)
    ]).double().mean()  # fmt: skip


def test_it_is_the_accuracy_on_the_first_validation_images(tiny_info):
    data, teacher = parts(tiny_info)
    found = measured(teacher, data, CPU, 20)
    assert found.meta == {"n": 20, "classes": 10}
    assert found.scalars["accuracy"] == float(right(teacher, data, 20))


def test_a_slow_teacher_is_measured_on_what_its_time_allows(tiny_info, monkeypatch):
    data, teacher = parts(tiny_info)
    monkeypatch.setattr(teacher_accuracy, "BATCH", 8)
    ticks = iter(range(0, 1000, 10))  # ten seconds a batch
    found = measured(teacher, data, CPU, 32, clock=lambda: next(ticks))
    assert found.meta["n"] == 16


def test_it_is_measured_once_and_known_by_its_weights(tiny_info, tmp_path, monkeypatch):
    data, teacher = parts(tiny_info)
    first = known_or_measured(teacher, data, CPU, NODE, 20, tmp_path)
    monkeypatch.setattr(teacher_accuracy, "measured", lambda *_: pytest.fail("it is known"))
    again = known_or_measured(teacher, data, CPU, NODE | {"root": "there"}, 20, tmp_path)
    assert again.scalars == first.scalars
    with torch.no_grad():
        next(teacher.extractor.parameters()).add_(1)
    monkeypatch.setattr(teacher_accuracy, "measured", lambda *_: Result("x", {"accuracy": 2.0}, {}, {"n": 1}))
    assert known_or_measured(teacher, data, CPU, NODE, 20, tmp_path).scalars == {"accuracy": 2.0}


def test_the_random_numbers_of_the_training_and_the_modes_of_the_teacher_stay(tiny_info):
    data, teacher = parts(tiny_info)
    before = torch.get_rng_state()
    known_or_measured(teacher, data, CPU, NODE, 20, None)
    assert torch.equal(torch.get_rng_state(), before)
    assert not teacher.extractor.training


@pytest.mark.parametrize("fault", ["classes", "error", "none"])
def test_what_cannot_be_measured_has_a_reason_and_ends_nothing(tiny_info, monkeypatch, fault):
    data, teacher = parts(tiny_info, classes=7 if fault == "classes" else None)
    if fault == "error":
        monkeypatch.setattr(data, "batches", lambda *_, **__: (_ for _ in ()).throw(ValueError("no images today")))
    if fault == "none":
        monkeypatch.setattr(data, "batches", lambda *_, **__: iter(()))
    reason = {"classes": "classifies 7 classes", "error": "no images today", "none": "no validation images"}[fault]
    found = known_or_measured(teacher, data, CPU, NODE, 20, None)
    assert reason in found.refused
    assert f"accuracy refused: {found.refused}" in teacher_text(teacher, found)
    assert chance_warning(teacher, found, True) == ""


@pytest.mark.parametrize(("accuracy", "warned"), [(0.1, True), (0.18, True), (0.3, False)])
def test_a_teacher_near_chance_is_said_with_the_remedy(tiny_info, accuracy, warned):
    _, teacher = parts(tiny_info)
    found = Result("teacher_accuracy", {"accuracy": accuracy}, {}, {"n": 100, "classes": 10})
    text = chance_warning(teacher, found, given=True)
    assert bool(text) == warned
    if warned:
        assert f"({100 * accuracy:.1f} %, chance is 10.0 %)" in text
        assert "leave teacher.weights out" in text
        assert "teacher.epochs" in chance_warning(teacher, found, given=False)


def test_the_experiment_is_the_one_that_was_typed():
    tree = {"name": "kl", "seed": 3, "chosen": {"overrides": ["seed=3", "experiment=cnn_to_vit/lm"]}}
    assert experiment(tree) == "cnn_to_vit/lm, called kl, seed 3"
    assert experiment({"name": "lm", "seed": 0, "chosen": tree["chosen"]}) == "cnn_to_vit/lm, seed 0"
    assert experiment({"name": "train", "seed": 0}) == "train, seed 0"


@pytest.mark.parametrize("taught", [True, False])
def test_a_run_says_what_it_is_before_its_first_step(tiny_info, tmp_path, capsys, taught):
    info = DataInfo(**{**tiny_info.__dict__, "train": 32})
    data, teacher = parts(info)
    spec = {
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
        "data": info.to_dict(),
        "seed": 0,
        "optim": {"optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 0.001, "weight_decay": 0.0}},
    }
    module = Supervised(spec)
    module.teacher = teacher if taught else None
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)
    module.training_step = lambda batch, batch_idx: module.student(batch.image).logits.sum()
    module.validation_step = lambda batch, batch_idx: None
    module.on_train_epoch_end = lambda: None
    tree = {
        "name": "mine",
        "seed": 0,
        "batch_size": 8,
        "model": spec["model"],
        "teacher": {"weights": "x.pth"},
        "data": NODE,
        "trainer": {"limit_val_batches": 2},
        "paths": {"runs": str(tmp_path)},
    }
    quiet_trainer(max_epochs=2, default_root_dir=tmp_path, callbacks=[Header(tree)], num_sanity_val_steps=0).fit(
        module, datamodule=data
    )
    said = dict(row.split(maxsplit=1) for row in capsys.readouterr().out.splitlines())
    assert said["experiment"] == "mine, seed 0"
    assert said["student"] == f"small_cnn, {sum(p.numel() for p in module.student.parameters()):,} parameters"
    size = sum(p.numel() for p in teacher.extractor.parameters())
    share = f"{100 * float(right(teacher, data, 16)):.1f} % right of 16 validation images"
    assert said["teacher"] == (f"small, {size:,} parameters; {share}" if taught else "none")
    assert said["images"] == "noise, 10 classes, 32 px; 32 to train on, 32 to validate by"
    assert said["device"] == "cpu, 32-true"
    assert said["training"] == "2 epochs, 8 steps of 8 images"
    assert said["folder"] == str(tmp_path)


def test_images_without_a_validation_split_that_can_be_read_are_described(tiny_info):
    data, _ = parts(tiny_info)
    assert images_text("mnist", data, None) == "mnist, 10 classes, 32 px; 100 to train on"
    assert refused("a", "b").refused == "b"


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(header).failed == 0
    assert doctest.testmod(teacher_accuracy).failed == 0
