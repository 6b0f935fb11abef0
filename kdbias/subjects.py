"""What ``analyze.py`` looks at: networks by run folder, checkpoint or name, each with its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from kdbias.batch import Batch
from kdbias.build import build
from kdbias.checkpoint import load_student
from kdbias.config import ConfigError
from kdbias.data.augment import Augment
from kdbias.data.base import PictureData
from kdbias.features import Extractor
from kdbias.spec import plain
from kdbias.teachers import teacher_from_weights

# Data settings that do not change picture i of a split: where files lie, and how many pictures there are; of the test
# split also what only decides the others. A setting that is not known here counts as one that changes the pictures.
_ANYWHERE = {"root", "download", "test"}
_TRAINING = {"train", "val", "limit", "split_seed", "shape_reliability", "texture_reliability"}


@dataclass(frozen=True)
class Subject:
    """One network to look at, the data that it is looked at with, and the name that tables give it.

    ``source`` is the config node of the data; ``control`` marks the one that the others are drawn against.
    """

    name: str
    network: Extractor
    data: PictureData
    source: dict[str, Any]
    control: bool = False

    def batches(self, cfg: DictConfig) -> Iterator[Batch]:
        """Give the pictures that ``split`` and ``pictures`` of the config name."""
        return self.data.batches(cfg.split, device=device_of(self.network), limit=cfg.pictures)


def subjects(cfg: DictConfig) -> list[Subject]:
    """Give the networks that ``runs``, ``teacher`` and, last, ``control_run`` name.

    Raises:
        ConfigError: none is named, two have one name, or the data of one is not known.
    """
    device = "cuda" if cfg.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    found = [run_subject(cfg, "runs", Path(str(path)), device) for path in cfg.runs]
    if cfg.teacher.get("name") is not None:
        found.append(named_subject(cfg, device))
    if cfg.control_run is not None:
        found.append(replace(run_subject(cfg, "control_run", Path(str(cfg.control_run)), device), control=True))
    twice = [name for name, count in Counter(safe(subject.name) for subject in found).items() if count > 1]
    if twice:
        raise ConfigError(f"two networks would be saved as {twice[0]}: name each run once, in folders of unlike names")
    if not found:
        raise ConfigError("nothing to look at: give runs=[RUN_DIR,...], or teacher=NAME teacher.weights=PATH data=...")
    return found


def run_subject(cfg: DictConfig, key: str, path: Path, device: str) -> Subject:
    """Load a run folder (its best checkpoint) or a checkpoint file, with the data that it was trained on."""
    path = path.absolute()
    checkpoint = path if path.is_file() else path / "checkpoints" / "best.ckpt"
    folder = checkpoint.parent.parent
    if not checkpoint.is_file():
        raise ConfigError(f"{key}: {checkpoint} is not there; name a run folder or a checkpoint file")
    node = cfg.get("data")
    if node is None:
        saved = folder / "config.yaml"
        if not saved.is_file():
            raise ConfigError(f"{key}: no config.yaml in {folder} tells the data of {checkpoint.name}; add data=NAME")
        node = OmegaConf.load(saved).data
    name = f"{folder.parent.name}/{folder.name}"  # single runs are named by the time alone
    if path.is_file():
        name += f"/{checkpoint.stem}"
    return Subject(name, load_student(checkpoint).to(device), picture_data(cfg, node), plain(node))


def named_subject(cfg: DictConfig, device: str) -> Subject:
    """Load a network by the name of a teacher config with a weights file."""
    if cfg.get("data") is None:
        raise ConfigError(f"teacher={cfg.teacher.name} needs data=NAME: the pictures to evaluate it on")
    if cfg.teacher.weights is None:
        raise ConfigError(f"teacher={cfg.teacher.name} needs teacher.weights=PATH: a checkpoint or safetensors file")
    data = picture_data(cfg, cfg.data)
    teacher = teacher_from_weights(plain(cfg.teacher.model), data.info, cfg.teacher.weights, cfg.teacher.name)
    return Subject(cfg.teacher.name, teacher.extractor.to(device), data, plain(cfg.data))


def picture_data(cfg: DictConfig, node: Any) -> PictureData:
    """Build the data of a config node, without augmentation, downloaded where it is missing."""
    size = cfg.eval_batch_size
    data = PictureData(build(plain(node)), Augment(), batch_size=size, eval_batch_size=size, seed=cfg.seed)
    data.prepare_data()
    return data


def same_pictures(a: Mapping[str, Any], b: Mapping[str, Any], split: str) -> bool:
    """Tell whether picture i of ``split`` is the same in the data of two config nodes."""
    neutral = _ANYWHERE | _TRAINING if split == "test" else _ANYWHERE
    first, second = ({key: value for key, value in node.items() if key not in neutral} for node in (a, b))
    return first == second


def device_of(network: torch.nn.Module) -> torch.device:
    """The device of a network's parameters."""
    return next(network.parameters()).device


def safe(name: str) -> str:
    """Give a name that is one folder."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
