"""Build the network of a checkpoint from the checkpoint's own description, without the config or the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.files import digest
from kdbias.models.features import Extractor
from kdbias.models.weights import PREFIXES, load_state, read_file

BROKEN = (UnpicklingError, EOFError, IndexError, KeyError, RuntimeError)  # whatever a broken file meets


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run: its file is opened when something of it is first asked for, once for all that is asked.

    Tensors are mapped from the file, not read: what is asked of a large file costs what is used of it. The file may be
    replaced meanwhile by a run that still trains: this stays the one that was opened.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of this package, or its weights do not fit its own description.
    """

    path: Path

    @property
    def content(self) -> dict[str, Any]:
        """All that the file holds, as Lightning saved it."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[tuple[int, ...], dict[str, Any]]:
        """What tells the file from those that take its place, and its content."""
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no checkpoint {self.path.resolve()}")
        identity = _identity(self.path)
        try:
            content: Any = read_file(self.path)
        except BROKEN as error:
            raise ValueError(
                f"{self.path} cannot be read as a checkpoint ({error}): it is another kind of file, or truncated"
            ) from error
        spec = content.get("hyper_parameters", {}).get("spec", {}) if isinstance(content, dict) else {}
        if not {"model", "data"} <= spec.keys():
            raise ValueError(
                f"{self.path} is no checkpoint of kdbias: it holds no hyper_parameters.spec with model and data; "
                "give bare weights as teacher.weights or model.weights"
            )
        return identity, content

    @property
    def spec(self) -> dict[str, Any]:
        """The checkpoint's description: plain types, with ``model``, ``data``, ``loss`` and so on."""
        found: dict[str, Any] = self.content["hyper_parameters"]["spec"]
        return found

    @property
    def epoch(self) -> int:
        """The epoch that it was written in, from 0."""
        return int(self.content["epoch"])

    @property
    def global_step(self) -> int:
        """Optimiser steps before it was written."""
        return int(self.content["global_step"])

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file.

        Raises:
            ValueError: the file is no longer the one whose content this has.
        """
        opened = self._opened[0]
        found = digest(self.path)
        if _identity(self.path) != opened:
            raise ValueError(f"{self.path} was replaced while it was read: its run still trains; try again")
        return found

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the student's network by their names in it; with weight averaging the averaged ones."""
        prefix = PREFIXES[0]
        return {k.removeprefix(prefix): v for k, v in self.content["state_dict"].items() if k.startswith(prefix)}

    def student(self) -> Extractor:
        """Build the student, in eval mode on the CPU, ready for images in [0, 1]; a new one at every call."""
        try:
            model, data = architecture(self.spec["model"]), DataInfo.from_dict(self.spec["data"])
            extractor: Extractor = build(model, data, group="model")
        except (ValueError, TypeError, ImportError) as error:
            raise ValueError(f"{self.path}: its description builds no network of this package: {error}") from error
        return load_state(extractor, self.weights, key=str(self.path)).eval()


def load_student(path: str | Path) -> Extractor:
    """Give the student of a checkpoint, in eval mode on the CPU, ready for images in [0, 1].

    With weight averaging it is the averaged network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of this package, or its weights do not fit its description.
    """
    return Checkpoint(Path(path)).student()


def load_teacher(path: str | Path) -> Extractor:
    """Give the network that a teacher's training saved at ``path``: as ``load_student``, and frozen."""
    return load_student(path).requires_grad_(False)


def read_spec(path: str | Path) -> dict[str, Any]:
    """Give the checkpoint's description; see ``Checkpoint.spec``."""
    return Checkpoint(Path(path)).spec


def architecture(model: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model's node without the weights that training starts from, so that building it reads no file."""
    without = {"pretrained": False, "weights": None}
    return {**model, **{k: v for k, v in without.items() if k in model}}


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
