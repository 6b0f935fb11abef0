"""``control=random``: an untrained teacher of the teacher's architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from torch.optim.swa_utils import update_bn

from kdbias.build import build
from kdbias.checkpoint import architecture
from kdbias.controls.base import Control, Source
from kdbias.controls.measure import accuracy, device_of, training_batches
from kdbias.data.base import PictureData
from kdbias.data.streams import Stream, stream
from kdbias.features import Extractor, NetworkInfo
from kdbias.spec import plain
from kdbias.teachers import Teacher


class Random(Control):
    """The teacher's network with fresh weights answers: its architecture, and nothing learnt.

    BatchNorm's statistics are taken from training pictures, as any training would: with those of a fresh network, which
    normalise nothing, the answers of a deep ResNet grow to thousands.

    Args:
        seed: Of the weights, which are not those of a student with the same seed; the run's where None.
        pictures: Training pictures for the statistics.
    """

    kind = "random"
    own_weights = True

    def __init__(self, *, seed: int | None = None, pictures: int = 1000) -> None:
        super().__init__()
        if pictures < 2:
            raise ValueError(f"pictures: BatchNorm's statistics need at least 2, got {pictures}")
        self.seed, self.pictures = seed, pictures

    def changed(self, tree: Mapping[str, Any], student: NetworkInfo) -> dict[str, Any]:
        """Give the config with a teacher without weights."""
        teacher = tree["teacher"]
        fresh = {"model": architecture(teacher["model"]), "weights": None, "recipe": None}
        return {**tree, "teacher": {**teacher, **fresh}}

    def teacher(self, cfg: DictConfig, data: PictureData, source: Source) -> Teacher | None:
        """Give the untrained teacher."""
        seed = int(cfg.seed if self.seed is None else self.seed)
        spec = {**plain(cfg.teacher.model), "layers": plain(cfg.teacher).get("layers", "all")}
        extractor = untrained(spec, data, seed)
        device = device_of(cfg)
        images = (batch.teacher_image for batch in training_batches(data, device, self.pictures))
        update_bn(images, extractor.to(device))
        teacher = Teacher(extractor, cfg.teacher.name)
        measured = accuracy(teacher, data, cfg, cfg.probe_pictures)
        chance = 1 / data.info.classes
        self.found = {"matched": ["architecture"], "seed": seed, "teacher_accuracy": measured, "chance": chance}
        return teacher


def untrained(spec: Mapping[str, Any], data: PictureData, seed: int) -> Extractor:
    """Build a network with the fresh weights of ``seed``; other random numbers are left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(Stream.UNTRAINED, seed).integers(2**62)))
        extractor: Extractor = build(spec, data.info)
    return extractor
