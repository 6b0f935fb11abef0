"""The networks that ``analyze.py`` measures, named by run folder, checkpoint or teacher, each with its data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from kdbias import zoo
from kdbias.analysis.run_teacher import NO_TEACHER, Lack, RunTeacher, teacher_of, zoo_teacher
from kdbias.batch import DataInfo
from kdbias.checks.check import ConfigError
from kdbias.checks.command import NO_NETWORK
from kdbias.config.build import build
from kdbias.config.spec import Tree, plain
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.files import digest
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.features import Extractor
from kdbias.models.teacher import teacher_from_weights
from kdbias.runs.run_folder import CONFIG, saved_config

Role = Literal["network", "control", "initial", "teacher"]

CONTROL, INITIAL = "control", "untrained"  # what figures and tables call them

# Data settings that do not change image i of a split: where files lie, and how many images there are. For the test
# split, settings of the other splits do not matter either. Any other setting counts as one that changes the images.
_ANYWHERE = {"root", "download", "test"}
_MIXED = {"kdbias.data.image_folder.image_folder"}  # data whose test images come in an order that split_seed decides
_TRAINING = {"train", "val", "limit", "part", "split_seed", "shape_reliability", "texture_reliability"}


@dataclass(frozen=True)
class Subject:
    """A network to measure, with its data and its names.

    ``name`` is unique; ``label`` is the name in figures, which the seeds of one method share. ``load`` gives the
    network on the device. ``weights`` identifies its weights. ``source`` is the config node of the data. ``spec`` is
    the description in its checkpoint (empty without one). ``teacher`` is that of its own run; a network that had none
    is compared with the first teacher among the runs. If ``teacher`` is None, ``lack`` says why. ``init`` names the
    weights that its training began from, None for fresh ones.
    """

    name: str
    load: Callable[[], Extractor]
    weights: str
    data: ImageData
    source: dict[str, Any]
    role: Role = "network"
    label: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    teacher: RunTeacher | None = None
    lack: Lack | None = None
    init: str | None = None

    @property
    def control(self) -> bool:
        """Whether it is the control, with which the others are compared."""
        return self.role == "control"


def subjects(tree: Tree) -> list[Subject]:
    """Give the networks that ``runs``, ``teacher`` and ``control_run`` name, in this order, without loading them.

    Raises:
        ConfigError: no network is named, two have the same name, or the data of one is not known.
    """
    device, split, images = device_name(tree), tree["split"], tree["images"]
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split: there is no split {split!r}; choose train, val or test")
    if images is not None and images < 1:
        raise ConfigError(f"images: must be at least 1, or null for the whole split, got {images}")
    known: dict[str, ImageData] = {}
    found = [run_subject(tree, "runs", path, device, known) for path in paths(tree["runs"])]
    found = [replace(one, label=label) for one, label in zip(found, labels(tree, found), strict=True)]
    found = [replace(one, role="control") if one.label == CONTROL else one for one in found]
    if tree["teacher"].get("name") is not None:
        found.append(named_subject(tree, device, known))
    controls = [run_subject(tree, "control_run", path, device, known) for path in paths(tree["control_run"])]
    found += [replace(one, role="control", label=CONTROL) for one in controls]
    twice = [name for name, count in Counter(safe(subject.name) for subject in found).items() if count > 1]
    if twice:
        raise ConfigError(f"two networks would be saved as {twice[0]}: name each run once, and no two folders alike")
    if not found:
        raise ConfigError(NO_NETWORK)
    return _taught(found)


def paths(value: Any) -> list[Path]:
    """Give the paths of a key that takes none, one or a list."""
    if value is None:
        return []
    return [Path(str(path)) for path in (value if isinstance(value, list) else [value])]


def labels(tree: Tree, found: Sequence[Subject]) -> list[str]:
    """Give the labels of the runs in figures: ``names`` if it is set, else the runs' own names.

    Raises:
        ConfigError: the number of names is not the number of runs, or one is that of untrained networks.
    """
    if tree.get("names") is None:
        return [subject.name for subject in found]
    names = listed(tree["names"])
    if INITIAL in names:
        raise ConfigError(f"names: {INITIAL!r} is what a network before its training is called: choose another name")
    if len(names) != len(found):
        raise ConfigError(
            f"names: {len(names)} names for {len(found)} runs; give one for each of runs=[...], the same for the "
            "seeds of one method"
        )
    return names


def listed(value: Any) -> list[str]:
    """Give the texts of a key that takes one or a list.

    >>> listed("KL"), listed(["KL", 2])
    (['KL'], ['KL', '2'])
    """
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def run_name(folder: Path) -> str:
    """Give the name of a run folder among networks, with the folder it lies in: single runs are named by their time.

    >>> run_name(Path("/runs/exp1_kl/2026-11-30_10-00-00"))
    'exp1_kl/2026-11-30_10-00-00'
    """
    folder = folder.absolute()
    return f"{folder.parent.name}/{folder.name}"


def run_subject(tree: Tree, key: str, path: Path, device: str, known: dict[str, ImageData]) -> Subject:
    """Describe the best checkpoint of a run folder, a checkpoint file, an exported folder, or a network of the zoo.

    Its images are those of ``data``, or else of its training.

    ``key`` is the config key that names ``path``, for errors.

    Raises:
        ConfigError: there is no checkpoint, it cannot be read, or its data is unknown or of another size.
    """
    path = zoo.file_of(path).absolute()
    checkpoint = path if path.is_file() else path / "checkpoints" / "best.ckpt"
    folder = checkpoint.parent.parent
    if not checkpoint.is_file():
        raise ConfigError(f"{key}: {checkpoint} is not there; name a run folder or a checkpoint file")
    opened = Checkpoint(checkpoint)
    try:
        spec, weights = opened.spec, opened.digest
        info = DataInfo.from_dict(spec["data"])
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    shipped = zoo.entry(path)
    saved = shipped or (plain(saved_config(folder)) if (folder / CONFIG).is_file() else None)
    node = tree.get("data") or (saved["data"] if saved is not None else None)
    if node is None and shipped:
        known_as = shipped.get("images") or "NAME"
        raise ConfigError(
            f"{key}: {path.parent} does not say where its images lie on this machine: add data={known_as}"
        )
    if node is None:
        raise ConfigError(f"{key}: no config.yaml in {folder} tells the data of {checkpoint.name}; add data=NAME")
    data = image_data(tree, node, known)
    if data.info.size != info.size or data.info.channels not in (1, info.channels):
        raise ConfigError(
            f"data: {key} {path} reads images of {info.channels}x{info.size}x{info.size}, and the data has "
            f"{data.info.channels}x{data.info.size}x{data.info.size}: choose data of its size, or leave data out"
        )
    name = run_name(folder)
    if path.is_file():
        name = zoo.name_of(path) if shipped else f"{name}/{checkpoint.stem}"
    own: RunTeacher | Lack = Lack("no config.yaml tells its teacher")
    if saved is not None:
        teachers = Path(tree["paths"]["teachers"])
        own = zoo_teacher(shipped, info, path) if shipped else teacher_of(saved, info, teachers, spec.get("teacher"))
    return Subject(
        name,
        partial(_student, opened, device),
        weights,
        data,
        node,
        label=name,
        spec=spec,
        teacher=own if isinstance(own, RunTeacher) else None,
        lack=own if isinstance(own, Lack) else None,
        init=None if shipped or saved is None else _text(saved.get("init")),
    )


def named_subject(tree: Tree, device: str, known: dict[str, ImageData]) -> Subject:
    """Describe the network that ``teacher`` names, with the weights file ``teacher.weights``.

    Raises:
        ConfigError: there is no weights file, or no data is named.
    """
    teacher, node = tree["teacher"], tree.get("data")
    name = teacher["name"]
    if node is None:
        raise ConfigError(f"teacher={name} needs data=NAME: the images to evaluate it on")
    if teacher["weights"] is None:
        raise ConfigError(f"teacher={name} needs teacher.weights=PATH: a checkpoint or safetensors file")
    path = Path(str(teacher["weights"]))
    if not path.is_file():
        raise ConfigError(f"teacher.weights: there is no file {path}: correct the path")
    data, model = image_data(tree, node, known), teacher["model"]
    weights = json.dumps({"model": model, "weights": digest(path)}, sort_keys=True)
    load = partial(_named, model, data.info, path, name, device)
    return Subject(name, load, weights, data, node, label=name, lack=NO_TEACHER)


def image_data(tree: Tree, node: Mapping[str, Any], known: dict[str, ImageData] | None = None) -> ImageData:
    """Build the data of a config node, without augmentation; missing data is downloaded.

    ``known`` holds what was built before, so that equal nodes are built once.

    Raises:
        ConfigError: the data is missing and cannot be downloaded, or is damaged.
    """
    key, size = json.dumps(node, sort_keys=True), tree["eval_batch_size"]
    if known is not None and key in known:
        return known[key]
    data = ImageData(build(node, group="data"), Augment(), batch_size=size, eval_batch_size=size, seed=tree["seed"])
    try:
        data.prepare_data()
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    if known is not None:
        known[key] = data
    return data


def same_images(a: Mapping[str, Any], b: Mapping[str, Any], split: str) -> bool:
    """Say whether image i of ``split`` is the same in the data of two config nodes."""
    return images_key(a, split) == images_key(b, split)


def images_key(node: Mapping[str, Any], split: str) -> str:
    """Give a key that is equal for config nodes with the same images in ``split``."""
    neutral = _ANYWHERE | _TRAINING if split == "test" else _ANYWHERE
    if node.get("_target_") in _MIXED:
        neutral = neutral - {"split_seed"}
    kept = {key: value for key, value in node.items() if key not in neutral and (key, value) != ("part", None)}
    return json.dumps(kept, sort_keys=True)


def device_name(tree: Tree) -> str:
    """Give the device that the config asks for."""
    return "cuda" if tree["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available() else "cpu"


def device_of(network: torch.nn.Module) -> torch.device:
    """Give the device of a network's parameters."""
    return next(network.parameters()).device


def safe(name: str) -> str:
    """Replace the characters of a name that a folder name should not have."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _taught(found: list[Subject]) -> list[Subject]:
    """Give networks that had no teacher the first teacher among the runs, to be compared with it."""
    own: dict[str, RunTeacher] = {}  # equal teachers are loaded once
    for subject in found:
        if subject.teacher is not None:
            own.setdefault(subject.teacher.identity, subject.teacher)
    first = next(iter(own.values()), None)

    def teacher(one: Subject) -> RunTeacher | None:
        if one.teacher is not None:
            return own[one.teacher.identity]
        return first if one.lack == NO_TEACHER else None

    return [replace(one, teacher=teacher(one)) for one in found]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _student(checkpoint: Checkpoint, device: str) -> Extractor:
    return checkpoint.student().to(device)


def _named(model: dict[str, Any], info: DataInfo, path: Path, name: str, device: str) -> Extractor:
    try:
        return teacher_from_weights(model, info, path, name).extractor.to(device)
    except ValueError as error:
        raise ConfigError(str(error)) from error
