"""The training step: same seed same result, resume, two processes as one, and a teacher that is not there."""

import copy
import pickle
from pathlib import Path

import lightning as L
import pytest
import torch
from config_base import composed
from processes import found_by
from safetensors.torch import save_file
from training import StopAfter, quiet_trainer

from kdbias.batch import Batch
from kdbias.callbacks.averaging import EMA
from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.checkpoint import load_student
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill
from kdbias.modules.loggers import csv
from kdbias.modules.schedules import warmup_cosine_factor
from kdbias.report.curves import read_metrics
from kdbias.train import train

STUDENT = {"_target_": "kdbias.models.deit.vit", "width": 32, "depth": 2, "heads": 2, "patch": 8, "distilled": True}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn"}


def make_data(seed: int = 0, batch_size: int = 16, **augment) -> ImageData:
    source = cues(train=96, val=32, test=32)
    return ImageData(source, Augment(**augment), batch_size=batch_size, eval_batch_size=32, seed=seed)


def make_spec(data: ImageData, seed: int = 0, drop_path: float = 0.1) -> dict:
    return {
        "name": "test",
        "model": {**STUDENT, "drop_path": drop_path},
        "loss": {
            "ce": {"_target_": "kdbias.losses.ce.CE", "weight": 0.5},
            "kl": {"_target_": "kdbias.losses.kl.KL", "weight": 0.5},
        },
        "optim": {
            "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 1e-3, "weight_decay": 0.05},
            "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.1, "final_lr": 1e-6},
            "clip": 1.0,
        },
        "teacher": {"name": "cnn"},
        "data": data.info.to_dict(),
        "seed": seed,
        "channels_last": True,
    }


def make_teacher(data: ImageData) -> Teacher:
    torch.manual_seed(5)
    return Teacher(build(CNN, data.info), "cnn")


def fit(folder: Path, epochs: int, stop: int | None = None, resume: Path | None = None, seed: int = 0) -> Distill:
    """Train ``epochs`` epochs; ``stop`` ends after so many of them, ``resume`` goes on from a checkpoint."""
    L.seed_everything(seed, workers=True, verbose=False)
    data = make_data(seed)
    module = Distill(make_spec(data, seed), make_teacher(data))
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        callbacks=[EMA(begin=0.3), *([StopAfter(stop, folder / "stop.ckpt")] if stop else [])],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module


def same_weights(one: Distill, two: Distill) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    one, two, other = fit(tmp_path, 1), fit(tmp_path, 1), fit(tmp_path, 1, seed=1)
    assert same_weights(one, two)
    assert not same_weights(one, other)


def test_resume_equals_an_uninterrupted_run_bit_for_bit(tmp_path):
    whole = fit(tmp_path, 3)
    fit(tmp_path, 3, stop=2)
    resumed = fit(tmp_path, 3, resume=tmp_path / "stop.ckpt")
    assert same_weights(whole, resumed)


def test_resume_with_other_epochs_is_refused(tmp_path):
    fit(tmp_path, 3, stop=2)
    data = make_data()
    module = Distill(make_spec(data), make_teacher(data))
    trainer = quiet_trainer(max_epochs=7)
    with pytest.raises(ValueError, match="planned for 12 steps and now has 28: epochs and batch_size"):
        trainer.fit(module, datamodule=data, ckpt_path=tmp_path / "stop.ckpt", weights_only=True)


def test_logged_learning_rate_is_that_of_its_step(tmp_path):
    data = make_data()
    module = Distill(make_spec(data), make_teacher(data))
    logger = csv(str(tmp_path))
    trainer = quiet_trainer(
        max_epochs=2, logger=logger,
        log_every_n_steps=3,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    metrics = read_metrics(tmp_path / "metrics.csv")
    logged = {int(step): lr for step, lr in zip(metrics["step"], metrics["lr"], strict=True) if lr == lr}
    assert sorted(logged) == [2, 5]
    for step, rate in logged.items():
        assert rate == pytest.approx(1e-3 * warmup_cosine_factor(step, 8, 0.1, 1e-3))


def test_first_weights_are_the_seeds_whatever_the_teacher(tmp_path):
    common = ["trainer=smoke", "data.train=200", "data.val=40", "data.test=40", "callback=[checkpoint]", "logger=[]"]
    small = [
        "model=vit",
        "model.width=16",
        "model.depth=1",
        "model.heads=2",
        "optim.optimizer.lr=1e-9",
        "optim.schedule.final_lr=0",
    ]
    source = cues(train=200, val=40, test=40)
    save_file(build(CNN, source.info).network.state_dict(), tmp_path / "teacher.safetensors")
    taught = ["loss=[ce,kl]", "teacher=small_cnn", f"teacher.weights={tmp_path}/teacher.safetensors"]
    for name, choices in {"alone": ["loss=[ce]"], "taught": taught}.items():
        train(composed([*common, *small, *choices, f"paths.run={tmp_path}/{name}"]))
    alone, with_teacher = (
        load_student(tmp_path / n / "checkpoints" / "last.ckpt").state_dict() for n in ("alone", "taught")
    )
    assert all(torch.allclose(alone[key], with_teacher[key], rtol=0, atol=1e-7) for key in alone)


def test_teacher_is_in_neither_checkpoint_optimiser_nor_module(tmp_path):
    module = fit(tmp_path, 2, stop=1)
    saved = torch.load(tmp_path / "stop.ckpt", weights_only=True)
    assert module.teacher is not None
    teacher = module.teacher.extractor.state_dict()
    assert all(name.startswith("student.") for name in saved["state_dict"])
    assert len(saved["state_dict"]) == len(module.student.state_dict())
    in_optimiser = sum(len(group["params"]) for group in saved["optimizer_states"][0]["param_groups"])
    assert in_optimiser == len(list(module.student.parameters()))
    ids = {id(p) for p in module.parameters()}
    assert not any(id(p) in ids for p in module.teacher.extractor.parameters())
    assert copy.deepcopy(module.teacher) is module.teacher
    assert teacher


def test_checkpoint_holds_plain_types_only(tmp_path):
    fit(tmp_path, 2, stop=1)
    saved = torch.load(tmp_path / "stop.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["spec"]["model"]["width"] == 32
    assert pickle.loads(pickle.dumps(saved["hyper_parameters"]))["spec"]["steps"] == 8


def test_a_loss_that_is_not_finite_ends_the_run_and_says_where(tmp_path):
    data = make_data()
    module = Distill(make_spec(data), make_teacher(data))
    with torch.no_grad():
        next(module.student.parameters()).fill_(float("nan"))
    trainer = quiet_trainer(max_epochs=1)
    with pytest.raises(FloatingPointError, match=r"step 0 \(ce nan, kl nan\): lower optim.optimizer.lr"):
        trainer.fit(module, datamodule=data)


def gradients(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Gradients of one step on this rank's part of the same global batch."""
    data = make_data(mixup=0.8, cutmix=1.0, mix_probability=1.0, erasing=0.25)
    torch.manual_seed(0)
    module = Distill(make_spec(data, drop_path=0.0), make_teacher(data))
    network: torch.nn.Module = module.student
    if world > 1:
        network = torch.nn.parallel.DistributedDataParallel(module.student)
    images, labels = data.source.split("train")
    from kdbias.data.resident import ResidentLoader

    loader = ResidentLoader(
        images, labels, info=data.info, batch_size=16, seed=0, augment=data.augment, shuffle=True, drop_last=True,
        rank=rank, world=world,
    )  # fmt: skip
    batch: Batch = next(iter(loader))
    assert module.teacher is not None
    total, _ = module.total(network(batch.image), module.teacher(batch.teacher_image), batch, 0.5)
    total.backward()
    return {name: p.grad.clone() for name, p in module.student.named_parameters()}


def test_two_processes_with_half_the_batch_give_the_gradients_of_one(tmp_path):
    one = gradients(0, 1)
    for parts in found_by(gradients, 2, tmp_path, "forkserver"):
        for name, gradient in one.items():
            torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert max(float(g.abs().max()) for g in one.values()) > 1e-3
