"""Runs of the committed experiments with networks so small that every control can be tried on each."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from config_base import composed
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.torch import save_file

from kdbias.batch import DataInfo
from kdbias.checks.plan import describe_network
from kdbias.config.build import build, selected
from kdbias.config.spec import plain
from kdbias.models.features import NetworkInfo
from kdbias.train import build_data

CONF = Path(__file__).resolve().parents[2] / "conf"
CONTROLS = sorted(path.stem for path in (CONF / "control").glob("*.yaml"))
LOOKS = [0, 2]  # in place of named layers
VIT = {"_target_": "kdbias.models.deit.vit", "width": 8, "depth": 3, "heads": 2, "patch": 16, "mlp_ratio": 1.0}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 4, 8]}
SMALL = ["trainer=smoke", "data.train=120", "data.val=40", "data.test=20", "batch_size=40", "logger=[]"]


def group(experiment: str, name: str) -> str:
    """What an experiment chooses of a group; empty where it chooses nothing."""
    defaults = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").defaults
    return next((str(entry[f"override /{name}"]) for entry in defaults if f"override /{name}" in entry), "")


HOME = CONF / "experiment"
EXPERIMENTS = sorted(path.relative_to(HOME).with_suffix("").as_posix() for path in HOME.rglob("*.yaml"))
DISTILLING = [  # by loss terms; a method with a step of its own has tests of its own
    name for name in EXPERIMENTS if group(name, "teacher") not in ("", "none") and group(name, "method") in ("", "none")
]


@cache
def _experiment(name: str) -> DictConfig:
    """The experiment with networks of the same kinds."""
    judge = "knn" if "knn" in group(name, "callback") else ""
    cfg = composed([f"experiment={name}", *SMALL, f"callback=[{judge}]"])
    with open_dict(cfg):
        layers = "all" if cfg.model.layers == "all" else LOOKS
        cfg.model = _small(plain(cfg.model), build_data(plain(cfg)).info) | {"layers": layers}
        if cfg.teacher.name is not None:
            cfg.teacher.model = _small(plain(cfg.teacher.model), build_data(plain(cfg)).info)
            cfg.teacher.layers = "all"
    return cfg


@cache
def control_node(name: str) -> dict[str, Any]:
    """The settings of a control."""
    value = ["control.accuracy=.5"] if name == "accuracy_matched" else []
    return plain(composed([f"control={name}", *value]).control)


def small_run(experiment: str, control: str) -> DictConfig:
    """The experiment under the control, with small networks; their weights are not there yet."""
    cfg = copy.deepcopy(_experiment(experiment))
    with open_dict(cfg):
        cfg.control = control_node(control)
    return cfg


def with_weights(cfg: DictConfig, folder: Path) -> DictConfig:
    """The run with a folder of its own, and with weights of the networks that would be trained first."""
    info = build_data(plain(cfg)).info
    control = cfg.control._target_.split(".")[2]
    with open_dict(cfg):
        cfg.paths.run = str(folder / "run")
        cfg.teacher.weights = history(plain(cfg.teacher.model), info, folder / "teacher")
        if control == "self":
            cfg.control.weights = saved(plain(cfg.model), info, folder)
        if control == "same_family":
            cfg.control.weights = saved(VIT if is_vit(cfg.model) else CNN, info, folder)
            cfg.teacher.pop("data", None)  # images of the teacher's own, on which given weights were not trained
    return cfg


def is_vit(model: DictConfig) -> bool:
    """Whether a small network is a vision transformer."""
    return model._target_ == VIT["_target_"]


def kind(cfg: DictConfig) -> str:
    """What a control goes by: runs of one kind have the same networks, needs, labels and mixing under one control."""
    terms = dict(selected(plain(cfg.loss)))
    needs = sorted(set().union(*(build(spec).needs for spec in terms.values())))
    seen = [plain(cfg.model), plain(cfg.teacher.model), needs, "ce" in terms, cfg.augment.mix_probability]
    return json.dumps([*seen, cfg.augment.view, cfg.objective, cfg.module._target_, cfg.control._target_])


@cache
def _described(spec: str, info: DataInfo) -> NetworkInfo:
    return describe_network(json.loads(spec), info).info


def _small(spec: dict[str, Any], info: DataInfo) -> dict[str, Any]:
    found = _described(json.dumps(spec), info)
    same = VIT | {"distilled": found.has_dist} if found.family == "vit" else CNN
    return same | {"layers": "all", "classes": "data" if found.classes else None}


def saved(spec: dict[str, Any], info: DataInfo, folder: Path) -> str:
    """A file with fresh weights."""
    network = build(spec, info).network
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return str(path)


def history(spec: dict[str, Any], info: DataInfo, folder: Path) -> str:
    """Checkpoints of a training with fresh weights; the path of the best."""
    folder.mkdir(exist_ok=True)
    state = {f"student.{key}": value for key, value in build(spec, info).state_dict().items()}
    content = {"hyper_parameters": {"spec": {"model": spec, "data": info.to_dict()}}, "state_dict": state}
    for name in ("epoch_0001_0.3100", "epoch_0002_0.4900", "epoch_0003_0.6000", "best"):
        torch.save(content, folder / f"{name}.ckpt")
    return str(folder / "best.ckpt")
