"""Training without labels: a method compares the network's features of two views of every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import build
from kdbias.data.ssl_views import TwoViews
from kdbias.functional.collapse import effective_rank, feature_std
from kdbias.models.features import Features
from kdbias.models.teacher import Teacher
from kdbias.modules.base import StudentModule
from kdbias.modules.ssl_watch import CollapseWatch

Read = Literal["pooled", "tokens"]


class Comparison(NamedTuple):
    """The result of comparing two views: the loss, further values to log, and the features that were compared.

    ``parts`` are detached scalars. The signs of collapse are computed from ``features`` ``(n, D)``. ``signs`` are
    further signs that the method computes itself.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    features: Tensor
    signs: dict[str, Tensor]


class SelfSupervised(StudentModule):
    """Train ``student`` without labels; a method implements ``compare``.

    The signs of collapse are logged as ``collapse/<sign>``. A run that has collapsed reports it and stops; ``stopped``
    holds the reason.

    Args:
        spec: as for every module; the student has no classifier.
        teacher: None; this training produces teachers.
        views: the node of a ``TwoViews``; the views are made from the images that ``augment`` returns.
        collapse: the node of a ``CollapseWatch``.
        features: what is compared: ``pooled``, or the mean of the last layer's patch ``tokens``. With ``pooled`` a ViT
            learns through its CLS token: the patch tokens of its last block do not enter the loss.

    Raises:
        ValueError: the student has a classifier, there is a teacher, or an argument is out of range; the message names
            the argument.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        teacher: Teacher | None,
        *,
        views: Mapping[str, Any],
        collapse: Mapping[str, Any],
        features: Read,
    ) -> None:
        super().__init__(spec)
        if teacher is not None:
            raise ValueError(f"teacher: {takes_no_teacher(type(self))}")
        if self.student.info.classes is not None:
            raise ValueError(f"model.classes: {trains_no_classifier(type(self))}")
        self.views: TwoViews = build(views, group="views")
        self.watch: CollapseWatch = build(collapse, group="collapse")
        self.read: Read = features

    @property
    def width(self) -> int:
        """Width of the features that are compared."""
        info = self.student.info
        return info.width if self.read == "pooled" else info.layers[-1].width

    def compare(self, one: Tensor, two: Tensor) -> Comparison:
        """Compare two views ``(B, C, size, size)`` of the same images."""
        raise NotImplementedError(f"{type(self).__name__} must implement compare")

    def chosen(self, features: Features) -> Tensor:
        """Give the features ``(B, D)`` that are compared."""
        if self.read == "pooled":
            return features.pooled
        # DDP raises an error at a parameter without gradient, such as those of the norm after the last layer
        return features.tokens[-1].mean(1) + 0.0 * features.pooled.sum()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss on two views of one batch."""
        found = self.compare(*self.two_views(batch.image, batch_idx))
        self.record(found.loss, found.parts)
        if self.logs_step(batch_idx):
            self.log_step(found.loss, found.parts, len(batch.image))
            self._look(found, len(batch.image))
        return found.loss

    def seen(self, image: Tensor, step: int) -> Tensor:
        """Give both views ``(2B, C, size, size)`` of ``image``."""
        return torch.cat(self.two_views(image, step))

    def two_views(self, image: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Make two views of ``image`` ``(B, C, H, W)``, drawn for the global batch and sliced by process."""
        first = self.global_rank * len(image)
        draws = self.views.draw(self.trainer.world_size * len(image), int(self.spec["seed"]), self.current_epoch, step)
        one, two = (self.views.view(image, draw.take(slice(first, first + len(image)))) for draw in draws)
        return one, two

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Do nothing: only the callback ``knn`` uses labels."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save for how long signs have been seen."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["collapse"] = self.watch.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore for how long signs have been seen."""
        super().on_load_checkpoint(checkpoint)
        self.watch.load_state_dict(checkpoint.get("collapse", {}))

    @torch.no_grad()
    def _look(self, found: Comparison, size: int) -> None:
        """Log the signs of collapse, as means over processes, and stop the run if they persist."""
        features = found.features.detach()
        signs = {"rank": effective_rank(features), "std": feature_std(features), **found.signs}
        means = self.trainer.strategy.reduce(torch.stack([sign.float() for sign in signs.values()]), reduce_op="mean")
        values = dict(zip(signs, means.tolist(), strict=True))
        self.log_dict({f"collapse/{name}": value for name, value in values.items()}, batch_size=size)
        reason = self.watch.see(self.progress, values)
        if reason is not None and self.stopped is None:
            self.stopped = reason
            self.trainer.should_stop = True
            _say(reason)


def takes_no_teacher(kind: type[StudentModule]) -> str:
    """Say that a method takes no teacher, and name the remedy."""
    return f"{kind.__name__} learns without one: set teacher=none"


def trains_no_classifier(kind: type[StudentModule], remedy: str = "set it to null") -> str:
    """Say that a method trains no classifier, with the remedy for ``model.classes`` or another one."""
    return f"{kind.__name__} trains no classifier: {remedy}"


@rank_zero_only
def _say(reason: str) -> None:
    print(f"stopped: {reason}", flush=True)
