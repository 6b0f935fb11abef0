"""``python analyze.py task=predict``: the classes of any images, and where the evidence for them lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kdbias import zoo
from kdbias.analysis.networks import device_name, paths, safe
from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree, plain
from kdbias.data.image_file import HOW, SUFFIXES, fit, middle, open_image
from kdbias.data.mnist import is_mnist
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.evaluation import evaluation
from kdbias.models.features import Extractor
from kdbias.models.teacher import teacher_from_weights
from kdbias.probes.base import Result
from kdbias.probes.gradcam_map import activation_map
from kdbias.probes.tta import View, averaged, views
from kdbias.report.predict import overlay
from kdbias.report.style import save
from kdbias.report.table import Column, Table, percent, show
from kdbias.runs.run_folder import CONFIG, saved_config


@dataclass(frozen=True)
class Classifier:
    """A network with the data that it was trained on; ``flip`` says whether its images may be mirrored.

    ``built_by`` is the name of the data's builder, None where it was not saved.
    """

    name: str
    network: Extractor
    info: DataInfo
    flip: bool
    built_by: str | None = None


def predict(tree: Tree) -> None:
    """Print the ``top`` most probable classes of each image of ``image``, and save a Grad-CAM overlay and the Result.

    ``image`` is a file, a list of files, or a folder. Every network of ``runs`` and ``teacher`` answers. With ``tta``
    the probabilities are means over views: shifted by two pixels and, if the run's augmentation mirrors, mirrored. The
    overlay shows the Grad-CAM of the most probable class on the image.

    Raises:
        ConfigError: an image or a run is not there, or a network has no classifier.
    """
    files = image_files(tree.get("image"))
    top = _top(tree.get("top", 5))
    found = [_opened(file) for file in files]
    networks = classifiers(tree)
    for one in networks:
        folder = Path(tree["out"]) / safe(one.name)
        batch = torch.stack([fit(image, one.info, one.built_by) for image in found]).float() / 255
        seen = views(flip=one.flip) if tree.get("tta", False) else (View(),)
        probabilities, maps = answers(one.network, batch, seen, tree["eval_batch_size"])
        _result(one, files, probabilities, top, len(seen)).save(folder)
        show(table(one, files, probabilities, top, len(seen)))
        for label, image, row, map_ in zip(_labels(files), found, probabilities, maps, strict=True):
            text = f"{one.info.names[int(row.argmax())]}, {100 * float(row.max()):.1f} %"
            print(save(overlay(middle(image).numpy(), map_.numpy(), text), folder / f"predict-{label}.png"))


def image_files(image: Any) -> list[Path]:
    """Give the files that ``image`` names: a file, a list of files, or the images in a folder, sorted.

    Raises:
        ConfigError: no image is named, or one is not there.
    """
    named = list(image) if isinstance(image, list | tuple) else [image]
    if not named or any(each is None for each in named):
        raise ConfigError("image: no image to look at: give image=FILE, image=[FILE,...] or image=FOLDER")
    files: list[Path] = []
    for path in (Path(str(each)).expanduser() for each in named):
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if _shown(f))
            if not inside:
                raise ConfigError(f"image: there is no image in the folder {path} ({', '.join(SUFFIXES)})")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise ConfigError(f"image: {path} is not there: correct the path")
    return files


def classifiers(tree: Tree) -> list[Classifier]:
    """Give the networks that ``runs`` and ``teacher`` name.

    Raises:
        ConfigError: no network is named, one is not there, or one has no classifier.
    """
    device = device_name(tree)
    found = [_run(zoo.file_of(path).absolute()) for path in paths(tree["runs"])]
    if tree["teacher"].get("name") is not None:
        found.append(_named(tree))
    if not found:
        raise ConfigError("runs: no network to ask: give runs=[RUN_DIR], or teacher=NAME teacher.weights=PATH data=...")
    twice = [name for name, many in Counter(safe(one.name) for one in found).items() if many > 1]
    if twice:
        raise ConfigError(f"runs: two networks would be saved as {twice[0]}: name each run once")
    for one in found:
        if one.network.info.classes is None:
            raise ConfigError(f"runs: {one.name} has no classifier (self-supervised): name a run that classifies")
        one.network.to(device)
    return found


def answers(
    network: Extractor, image: Tensor, seen: Sequence[View], batch_size: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Give the class probabilities ``(n, C)`` of images ``(n, C', H, W)``, and a Grad-CAM map ``(h, w)`` of each.

    Probabilities are means over the views ``seen``. The map is that of the most probable class.
    """
    device = next(network.parameters()).device
    parts, maps = [], []
    for some in torch.split(image.to(device), batch_size):
        with evaluation(network):
            parts.append(averaged(network, some, seen))
        maps.append(activation_map(network, some, parts[-1].argmax(1)).cpu())
    return torch.cat(parts).cpu(), tuple(torch.cat(maps))


def table(one: Classifier, files: Sequence[Path], probabilities: Tensor, top: int, seen: int) -> Table:
    """Give the ``top`` most probable classes of each image with their probabilities."""
    rows: list[list[Any]] = []
    for file, row in zip(files, probabilities, strict=True):
        values, classes = row.topk(min(top, len(row)))
        for rank, (value, number) in enumerate(zip(values.tolist(), classes.tolist(), strict=True)):
            rows.append([file.name if rank == 0 else "", one.info.names[number], value])
    caption = f"Images are {HOW}, at {one.info.size} px"
    caption += ", light on black." if is_mnist(one.info, one.built_by) else "."
    caption += f" Mean of {seen} views." if seen > 1 else ""
    return Table(one.name, [Column("image"), Column("class"), percent("probability")], rows, caption)


def _result(one: Classifier, files: Sequence[Path], probabilities: Tensor, top: int, seen: int) -> Result:
    values, classes = probabilities.topk(min(top, probabilities.shape[1]))
    images = [
        {"file": str(file), "classes": [one.info.names[i] for i in row], "probabilities": [round(v, 6) for v in value]}
        for file, row, value in zip(files, classes.tolist(), values.tolist(), strict=True)
    ]
    meta = {"n": len(files), "network": one.name, "views": seen, "read": HOW, "images": images}
    scalars = {"confidence": float(values[:, 0].double().mean())}
    return Result("predict", scalars, {"probabilities": probabilities.numpy()}, meta)


def _shown(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _opened(file: Path) -> Image.Image:
    try:
        return open_image(file)
    except ValueError as error:
        raise ConfigError(f"image: {error}") from error


def _top(top: Any) -> int:
    if type(top) is not int or top < 1:
        raise ConfigError(f"top={top} must be a whole number from 1: how many classes to print")
    return top


def _run(path: Path) -> Classifier:
    """Load the best checkpoint of a run folder, a checkpoint file, or a network of the zoo."""
    checkpoint = path if path.is_file() else path / "checkpoints" / "best.ckpt"
    folder = checkpoint.parent.parent
    if not checkpoint.is_file():
        raise ConfigError(f"runs: {checkpoint} is not there; name a run folder or a checkpoint file")
    own = Checkpoint(checkpoint)
    try:
        info, network = DataInfo.from_dict(own.spec["data"]), own.student()
        shipped = zoo.entry(path)
    except ValueError as error:
        raise ConfigError(f"runs: {error}") from error
    name = f"{folder.parent.name}/{folder.name}" + (f"/{checkpoint.stem}" if path.is_file() else "")
    name = zoo.name_of(path) if shipped else name
    saved = plain(saved_config(folder)) if (folder / CONFIG).is_file() and not shipped else {}
    flip = (saved.get("augment") or {}).get("flip")
    built_by = (saved.get("data") or {}).get("_target_")
    return Classifier(name, network, info, info.channels == 3 if flip is None else bool(flip), built_by)


def _named(tree: Tree) -> Classifier:
    """Load a teacher by its name and its weights file."""
    teacher = tree["teacher"]
    name = teacher["name"]
    for key, given, what in (
        ("teacher.weights", teacher.get("weights"), "PATH: a checkpoint or safetensors file"),
        ("data", tree.get("data"), "NAME: the classes and the size of its images"),
    ):
        if given is None:
            raise ConfigError(f"{key}: teacher={name} needs {key}={what}")
    info = build(tree["data"], group="data").info
    network = teacher_from_weights(teacher["model"], info, teacher["weights"], name).extractor
    return Classifier(name, network, info, info.channels == 3, tree["data"].get("_target_"))


def _labels(files: Sequence[Path]) -> list[str]:
    """Name each image after its file; if two files have the same stem, add a number."""
    stems = [safe(file.stem) for file in files]
    taken = {stem for stem, many in Counter(stems).items() if many == 1}
    found: list[str] = []
    for stem in stems:
        free = (f"{stem}-{number}" for number in count() if f"{stem}-{number}" not in taken)
        found.append(stem if stem in taken and stem not in found else next(free))
        taken.add(found[-1])
    return found
