"""What controls measure about a teacher before training: its accuracy, and its confidence in the label."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import NamedTuple, cast

import torch

from kdbias.batch import Batch
from kdbias.config.spec import Tree
from kdbias.data.base import ImageData
from kdbias.models.teacher import Teacher
from kdbias.probes.accuracy import AccuracyProbe


class Confidence(NamedTuple):
    """Means over ``images`` of the teacher's probability of the target, and of the target itself (1 unless mixed)."""

    value: float
    target: float
    images: int


def device_of(tree: Tree) -> torch.device:
    """Give the device of this process: that of its local rank where GPUs train, among those that are chosen."""
    trainer = tree["trainer"]
    if trainer["accelerator"] == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    rank, devices = int(os.environ.get("LOCAL_RANK", 0)), trainer.get("devices", 1)
    if isinstance(devices, str) and "," in devices:  # "2," is the third one, "2" any two
        devices = [int(one) for one in devices.split(",") if one.strip()]
    return torch.device("cuda", rank if isinstance(devices, int | str) else devices[rank])


def accuracy(teacher: Teacher, data: ImageData, tree: Tree, images: int | None) -> float | None:
    """Give the accuracy on the first ``images`` of the validation split; None if the teacher cannot classify them."""
    if teacher.info.classes != data.info.classes:
        return None
    device = device_of(tree)
    network = teacher.extractor.to(device)
    return AccuracyProbe()(network, data.batches("val", device=device, limit=images)).scalars["accuracy"]


def training_batches(data: ImageData, device: torch.device, images: int) -> Iterator[Batch]:
    """Give the first augmented training batches, with at least ``images`` images if an epoch has as many."""
    with closing(cast(Generator[Batch, None, None], iter(data.train_dataloader()))) as batches:
        for batch in islice(batches, math.ceil(images / data.batch_size)):
            yield Batch(*(part.to(device) for part in batch))


def confidence(teacher: Teacher, batches: Iterator[Batch], temperature: float) -> Confidence:
    """Measure the probability that a teacher's softened answer gives to the target, which is soft for mixed images."""
    sums, images = torch.zeros(2, dtype=torch.float64), 0
    for batch in batches:
        logits = teacher.answer(batch, 0).logits
        if logits is None:
            raise ValueError(f"{teacher.name} has no classifier, and therefore no confidence: choose another control")
        probability = (logits.double() / temperature).softmax(1)
        target = soft(batch.target, probability.shape[1]).double()
        sums += torch.stack([(probability * target).sum(), target.square().sum()]).cpu()
        images += len(target)
    value, own = (sums / images).tolist()
    return Confidence(value, own, images)


def soft(target: torch.Tensor, classes: int) -> torch.Tensor:
    """Give float targets ``(B, classes)`` of hard or soft ones."""
    if target.ndim == 2:
        return target.float()
    return torch.nn.functional.one_hot(target, classes).float()
