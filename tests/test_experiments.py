"""Every yaml in conf/experiment composes and runs two steps.

Four run as they are, the others with networks of the same shape and fewer channels (as many layers, the same grids and
tokens), and without the callbacks that they do not choose. That every experiment is right at its own width is for
tests/checks/test_check.py, and that every network can be built and called for tests/models/test_model_configs.py.
"""

import json
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from config_base import composed
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.torch import save_file
from waits import first_batch_noted

from kdbias.checks.check import check
from kdbias.config.build import build, target
from kdbias.config.spec import plain
from kdbias.models.checkpoint import architecture, load_student
from kdbias.train import build_data, train

CONF = Path(__file__).resolve().parent.parent / "conf"
SMALL = ["data.train=200", "data.val=40", "data.test=40"]
HOME = CONF / "experiment"
EXPERIMENTS = sorted(path.relative_to(HOME).with_suffix("").as_posix() for path in HOME.rglob("*.yaml"))
WHOLE = {"teacher_resnet18", "exp1_resnet_kl", "exp3_dino", "teacher_ssl_vit"}
"""At their own width, and with figures: a CNN teacher, logits of one, tokens and relations of a ViT, no labels."""

SIZES = {"dinov2": 112, "dinov3": 128, "dinov3_convnext": 128}  # small inputs of the teachers that are not trained here
VIT = {"_target_": "kdbias.models.deit.vit", "width": 24, "depth": 12, "heads": 3, "mlp_ratio": 2.0}
STAGES = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [8, 8, 16, 16]}
NARROW: dict[str, dict[str, Any]] = {
    "deit_tiny": VIT | {"distilled": True},
    "deit_tiny_hybrid": VIT | {"conv_stem": True},
    "vit_tiny": VIT,
    "vit": {"width": 24, "heads": 3, "mlp_ratio": 2.0},
    "resnet18": STAGES,
    "adaptive_cnn": STAGES,
    "convnextv2_tiny": STAGES,
    "vit_small_patch14_dinov2.lvd142m": VIT | {"patch": 14},
    "vit_small_patch16_dinov3.lvd1689m": VIT | {"patch": 16},
    "convnext_tiny.dinov3_lvd1689m": {"name": "test_convnext"},
}
"""What changes in a network of that builder, or of that name in timm."""


ON_A_CPU = {"base.py:require_finite: _local_scalar_dense", "negatives.py:_prepared: _unique2"}
"""What waits in every step on a CPU, where it costs nothing; on a GPU, only in a step that is logged."""


def narrow(model: DictConfig) -> None:
    """Take channels from a network; where its builder changes, keep the settings that the other one has too."""
    change = NARROW.get(model.get("name", model._target_.rpartition(".")[2]), {})
    if model.get("frozen") and "_target_" in change:  # only networks of timm can be frozen
        change = {"name": "test_vit.r160_in1k"}
    with open_dict(model):
        if "_target_" in change:
            known = signature(target(change)).parameters
            for key in set(model) - set(known) - {"_target_"}:
                del model[key]
        model.update(change)


def experiment_groups(experiment: str) -> set[str]:
    """The groups of which an experiment chooses an option."""
    defaults = OmegaConf.load(HOME / f"{experiment}.yaml").defaults
    return {key.removeprefix("override /") for entry in defaults for key in entry}


def offline(experiment: str, folder: Path) -> DictConfig:
    """Compose an experiment for the smoke trainer, its networks with random weights."""
    less = []
    if experiment not in WHOLE:
        less = ["logger=[csv]", *([] if "callback" in experiment_groups(experiment) else ["callback=[checkpoint]"])]
    cfg = composed([f"experiment={experiment}", "trainer=smoke", "trainer.log_every=50", *SMALL, *less])
    cfg.paths.run = str(folder / "run")
    if "pretrained" in cfg.model:
        cfg.model.pretrained = False
    if "pretrained" in cfg.teacher:
        cfg.teacher.pretrained, cfg.teacher.size = False, SIZES[cfg.teacher.name]
    if "head" in cfg.module:
        cfg.module.head.epochs = 1  # SSKD's stage before training
    if experiment not in WHOLE:
        for model in filter(None, (cfg.model, cfg.teacher.model)):
            narrow(model)
    comes_random = "pretrained" in cfg.teacher and "pretrained" in cfg.teacher.model
    if cfg.teacher.name is not None and cfg.teacher.weights is None and not comes_random:
        network = build(architecture(plain(cfg.teacher.model)), build_data(plain(cfg)).info).network
        cfg.teacher.weights = str(folder / "teacher.safetensors")
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, cfg.teacher.weights)
    return cfg


def test_there_are_experiments():
    assert {"baseline", "baseline_dist", "exp1_resnet_kl", "teacher_resnet18"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_runs_two_steps(experiment, tmp_path):
    cfg = offline(experiment, tmp_path)
    assert check(cfg) == []
    with first_batch_noted() as waits:  # the last step of an epoch is logged, so this one is not
        train(cfg)
    assert set(waits) - ON_A_CPU == set()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 2
    judged = "knn" if cfg.objective is None else cfg.objective.removeprefix("val/")
    assert 0 <= result["test"][judged] <= 1
    assert result["teacher"] == cfg.teacher.name
    student = load_student(tmp_path / "run" / "checkpoints" / "best.ckpt")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    if "method" not in experiment_groups(experiment):  # which has parts of its own
        assert all(key.startswith(("student.", "total.", "projector.")) for key in saved["state_dict"])
    assert not any(key.startswith("teacher.") for key in saved["state_dict"])
    info = build_data(plain(cfg)).info
    answer = student(torch.rand(2, info.channels, info.size, info.size))
    if cfg.model.get("classes", "data") is None:
        assert answer.logits is None
    else:
        assert answer.logits.shape == (2, info.classes)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_first_line_of_an_experiment_is_the_command_that_runs_it(experiment):
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# python train.py experiment={experiment}")
    assert f"name: {experiment.replace('/', '_')}" in lines  # the name of a folder
