"""The references for the runs: the untrained networks that they began as, and their teachers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from kdbias.analysis.networks import INITIAL, Subject
from kdbias.analysis.run_teacher import RunTeacher
from kdbias.batch import DataInfo
from kdbias.config.build import build, target
from kdbias.files import digest, printable
from kdbias.models.features import Extractor
from kdbias.runs.teacher_recipe import READING

BUILT_BY = torch.__version__  # what draws the first weights


def untrained(found: Sequence[Subject], device: str) -> list[Subject]:
    """Give the networks that the runs among ``found`` began as: one for each architecture, of its first run's seed.

    They are built as training builds them, so their weights are those of that run's epoch 0. A run that began from
    trained weights (``init``) is left out, with a line.
    """
    first: dict[str, Subject] = {}
    for subject in found:
        if subject.init is not None:
            print(
                f"{subject.name} began from the weights {printable(subject.init)}: its untrained network is not shown",
                flush=True,
            )
        elif subject.spec:
            first.setdefault(_architecture(subject.spec), subject)
    return [
        replace(
            subject,
            name=INITIAL if len(first) == 1 else f"{INITIAL}/{subject.name}",
            label=INITIAL if place == 0 else f"{INITIAL}, {subject.label}",
            load=partial(_initial, subject.spec, device),
            weights=json.dumps(
                ["untrained", subject.spec["model"], subject.spec["data"], _start(subject.spec), BUILT_BY]
            ),
            role="initial",
        )
        for place, subject in enumerate(first.values())
    ]


def teachers(found: Sequence[Subject], device: str) -> list[Subject]:
    """Give the teachers of ``found`` as networks to look at, each once, on the images of the first that it taught."""
    first: dict[str, Subject] = {}
    for subject in found:
        if subject.teacher is not None:
            first.setdefault(subject.teacher.identity, subject)
    return [
        replace(
            subject,
            name=f"teacher/{subject.teacher.name}" + (f"/{place}" if place else ""),
            label=subject.teacher.name,
            load=partial(_teaching, subject.teacher, device),
            weights=identity,
            role="teacher",
            spec={},
        )
        for place, (identity, subject) in enumerate(first.items())
        if subject.teacher is not None
    ]


def _architecture(spec: Mapping[str, Any]) -> str:
    """What decides the shape of a network, whatever is read of it; an argument that is left out has its default."""
    parameters = signature(target(spec["model"], "model")).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not Parameter.empty}
    model = {key: value for key, value in {**defaults, **spec["model"]}.items() if key not in READING}
    shape = [spec["data"][key] for key in ("channels", "size", "classes")]
    return json.dumps([model, shape], sort_keys=True, default=list)


def _initial(spec: Mapping[str, Any], device: str) -> Extractor:
    with isolate_rng():
        L.seed_everything(int(spec["seed"]), verbose=False)
        network: Extractor = build(spec["model"], DataInfo.from_dict(spec["data"]), group="model")
    return network.to(device).eval()


def _start(spec: Mapping[str, Any]) -> list[Any]:
    """What decides the first weights in addition to the architecture."""
    weights = spec["model"].get("weights")
    return [spec["seed"], digest(Path(weights)) if weights and Path(weights).is_file() else None]


def _teaching(teacher: RunTeacher, device: str) -> Extractor:
    return teacher.teacher.extractor.to(device)
