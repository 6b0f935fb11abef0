"""The contrastive heads of SSKD: their layers, how the teacher's is trained, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError
from kdbias.functional.sskd import sskd_partners, sskd_similarity
from kdbias.models.state_dict import require_values
from kdbias.models.weights import misfit, read_weights
from kdbias.models.weights_file import WeightsError

KEY = "module.head.weights"


@dataclass(frozen=True)
class HeadSettings:
    """How the teacher's head is trained.

    Args:
        epochs: over the training images.
        lr: learning rate of SGD.
        momentum: of SGD, without Nesterov's.
        weight_decay: of all its parameters.
        milestones: parts of the training after which the learning rate is multiplied by ``gamma``; it changes
            between epochs.
        gamma: factor of the learning rate at a milestone.
        batch_size: images that are compared with one another; each is forwarded four times.
        seed: of its first weights, the order of the images and their views. It is not the run's, so that students of
            several seeds share one head, as they share one teacher.
        weights: a file with a trained head; None trains one.

    Raises:
        ArgumentError: a value is out of range.

    Source: the official ``student.py`` of Xu et al., ECCV 2020.
    """

    epochs: int = 60
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: Sequence[float] = (0.5, 0.75)
    gamma: float = 0.1
    batch_size: int = 64
    seed: int = 0
    weights: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            value = getattr(self, key)
            if type(value) is not int or value < least:
                raise ArgumentError(f"head.{key}", f"must be a whole number of at least {least}, got {value!r}")
        rates = (("lr", 1e-12, 1e12), ("momentum", 0.0, 1 - 1e-12), ("weight_decay", 0.0, 1e12), ("gamma", 1e-12, 1.0))
        for key, low, high in rates:
            value = getattr(self, key)
            if type(value) not in (int, float) or not low <= value <= high:
                raise ArgumentError(f"head.{key}", f"is out of range, got {value!r}")
        listed = isinstance(self.milestones, Sequence) and not isinstance(self.milestones, str)
        if not listed or not all(type(one) in (int, float) and 0 < one < 1 for one in self.milestones):
            text = f"must be parts of the training, each in (0, 1), got {self.milestones!r}"
            raise ArgumentError("head.milestones", text)

    @classmethod
    def of(cls, node: Mapping[str, Any] | None) -> HeadSettings:
        """Read the settings ``module.head`` of a config.

        Raises:
            ArgumentError: it is no mapping, or has a setting that does not exist.
        """
        if node is not None and not isinstance(node, Mapping):
            raise ArgumentError("head", f"must hold settings, got {node!r}")
        known = [field.name for field in fields(cls)]
        for key in node or {}:
            if key not in known:
                raise ArgumentError(f"head.{key}", f"there is no such setting: the settings are {', '.join(known)}")
        return cls(**(node or {}))


def contrastive_head(width: int) -> nn.Sequential:
    """Build Linear-ReLU-Linear, all of ``width`` features.

    Source: ``wrapper.py`` of the official code.
    """
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def contrast(features: Tensor) -> tuple[Tensor, Tensor]:
    """Give the loss of finding the upright image of each rotated one, a scalar in nats, and the share found.

    ``features`` of a head are ``(4B, D)`` as in ``sskd_similarity``. The loss is the cross-entropy of the cosine
    similarities, without a temperature, so that it stays far above 0 even where every image is found.
    """
    similarity = sskd_similarity(features)
    partner = sskd_partners(similarity.shape[1], features.device)
    return F.cross_entropy(similarity, partner), (similarity.argmax(1) == partner).float().mean()


def load_head(head: nn.Sequential, path: str | Path) -> nn.Sequential:
    """Load the file of a trained head into ``head`` and give it back; on the meta device, see whether it would fit.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, or another network's head; one line, with the key and the remedy.
    """
    remedy = "remove it, and it will be trained again, or give another file"
    try:
        state = read_weights(path, KEY)
        require_values(state, f"{KEY}: {path}")
    except WeightsError as error:
        raise WeightsError(f"{error} (a head in the folder of the teachers: {remedy})") from error
    own = head.state_dict()
    if problem := misfit(own, state):
        raise WeightsError(f"{KEY}: {path} is no head of this teacher: {problem}; {remedy}")
    if not head[0].weight.is_meta:
        head.load_state_dict(state)
    return head
