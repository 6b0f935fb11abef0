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
from timm.models.vision_transformer import VisionTransformer

from kdbias.batch import DataInfo
from kdbias.build import build
from kdbias.features import Extractor
from kdbias.plan import describe_network
from kdbias.run import build_data
from kdbias.spec import plain

CONF = Path(__file__).resolve().parents[2] / "conf"
CONTROLS = sorted(path.stem for path in (CONF / "control").glob("*.yaml"))
LOOKS = [0, 2]  # in place of named layers
VIT = {"_target_": "kdbias.models.deit.vit", "width": 8, "depth": 3, "heads": 2, "patch": 16, "mlp_ratio": 1.0}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 4, 8]}
HEADLESS = {
    "vit": {"_target_": "kdbias.models.deit.headless"},
    "cnn": {"_target_": "kdbias.models.timm_network.timm_network", "name": "convnextv2_atto", "classes": None},
}
SMALL = ["trainer=smoke", "data.train=120", "data.val=40", "data.test=20", "batch_size=40", "callback=[]", "logger=[]"]


def headless(data, *, layers="all") -> Extractor:
    """A vision transformer without classifier, in place of a self-supervised one."""
    network = VisionTransformer(img_size=32, patch_size=16, embed_dim=8, depth=3, num_heads=2, num_classes=0)
    return Extractor(network, mean=data.mean, std=data.std, size=32, layers=layers)


def distils(experiment: str) -> bool:
    """Whether an experiment names a teacher."""
    defaults = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").defaults
    return any(str(entry.get("override /teacher", "none")) != "none" for entry in defaults)


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DISTILLING = [name for name in EXPERIMENTS if distils(name)]


@cache
def _experiment(name: str) -> DictConfig:
    """The experiment with networks of the same kinds."""
    cfg = composed([f"experiment={name}", *SMALL])
    info = build_data(cfg).info
    with open_dict(cfg):
        cfg.model = _small(plain(cfg.model), info)
        if cfg.teacher.name is not None:
            cfg.teacher.model = _small(plain(cfg.teacher.model), info)
            cfg.teacher.layers = cfg.teacher.model.layers
    return cfg


@cache
def control_node(name: str) -> dict[str, Any]:
    """The settings of a control."""
    value = ["control.accuracy=.5"] if name == "accuracy_matched" else []
    return plain(composed([f"control={name}", *value]).control)


def small_run(experiment: str, control: str, folder: Path) -> DictConfig:
    """The experiment under the control, with small networks whose weights are there."""
    cfg = copy.deepcopy(_experiment(experiment))
    info = build_data(cfg).info
    with open_dict(cfg):
        cfg.paths.run = str(folder / "run")
        cfg.control = control_node(control)
        if cfg.teacher.name is not None:
            cfg.teacher.weights = history(plain(cfg.teacher.model), info, folder / "teacher")
        if control == "self":
            cfg.control.weights = saved(plain(cfg.model), info, folder)
        if control == "same_family":
            cfg.control.weights = saved(VIT if is_vit(cfg.model) else CNN, info, folder)
    return cfg


def is_vit(model: DictConfig) -> bool:
    """Whether a small network is a vision transformer."""
    return model._target_ in (VIT["_target_"], HEADLESS["vit"]["_target_"])


def kind(cfg: DictConfig) -> str:
    """What a control goes by: runs of one kind differ in names, recipes and the settings of their terms alone."""
    module = cfg.module._target_ if cfg.get("module") else None
    seen = [plain(cfg.model), plain(cfg.teacher.model), sorted(cfg.loss), cfg.augment.mix_probability, cfg.augment.view]
    return json.dumps([*seen, module, cfg.control._target_])


def _small(spec: dict[str, Any], info: DataInfo) -> dict[str, Any]:
    found = describe_network(spec, info).info
    layers = {"layers": "all" if spec.get("layers", "all") == "all" else LOOKS}
    if found.classes is None:
        return HEADLESS[found.family] | layers
    return (VIT | {"distilled": found.has_dist} if found.family == "vit" else CNN) | layers


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
