"""A small right config that tests of its check change, and builders as they will come."""

import functools
import operator
import pickle
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from timm.models.vision_transformer import VisionTransformer

from kdbias import cli
from kdbias.checks.check import check
from kdbias.losses.base import LossTerm
from kdbias.models.features import Extractor

Mistake = tuple[dict[str, Any], str, tuple[str, ...]]
"""Changes to the config, the full key that is named, what the message says."""

BASE = {
    "data": {"_target_": "kdbias.data.cues.cues", "train": 600, "val": 100},
    "augment": {"_target_": "kdbias.data.augment.Augment"},
    "model": {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "distilled": True},
    "teacher": {
        "name": "small",
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
        "layers": "all",
        "weights": None,
        "recipe": "teacher_small_cnn",
        "epochs": None,
    },
    "loss": {
        "alpha": 0.5,
        "ce": {"_target_": "kdbias.losses.ce.CE", "weight": "${complement:${loss.alpha}}", "dist": False},
        "kl": {"_target_": "kdbias.losses.kl.KL", "weight": "${loss.alpha}", "temperature": 4.0},
    },
    "optim": {
        "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 1e-3, "weight_decay": 0.05},
        "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.05},
        "clip": 1.0,
    },
    "trainer": {"_target_": "kdbias.modules.trainer.trainer", "accelerator": "cpu", "devices": 1, "num_nodes": 1},
    "epochs": 2,
    "batch_size": 50,
    "eval_batch_size": 50,
    "paths": {"run": None},
}


class Needy(LossTerm):
    """A term that needs what its subclass says, and reads nothing."""


class Dense(Needy):
    needs: ClassVar[frozenset[str]] = frozenset({"dense"})


class Attention(Needy):
    needs: ClassVar[frozenset[str]] = frozenset({"qkv"})


class OwnAttention(Needy):
    student_needs: ClassVar[frozenset[str]] = frozenset({"qkv"})


def headless(
    data, *, size: int = 28, patch: int = 14, dynamic: bool = False, patch_drop_rate: float = 0.0, layers="all"
) -> Extractor:
    """A vision transformer without classifier, as DINOv2 is."""
    network = VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=16, depth=2, num_heads=2, num_classes=0, dynamic_img_size=dynamic
    )
    return Extractor(network, mean=data.mean, std=data.std, size=size, resize=True, layers=layers)


def other_classes(data, *, layers="all") -> Extractor:
    """A classifier of 7 classes whatever the data."""
    network = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=7)
    return Extractor(network, mean=data.mean, std=data.std, size=32, layers=layers)


def composed(overrides: Sequence[str], program: str = "train") -> DictConfig:
    """Compose the real config, as the command line would: once for the same overrides, and a copy for every caller."""
    return pickle.loads(_composed(program, tuple(overrides)))  # a fifth of the time of a deep copy


@functools.cache
def _composed(program: str, overrides: tuple[str, ...]) -> bytes:
    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return pickle.dumps(compose(program, list(overrides)))


@functools.cache
def _base() -> bytes:
    return pickle.dumps(OmegaConf.create(BASE))


def config(changes: dict[str, Any] | None = None, drop: str = "") -> DictConfig:
    """Give the base config with some keys set (a mapping replaces what was there), and without one key."""
    cfg = pickle.loads(_base())
    if drop:
        *parents, last = drop.split(".")
        del functools.reduce(operator.getitem, parents, cfg)[last]
    for key, value in (changes or {}).items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    return cfg


def assert_named_once(changes: dict[str, Any], key: str, parts: tuple[str, ...]) -> None:
    """The changed config has one problem, which begins with ``key`` and says all ``parts``."""
    problems = check(config(changes))
    assert len(problems) == 1
    assert re.match(rf"{re.escape(key)}\b", problems[0])
    for part in parts:
        assert part in problems[0]
