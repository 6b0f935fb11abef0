"""What a run says of itself before its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kdbias.callbacks.teacher_accuracy import IMAGES, known_or_measured, near_chance
from kdbias.config.overrides import key_of
from kdbias.data.base import ImageData
from kdbias.files import typed
from kdbias.models.teacher import Teacher
from kdbias.probes.base import Result

Row = tuple[str, str]


class Header(Callback):
    """Print experiment, student, teacher with its accuracy on these images, data, device, length and folder.

    A teacher near chance gets a line of its own: its weights are most likely of other images, and nothing else would
    say so. ``tree`` is the resolved config.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the rows, before the probes of the untrained student."""
        if not trainer.is_global_zero:
            return
        data: ImageData = trainer.datamodule  # type: ignore[attr-defined]
        teacher: Teacher | None = getattr(pl_module, "teacher", None)
        found = None if teacher is None else self._accuracy(teacher, data, trainer)
        student: Any = pl_module.student
        rows = [
            ("experiment", experiment(self.tree)),
            ("student", network_text(self.tree["model"], student)),
            ("teacher", "none" if teacher is None or found is None else teacher_text(teacher, found)),
            (
                "images",
                images_text(str(self.tree["data"]["_target_"]).rpartition(".")[2], data, len_or_none(data, "val")),
            ),
            ("device", f"{device_text(trainer)}, {trainer.precision}"),
            ("training", length_text(trainer, int(self.tree["batch_size"]))),
            ("folder", typed(trainer.default_root_dir)),
        ]
        control = getattr(pl_module, "spec", {}).get("control")
        rows[2:2] = [("control", str(control))] if control else []
        given = (self.tree["teacher"] or {}).get("weights") is not None
        warning = ""
        if teacher is not None and found is not None and not control:  # a control takes something away on purpose
            warning = chance_warning(teacher, found, given)
        print("\n".join([*lines(rows), *([warning] if warning else [])]), flush=True)

    def _accuracy(self, teacher: Teacher, data: ImageData, trainer: Trainer) -> Result:
        batches = self.tree["trainer"].get("limit_val_batches")
        images = min(IMAGES, batches * data.eval_batch_size) if type(batches) is int else IMAGES
        runs = (self.tree.get("paths") or {}).get("runs")
        cache = None if runs is None else Path(str(runs)) / "cache"
        return known_or_measured(teacher, data, trainer.strategy.root_device, self.tree["data"], images, cache)


def lines(rows: Sequence[Row]) -> list[str]:
    """Give the rows as lines, with their labels in one column.

    >>> lines([("student", "vit"), ("folder", "runs/a")])
    ['student  vit', 'folder   runs/a']
    """
    width = max(len(label) for label, _ in rows)
    return [f"{label:<{width}}  {text}" for label, text in rows]


def experiment(tree: Mapping[str, Any]) -> str:
    """Name the experiment that the command chose, the run's own name if it has another, and the seed."""
    typed = (tree.get("chosen") or {}).get("overrides") or ()
    chosen = [str(word).partition("=")[2] for word in typed if key_of(str(word)) == "experiment"]
    name = str(tree["name"])
    first = chosen[-1] if chosen else name
    called = "" if first.rpartition("/")[2] == name.rpartition("/")[2] else f", called {name}"
    return f"{first}{called}, seed {tree['seed']}"


def network_text(node: Mapping[str, Any], network: Any) -> str:
    """Name a network by its builder, and by its name in timm where it has one, with its parameters."""
    builder = str(node["_target_"]).rpartition(".")[2]
    name = f"{builder} {node['name']}" if node.get("name") else builder
    return f"{name}, {parameters(network)}"


def parameters(network: Any) -> str:
    """Count the parameters of a network.

    >>> import torch
    >>> parameters(torch.nn.Linear(3, 2))
    '8 parameters'
    """
    return f"{sum(p.numel() for p in network.parameters()):,} parameters"


def teacher_text(teacher: Teacher, found: Result) -> str:
    """Describe a teacher by its name, size and accuracy; without a number, by the reason."""
    size = parameters(teacher.extractor)
    if found.refused:
        return f"{teacher.name}, {size}; accuracy refused: {found.refused}"
    right, images = 100 * found.scalars["accuracy"], int(found.meta["n"])
    return f"{teacher.name}, {size}; {right:.1f} % right of {images:,} validation images"


def chance_warning(teacher: Teacher, found: Result, given: bool) -> str:
    """Give the line about a teacher that knows next to nothing of these images; empty if it knows more.

    ``given`` says that its weights come from a file that the command names.
    """
    if found.refused or not near_chance(found.scalars["accuracy"], int(found.meta["classes"])):
        return ""
    chance = 100 / int(found.meta["classes"])
    return (
        f"warning: the teacher {teacher.name} is near chance on these images ({100 * found.scalars['accuracy']:.1f} %, "
        f"chance is {chance:.1f} %): "
        + (
            "are its weights of other images? leave teacher.weights out to have it trained on these"
            if given
            else "was it trained too shortly? raise teacher.epochs, or name a trained one by teacher.weights=PATH"
        )
    )


def images_text(name: str, data: ImageData, val: int | None) -> str:
    """Describe the images: the set, the classes, the side in pixels, and how many there are."""
    info = data.info
    split = "" if val is None else f", {val:,} to validate by"
    return f"{name}, {info.classes} classes, {info.size} px; {info.train:,} to train on{split}"


def len_or_none(data: ImageData, split: str) -> int | None:
    """Count a split's images; None if it cannot be read, which the run itself will say."""
    try:
        return data.count(split)  # type: ignore[arg-type]
    except (OSError, ValueError):
        return None


def device_text(trainer: Trainer) -> str:
    """Name the device that trains, and how many of it."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def length_text(trainer: Trainer, batch_size: int) -> str:
    """Say how long the training is, and from where a resumed one goes on."""
    steps, batch = int(trainer.estimated_stepping_batches), batch_size * trainer.accumulate_grad_batches
    begun = f", from epoch {trainer.current_epoch + 1} on" if trainer.current_epoch else ""
    epochs = f"{trainer.max_epochs} epoch{'s' * (trainer.max_epochs != 1)}"
    return f"{epochs}, {steps:,} step{'s' * (steps != 1)} of {batch:,} images{begun}"
