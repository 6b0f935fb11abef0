"""Build the network of a checkpoint from the checkpoint's own description, without the config or the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from kdbias import zoo
from kdbias.files import digest
from kdbias.models.description import build_described
from kdbias.models.features import Extractor
from kdbias.models.state_dict import OWN, state_dict
from kdbias.models.weights import load_state
from kdbias.models.weights_file import UnreadableFile, WeightsError, read_checked
from kdbias.zoo import ZooError

# What builders raise for arguments that they cannot use, and torch for shapes that it cannot make.
REFUSALS = (
    ValueError,
    TypeError,
    ImportError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
)


class ForeignFile(WeightsError):
    """A file of ``torch.save`` that is no checkpoint of this package, and may hold bare weights."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run: its file is opened when something of it is first asked for, once for all that is asked.

    It is read once against its checksums; then its tensors are mapped, so that a large file takes the memory of what is
    used of it. The file may be replaced meanwhile by a run that still trains: this stays the one that was opened.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no checkpoint of this package, or its weights do not fit its own description.
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
            raise FileNotFoundError(f"there is no checkpoint {self.path.resolve()}{_instead(self.path)}")
        identity = _identity(self.path)
        try:
            shipped = zoo.entry(self.path)
            content = read_checked(self.path) if shipped is None else _as_saved(shipped, read_checked(self.path))
        except (UnreadableFile, ZooError) as error:
            raise WeightsError(f"{self.path} cannot be read as a checkpoint: {error}") from error
        spec = _node(_node(content, "hyper_parameters"), "spec")
        if not all(isinstance(spec.get(part), Mapping) for part in ("model", "data")):
            raise ForeignFile(
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
        return self._count("epoch")

    @property
    def global_step(self) -> int:
        """Optimiser steps before it was written."""
        return self._count("global_step")

    def _count(self, key: str) -> int:
        found = self.content.get(key)
        if type(found) is not int:
            raise WeightsError(f"{self.path} is no whole checkpoint: it holds no {key}; take another one of its run")
        return found

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file.

        Raises:
            ValueError: the file is no longer the one whose content this has.
        """
        opened = self._opened[0]
        found = digest(self.path)
        if _identity(self.path) != opened:
            raise WeightsError(f"{self.path} was replaced while it was read: its run still trains; try again")
        return found

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the student's network by their names in it; with weight averaging the averaged ones."""
        found = {k: v for k, v in _node(self.content, "state_dict").items() if str(k).startswith(OWN)}
        return state_dict(found, str(self.path), self._opened[0][2]) if found else {}

    def student(self, any_values: bool = False) -> Extractor:
        """Build the student, in eval mode on the CPU, ready for images in [0, 1]; a new one at every call.

        With ``any_values`` its weights may be NaN or infinite, as where training has failed.
        """
        weights = self.weights
        try:
            extractor = build_described(architecture(self.spec["model"]), self.spec["data"], weights)
        except REFUSALS as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(f"{self.path}: its description builds no network of this package: {reason}") from error
        return load_state(extractor, weights, key=str(self.path), any_values=any_values).eval()


def load_student(path: str | PathLike[str]) -> Extractor:
    """Give the student of a run folder's best checkpoint, or of a checkpoint file, in eval mode on the CPU.

    ``path`` may be a ``kdbias.Run``, an exported folder (``analyze.py task=export``), or the name of a network of
    ``kdbias.zoo``, such as ``demo-student``. It is ready for images in [0, 1]. With weight
    averaging it is the averaged network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of this package, or its weights do not fit its description.
    """
    return Checkpoint(checkpoint_file(path)).student()


def load_teacher(path: str | PathLike[str]) -> Extractor:
    """Give the network that a teacher's training saved at ``path``: as ``load_student``, and frozen."""
    return load_student(path).requires_grad_(False)


def read_spec(path: str | PathLike[str]) -> dict[str, Any]:
    """Give the checkpoint's description; see ``Checkpoint.spec``."""
    return Checkpoint(checkpoint_file(path)).spec


def architecture(model: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model's node without the weights that training starts from, so that building it reads no file."""
    without = {"pretrained": False, "weights": None}
    return {**model, **{k: v for k, v in without.items() if k in model}}


def checkpoint_file(path: str | PathLike[str]) -> Path:
    """The checkpoint that a path names: a file, the best one of a run folder, an exported or a zoo's network."""
    found = zoo.file_of(Path(path))
    return found / "checkpoints" / "best.ckpt" if found.is_dir() else found


def _instead(path: Path) -> str:
    """What may have been meant by a checkpoint that is not there: a run in its folder, or a network of the zoo."""
    folder = path.parent.parent if path.name == "best.ckpt" else path
    inside = sorted(found.parents[1] for found in folder.glob("*/checkpoints/best.ckpt"))
    if inside:
        return f": {folder} holds {len(inside)} runs, name one, such as {inside[0]}"
    if any((folder / name).is_file() for name in ("model.safetensors", "network.onnx")):
        return f": {folder} is an export for timm or onnxruntime, and its README.md says how to load it"
    near = get_close_matches(path.name, zoo.names(), 1, 0.85) if len(path.parts) == 1 else []
    return f": did you mean {near[0]}?" if near else ""


def _as_saved(shipped: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """A network of the zoo, or an exported one, as a checkpoint holds it."""
    content = {key: shipped[key] for key in ("epoch", "global_step")}
    state = {f"{OWN}{name}": value for name, value in weights.items()}
    return {**content, "hyper_parameters": {"spec": shipped["spec"]}, "state_dict": state}


def _node(tree: Any, key: str) -> Mapping[str, Any]:
    """The mapping at a key of what a file holds; an empty one where there is none."""
    found = tree.get(key) if isinstance(tree, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
