"""Every yaml in conf/experiment composes, checks and runs two steps."""

import json
from pathlib import Path

import pytest
import torch
from config_base import composed
from omegaconf import DictConfig
from safetensors.torch import save_file

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.spec import plain
from kdbias.models.checkpoint import architecture, load_student
from kdbias.train import build_data, train

CONF = Path(__file__).resolve().parent.parent / "conf"
SMALL = ["data.train=200", "data.val=40", "data.test=40"]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


SIZES = {"dinov2": 112, "dinov3": 128, "dinov3_convnext": 128}  # small inputs of the teachers that are not trained here


def offline(experiment: str, folder: Path) -> DictConfig:
    """Compose an experiment for the smoke trainer, its networks with random weights."""
    cfg = composed([f"experiment={experiment}", "trainer=smoke", *SMALL, f"paths.run={folder}/run"])
    if "pretrained" in cfg.model:
        cfg.model.pretrained = False
    if "pretrained" in cfg.teacher:
        cfg.teacher.pretrained, cfg.teacher.size = False, SIZES[cfg.teacher.name]
    elif cfg.teacher.name is not None and cfg.teacher.weights is None:
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
    train(cfg)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 2
    judged = "knn" if cfg.objective is None else cfg.objective.removeprefix("val/")
    assert 0 <= result["test"][judged] <= 1
    assert result["teacher"] == cfg.teacher.name
    student = load_student(tmp_path / "run" / "checkpoints" / "best.ckpt")
    saved = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(key.startswith(("student.", "total.", "projector.")) for key in saved["state_dict"])
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
    assert f"name: {experiment}" in lines
