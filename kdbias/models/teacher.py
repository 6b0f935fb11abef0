"""The teacher: a source of targets, not a part of the model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdbias import zoo
from kdbias.batch import Batch, DataInfo
from kdbias.config.build import build
from kdbias.config.errors import ArgumentError
from kdbias.models.channels_last import to_channels_last
from kdbias.models.checkpoint import Checkpoint, ForeignFile, architecture
from kdbias.models.features import Extractor, Features, NetworkInfo, asked
from kdbias.models.pretrained import MissingWeights
from kdbias.models.weights import load_state, read_weights
from kdbias.models.weights_file import WeightsError


class Teacher:
    """A frozen network that gives targets: in eval mode, without gradients, on the device of its images.

    It is not an ``nn.Module``, so that the student's checkpoint, optimiser, average and parameter count exclude it. A
    deep copy is the teacher itself. If it convolves, it is channels-last, which is faster and changes its output by
    rounding alone. ``epoch`` is that of training, whose images it answers.
    """

    epoch = 0

    def __init__(self, extractor: Extractor, name: str) -> None:
        self.extractor = extractor.eval().requires_grad_(False)
        if extractor.info.convolves:
            to_channels_last(extractor)
        self.name = name

    @property
    def info(self) -> NetworkInfo:
        """What a loss may know about the teacher."""
        return self.extractor.info

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Features:
        """Read ``image``, ``(B, C, H, W)`` in [0, 1], on its own device."""
        if self.extractor.training:
            self.extractor.eval()
        if self.extractor.mean.device != image.device:
            self.extractor.to(image.device)
        return self.extractor(image)  # type: ignore[no-any-return]

    def give(self, needs: frozenset[str]) -> None:
        """Have ``dense_logits`` and ``qkv`` in its answers from now on where ``needs`` names ``dense`` and ``qkv``.

        Raises:
            ValueError: the network cannot give them.
        """
        self.extractor = asked(self.extractor, needs).eval()

    def answer(self, batch: Batch, step: int) -> Features:
        """Answer the images of a batch, as the teacher sees them, at optimiser step ``step``.

        Training calls this method, because a control's answer also depends on targets and positions.
        """
        return self(batch.teacher_image)

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        return self


def ready_teacher(spec: Mapping[str, Any], data: DataInfo, name: str) -> Teacher:
    """Build the network of the node ``spec`` with timm's weights: a teacher without a recipe.

    Raises:
        MissingWeights: the weights cannot be downloaded; names the alternatives.
        ArgumentError: the network refuses an argument; names its key below ``teacher.model``.
    """
    if not spec.get("pretrained") and spec.get("weights") is None:
        warnings.warn(f"teacher {name} has random weights (teacher.pretrained=false): good for tests", stacklevel=2)
    try:
        return Teacher(build(spec, data, group="model"), name)
    except MissingWeights as error:
        raise error.of_teacher() from error
    except ArgumentError as error:
        raise ArgumentError(error.argument, error.text, of="teacher.model") from error


def teacher_from_weights(spec: Mapping[str, Any], data: DataInfo, path: str | Path, name: str) -> Teacher:
    """Build the network of the node ``spec`` with the weights at ``path``, a ``.safetensors`` file or a checkpoint.

    A checkpoint of this package, or an exported folder, describes its network and input, and the network is built from
    that description. It must be the network that ``spec`` names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are another network's, or for another number of classes.
    """
    own = own_checkpoint(spec, path)
    if own is not None:
        return Teacher(_from_checkpoint(spec, data, own), name)
    extractor: Extractor = build(architecture(spec), data, group="model")
    state = read_weights(path, "teacher.weights")
    return Teacher(load_state(extractor, state, "teacher.weights", fresh_head=extractor.info.classes is None), name)


def own_checkpoint(spec: Mapping[str, Any], path: str | Path) -> Checkpoint | None:
    """Give a checkpoint or exported network, which describes itself; None for bare weights or a missing file.

    Raises:
        ValueError: it is another network than ``spec`` names, or no file that can be read.
    """
    path = zoo.file_of(Path(path))
    if not path.is_file() or not (path.suffix == ".ckpt" or zoo.is_described(path)):
        return None
    own = Checkpoint(path)
    try:
        saved = own.spec
    except ForeignFile:
        return None
    except ValueError as error:
        raise WeightsError(f"teacher.weights: {error}") from error
    for key in ("_target_", "name"):
        if key in spec and saved["model"].get(key) != spec[key]:
            raise WeightsError(
                f"teacher.weights: {path} holds a {saved['model'].get(key)}, but the teacher is a {spec[key]}; "
                "choose the teacher=... of that network, or other weights"
            )
    return own


def _from_checkpoint(spec: Mapping[str, Any], data: DataInfo, own: Checkpoint) -> Extractor:
    try:
        extractor = own.student().requires_grad_(False)
    except ValueError as error:
        raise WeightsError(f"teacher.weights: {error}") from error
    if extractor.info.classes not in (None, data.classes):
        raise WeightsError(
            f"teacher.weights: {own.path} classifies {extractor.info.classes} classes, the data has {data.classes}; "
            "take weights trained on this data, or leave teacher.weights out to have the teacher trained"
        )
    return extractor.reading(layers=spec["layers"]) if "layers" in spec else extractor
