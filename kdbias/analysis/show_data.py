"""``python analyze.py task=show_data``: a figure of the images that student and teacher see in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.checks.check import ConfigError
from kdbias.config.build import build
from kdbias.config.spec import Tree
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.mix import Mix
from kdbias.report.images import image_grid
from kdbias.report.style import save

COLUMNS = 12
BATCHES = 3


def show_data(tree: Tree) -> None:
    """Draw training images with the student's and the teacher's views of them; the path is printed last.

    Raises:
        ConfigError: no data set is named, or it is missing or damaged.
    """
    if tree.get("data") is None:
        raise ConfigError("data: show_data needs a data set: add data=NAME, say data=cifar10")
    augment: Augment = build(tree["augment"], group="augment")
    count = min(tree["images"] or COLUMNS, 4 * COLUMNS)
    try:
        source = build(tree["data"], group="data")
        data = ImageData(source, augment, batch_size=count, eval_batch_size=count, seed=tree["seed"])
        data.prepare_data()
        batch = next(iter(data.batches("train", limit=count)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    figure = views_figure(batch.image, batch.target, augment, data.info, int(tree["seed"]))
    folder = Path(tree["out"])
    save(figure, folder / "show_data.svg")
    print(save(figure, folder / "show_data.png"))


def views_figure(image: Tensor, target: Tensor, augment: Augment, info: DataInfo, seed: int) -> Figure:
    """Draw ``(B, C, H, W)`` images in [0, 1], and below them the views of the first three steps of training.

    ``target`` is ``(B,)``. The draws are those of epoch 0 with the run's ``seed``, as if each of its first steps had
    these images.
    """
    original = (image * 255).round().to(torch.uint8)
    fill = torch.tensor([round(255 * mean) for mean in info.mean], dtype=torch.uint8)
    rows = {"original": _for_drawing(image)}
    for step in range(BATCHES):
        draws = augment.draw(len(original), info.size, seed, 0, step, np.arange(len(original)))
        mixed = draws.mix is not None  # mixing drops the first image, so the last one goes before it
        order = np.arange(-int(mixed), len(original)) % len(original)
        student, teacher = augment.views(original[torch.from_numpy(order)], draws.take(order), fill)
        how = mixture(draws.mix) if draws.mix is not None else "not mixed" if augment.mixes else ""
        name = f"step {step}\n{how}" if how else f"step {step}"
        rows[f"{name}\nstudent"] = _for_drawing(student)
        if teacher is not student:
            rows[f"{name}\nteacher"] = _for_drawing(teacher)
    names = [info.names[int(label)] for label in target]
    about = f"Training images, policy={augment.policy}, {_views(augment)}"
    note = "; mixed with the image left of it, the first with the last" if augment.mixes else ""
    return image_grid(rows, columns=names, title=about + note)


def _views(augment: Augment) -> str:
    """Say what the teacher sees, and which stress sets change the views."""
    found = ["the teacher sees the student's image" if augment.view == "same" else f"view={augment.view}"]
    for who in augment.stress:
        given, strength = getattr(augment, f"{who}_stress"), getattr(augment, f"{who}_strength")
        name = given if isinstance(given, str) else given.get("name", given.get("_target_"))
        found.append(f"{who}_stress={name} at {strength:g}")
    if augment.stress and augment.view == "same":
        found[0] = "one augmented image for both"
    return ", ".join(found)


def mixture(mix: Mix) -> str:
    """Say how a step's images are mixed, and with which: each with the one left of it, the first with the last."""
    own = round(100 * mix.share)
    kind = "MixUp" if mix.box is None else "CutMix"
    return f"{kind}: {own} % own,\n{100 - own} % left neighbour"


def _for_drawing(image: Tensor) -> NDArray[np.float32]:
    images: NDArray[np.float32] = image.permute(0, 2, 3, 1).clamp(0, 1).numpy()
    return images
