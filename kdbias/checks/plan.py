"""The run that a config describes, without weights or images: networks by shapes, data by its description."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from kdbias.batch import DataInfo
from kdbias.config.build import build, selected
from kdbias.config.errors import ArgumentError, Problem, sound
from kdbias.data.augment import Augment
from kdbias.data.cues import CLASSES, CueSource
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers
from kdbias.losses.base import LossTerm
from kdbias.models.description import described
from kdbias.models.features import Extractor, NetworkInfo

T = TypeVar("T")

# The errors that builders raise for arguments that they cannot use. This package's builders raise ValueError; those of
# timm and torch raise the others.
REFUSALS = (ValueError, TypeError, AssertionError, RuntimeError, ArithmeticError)


class Refusing(Protocol):
    """What a plan needs from a control (``kdbias.controls.base.Control``)."""

    own_weights: bool
    answers_kept: ClassVar[bool]

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Give the reasons why the control makes no sense for a run."""
        ...

    def changed(self, tree: Mapping[str, Any], student: NetworkInfo) -> dict[str, Any]:
        """Give the resolved config as the control changes it."""
        ...


@dataclass
class Plan:
    """The parts of a run as far as they are known. A part with problems is None, and ``problems`` lists them."""

    tree: Mapping[str, Any]
    data: DataInfo | None = None
    augment: Augment | None = None
    loader: Resident | Workers | None = None
    student: Extractor | None = None
    teacher: Extractor | None = None
    control: Refusing | None = None
    terms: dict[str, LossTerm] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    misplaced_teacher: bool = False  # something else stands where the teacher, or its name, belongs

    @property
    def has_teacher(self) -> bool:
        """Whether the config names a teacher, known or not."""
        return self.misplaced_teacher or (self.tree.get("teacher") or {}).get("name") is not None

    @property
    def processes(self) -> int | None:
        """The number of processes that train; None if it is not known."""
        trainer = self.tree.get("trainer") or {}
        devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
        if isinstance(devices, str) and devices.isdigit():
            devices = int(devices)
        if devices in (-1, "-1", "auto"):
            devices = torch.cuda.device_count() if trainer.get("accelerator") != "cpu" else 1
        count = len(devices) if isinstance(devices, list) else devices
        counted = all(type(value) is int and value >= 1 for value in (count, nodes))
        return int(count * nodes) if counted else None

    @property
    def batches(self) -> int | None:
        """Full training batches of an epoch, before any limit; None if the number is not known."""
        size = self.tree.get("batch_size")
        return self.data.train // size if self.data and type(size) is int and size > 0 else None

    @property
    def steps(self) -> int | None:
        """Optimiser steps of the whole training; None if the number is not known."""
        epochs, batches = self.tree.get("epochs"), self.batches
        trainer = self.tree.get("trainer") or {}
        limit, accumulate = trainer.get("limit_train_batches"), trainer.get("accumulate", 1)
        if batches is None or any(type(value) is not int or value < 1 for value in (epochs, accumulate)):
            return None
        if type(limit) is float and 0 < limit <= 1:
            batches = int(batches * limit)
        elif type(limit) is int and limit >= 1:
            batches = min(batches, limit)
        elif limit is not None:
            return None
        return int(epochs * math.ceil(batches / accumulate))


def plan(tree: Mapping[str, Any], known: list[Problem]) -> Plan:
    """Describe a run by its resolved config; parts with ``known`` problems are not built."""
    found = Plan(tree, misplaced_teacher=any(problem.key in ("teacher", "teacher.name") for problem in known))

    def attempt(key: str, make: Callable[[], T]) -> T | None:
        if not sound(known, key):
            return None
        try:
            return make()
        except REFUSALS as error:
            found.problems.append(refusal(key, error))
            return None

    found.data = attempt("data", lambda: describe_data(tree["data"]))
    found.loader = attempt("loader", lambda: build(tree["loader"], group="loader")) if tree.get("loader") else None
    found.augment = attempt("augment", lambda: build(tree["augment"], group="augment"))
    data, teacher = found.data, tree.get("teacher") or {}
    if data is not None:
        found.student = attempt("model", lambda: describe_network(tree["model"], data))
        if found.has_teacher and not found.misplaced_teacher:
            reading = {**(teacher.get("model") or {}), "layers": teacher.get("layers", "all")}
            found.teacher = attempt("teacher.model", lambda: describe_network(reading, data))
    for name, spec in selected(tree.get("loss") or {}):
        term = attempt(f"loss.{name}", lambda spec=spec: build(spec, group="loss"))  # type: ignore[misc]
        if term is not None:
            found.terms[name] = term
    if tree.get("control") is not None:
        found.control = attempt("control", lambda: build(tree["control"], group="control"))
    return found


def refusal(key: str, error: Exception) -> Problem:
    """Turn an error of the builder at ``key`` into a problem; an ``ArgumentError`` gives the key of its argument."""
    if not isinstance(error, ArgumentError):
        return Problem(key, " ".join(str(error).split()) or type(error).__name__)
    # a teacher's layers are set next to its model, not in it
    place = "teacher" if key == "teacher.model" and error.argument == "layers" else key
    return Problem(f"{place}.{error.argument}", " ".join(error.text.split()))


def describe_data(spec: Mapping[str, Any]) -> DataInfo:
    """Describe a data set without reading it; generated images are not made, and their statistics are placeholders."""
    source = build(spec, group="data")
    if isinstance(source, CueSource):
        names = tuple(map(str, range(CLASSES)))
        return DataInfo(3, source.size, CLASSES, names, source.train - source.val, mean=(0.5,) * 3, std=(0.25,) * 3)
    info: DataInfo = source.info
    return info


def describe_network(spec: Mapping[str, Any], data: DataInfo) -> Extractor:
    """Build a network on torch's meta device: every shape, no weights, no download.

    Raises:
        ArgumentError: ``patch_drop_rate`` is not 0.
    """
    if spec.get("patch_drop_rate"):
        text = "it leaves fewer tokens than the patch grid has positions: set it to 0"
        raise ArgumentError("patch_drop_rate", text)
    return described(weightless(spec), data)


def weightless(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Give the node of a network without its weights."""
    nothing = {"pretrained": False, "weights": None}
    return {key: nothing.get(key, value) for key, value in spec.items()}
