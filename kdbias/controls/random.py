"""``control=random``: an untrained teacher of the teacher's architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.optim.swa_utils import update_bn

from kdbias.batch import DataInfo
from kdbias.checks.plan import Plan
from kdbias.config.build import build, builder
from kdbias.config.errors import ArgumentError, Problem
from kdbias.config.spec import Tree
from kdbias.controls.accuracy import accuracy, device_of, training_batches
from kdbias.controls.base import Control, Source, missing_file
from kdbias.data.base import ImageData
from kdbias.data.seeds import SEEDS, is_seed
from kdbias.data.streams import Stream, stream
from kdbias.models.checkpoint import architecture
from kdbias.models.features import Extractor, NetworkInfo
from kdbias.models.teacher import Teacher, own_checkpoint


@builder("control")
class Random(Control):
    """The teacher's network with fresh weights: its architecture without anything learnt.

    If ``teacher.weights`` is a checkpoint of this package, the network is the one that the checkpoint describes.

    BatchNorm's statistics are computed from training images, as in training. With the statistics of a fresh network,
    which normalise nothing, the logits of a deep ResNet grow to thousands.

    Args:
        seed: Of the weights, which differ from those of a student with the same seed; None takes the run's seed.
        images: Training images for the statistics.
    """

    kind = "random"
    uses_teacher_weights = False
    own_weights = True

    def __init__(self, *, seed: int | None = None, images: int = 1000) -> None:
        super().__init__()
        if seed is not None and not is_seed(seed):
            raise ArgumentError("seed", f"must be {SEEDS}, or null for the run's, got {seed!r}")
        self.seed, self.images = seed, images
        self._size: int | None = None  # of the images that a checkpoint's network is for; None: the data's

    @classmethod
    def weights_by_seed(cls, control: Mapping[str, Any]) -> bool:
        """Each seed draws weights of its own, unless ``seed`` is set; BatchNorm's statistics may differ even then."""
        return control.get("seed") is None

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse a weights file that does not exist or that describes another network than the teacher's."""
        yield from super().refusals(run)
        teacher = run.tree.get("teacher") or {}
        yield from missing_file("teacher.weights", teacher.get("weights"))
        try:
            _described(teacher)
        except ValueError as error:
            yield Problem("teacher.weights", str(error))

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config with a teacher without weights."""
        teacher = tree["teacher"]
        described = _described(teacher)
        if described is not None:
            self._size = int(described["data"]["size"])
        model = teacher["model"] if described is None else described["model"]
        found = architecture(model)
        found |= (
            {"frozen": False} if "frozen" in found else {}
        )  # its classifier would be 0, BatchNorm without statistics
        fresh = {"model": found, "weights": None, "recipe": None}
        return {**tree, "teacher": {**teacher, **fresh}}

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the untrained teacher."""
        seed = int(tree["seed"] if self.seed is None else self.seed)
        given = tree["teacher"]
        spec = {**given["model"], "layers": given.get("layers", "all")}
        info = data.info if self._size is None else replace(data.info, size=self._size)
        extractor = untrained(spec, info, seed)
        device = device_of(tree)
        images = (batch.teacher_image for batch in training_batches(data, device, self.images))
        update_bn(images, extractor.to(device))
        teacher = Teacher(extractor, given["name"])
        measured = accuracy(teacher, data, tree, tree["probe_images"])
        chance = 1 / data.info.classes
        self.found = {"matched": ["architecture"], "seed": seed, "teacher_accuracy": measured, "chance": chance}
        return teacher


def untrained(spec: Mapping[str, Any], data: DataInfo, seed: int) -> Extractor:
    """Build a network with fresh weights from ``seed``; the state of all random generators is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(Stream.UNTRAINED, seed).integers(2**62)))
        extractor: Extractor = build(spec, data, group="model")
    return extractor


def _described(teacher: Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of network and images in the teacher's checkpoint; None without such a checkpoint."""
    if teacher.get("name") is None or teacher.get("weights") is None:
        return None
    own = own_checkpoint(teacher["model"], teacher["weights"])
    return None if own is None else own.spec
