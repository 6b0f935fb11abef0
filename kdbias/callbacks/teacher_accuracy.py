"""How often the teacher of a run is right on the run's own validation images, measured once before training."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdbias.data.base import ImageData
from kdbias.models.evaluation import evaluation
from kdbias.models.teacher import Teacher
from kdbias.probes.base import Result, refused
from kdbias.probes.cache import Cache, files_of
from kdbias.probes.reasons import why

NAME = "teacher_accuracy"
IMAGES = 1_000  # of the validation split, the first
SECONDS = 15.0  # after which no further batch is asked
BATCH = 100
NEAR = 0.1  # of the way from chance to all right; below it, a teacher says next to nothing about these images


def known_or_measured(
    teacher: Teacher, data: ImageData, device: torch.device, node: Mapping[str, Any], images: int, cache: Path | None
) -> Result:
    """Give the teacher's accuracy on the first ``images`` validation images, from the ``cache`` if it is known.

    ``node`` is the config of the data. Nothing about the training changes, not even the state of the random
    generators. A teacher that cannot be measured gives a Result with the reason: it ends no training.
    """
    if reason := no_answer(teacher, data):
        return refused(NAME, reason)
    try:
        about = _about(teacher, data, node, images)
        key = hashlib.sha256(json.dumps(about, sort_keys=True, default=repr).encode()).hexdigest()[:32]
        kept = Cache(cache) if cache is not None else None
        found = kept.load(key, NAME) if kept is not None else None
        if found is None:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                found = measured(teacher, data, device, images)
            if kept is not None:
                kept.save(key, found, about)
    except Exception as error:
        return refused(NAME, why(error))
    return found


def no_answer(teacher: Teacher, data: ImageData) -> str:
    """Say why the teacher's answers cannot be held against the labels; empty if they can."""
    classes = teacher.info.classes
    if classes is None:
        return "it has no classifier"
    return "" if classes == data.info.classes else f"it classifies {classes} classes, the data has {data.info.classes}"


def measured(
    teacher: Teacher,
    data: ImageData,
    device: torch.device,
    images: int,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Measure the accuracy in fp32 on the first ``images`` validation images, or those that ``SECONDS`` allow."""
    network = teacher.extractor.to(device)
    right, seen, end = 0, 0, clock() + SECONDS
    with evaluation(network):
        for batch in data.batches("val", device=device, batch_size=min(BATCH, images), limit=images):
            logits = network(batch.image).logits
            right += int((logits.argmax(1) == batch.target).sum())
            seen += len(batch.target)
            if clock() > end:
                break
    if not seen:
        return refused(NAME, "there are no validation images")
    return Result(NAME, {"accuracy": right / seen}, {}, {"n": seen, "classes": int(data.info.classes)})


def near_chance(accuracy: float, classes: int) -> bool:
    """Whether an accuracy is at chance or close to it.

    >>> near_chance(0.12, 10), near_chance(0.3, 10), near_chance(0.53, 2), near_chance(0.6, 2)
    (True, False, True, False)
    """
    chance = 1 / classes
    return accuracy < chance + NEAR * (1 - chance)


def _about(teacher: Teacher, data: ImageData, node: Mapping[str, Any], images: int) -> dict[str, Any]:
    """What decides the number."""
    return {
        "measure": NAME,
        "weights": weights_digest(teacher.extractor),
        "data": {key: value for key, value in node.items() if key not in ("root", "download")},
        "files": files_of(data.source, ("val",)),
        "images": images,
        "torch": torch.__version__,
    }


def weights_digest(network: nn.Module) -> str:
    """Give the SHA-256 of a network's names, shapes and values, and of how its modules print: 64 hex digits."""
    found = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
