"""C2VKD (also VLFKD): a CNN's last map teaches a transformer's by channels, by relations, by a pool and by logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.config.build import builder
from kdbias.config.errors import ArgumentError
from kdbias.config.kinds import at_least, whole
from kdbias.functional.c2vkd import token_graph
from kdbias.functional.grid import resample_tokens
from kdbias.functional.logits.decoupled import dkd
from kdbias.functional.logits.kl import soft_kl
from kdbias.losses.attention_pool import pool_from_file, random_pool
from kdbias.losses.base import needed
from kdbias.losses.gather import gather as gathered
from kdbias.losses.logits import student_logits, teacher_logits
from kdbias.losses.paired import By, Chosen, PairedTerm, require_tokens
from kdbias.models.features import Features, NetworkInfo

SIDE = 8  # of the largest grid that is compared: 64 tokens an image
LARGEST = 8192  # tokens of a graph over the batch: 268 MB in fp32
LINGUISTIC: dict[str, Any] = {"weight": 0.5, "weights": None, "seed": 0}


@builder("loss")
class C2VKD(PairedTerm):
    """Weighted sum of four parts, each reported: ``global``, ``patch``, ``linguistic`` and ``decoupled``.

    The first three compare one layer of each network, at most 8×8 places on the student's grid; one Linear, trained
    with the student, brings the student's tokens to the teacher's width.

    * ``global``: KL of softmaxes over channels at every place.
    * ``patch``: squared difference of the graphs of the tokens of an image (``relation``), or of tokens (``feature``).
    * ``linguistic``: KL of softmaxes over the channels of one vector an image, from one attention pool that both
      networks share and nothing trains. The paper's pool is pretrained with language. Here it has seeded **random
      weights and no language in it**: it only compares. ``linguistic.weights`` takes real ones, of CLIP's shape.
    * ``decoupled``: DKD of the logits, which needs unmixed images; with weight 0 the term takes mixed ones.

    CE is added to it with weight 1. The official code logs CE and leaves it out of the loss.

    Args:
        weight: Weight of the term.
        global_weight: Weight of the part.
        patch_weight: Weight of the part.
        decoupled_weight: Weight of the part.
        linguistic: ``weight`` of the part, ``weights`` (a file, or None), ``seed`` of random weights.
        patch: ``relation`` or ``feature``.
        over: ``image`` for a graph of each image, ``batch`` for one graph over all, as in the official code.
        reduction: Of both KLs. ``numel`` divides by the number of channels too, as the official code does;
            ``batchmean`` is a mean over places or images.
        alpha: Of DKD, for the target class.
        beta: Of DKD, for the others.
        temperature: Of DKD.
        layers: The student's layer.
        teacher_layers: The teacher's layer.
        by: As ``pair_layers`` describes.
        gather: With ``over=batch``, whether the graph is over the images of all processes.
        allow_misaligned: Accept ``augment.view=clean``.

    Source: Zheng et al., 2023, arXiv:2310.07265.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "logits", "hard_target"})
    aligned: ClassVar[bool] = True
    gather: bool  # only with over=batch: otherwise the term is a mean over images

    def __init__(
        self,
        weight: float | Mapping[str, Any] = 1.0,
        global_weight: float = 0.1,
        patch_weight: float = 0.1,
        decoupled_weight: float = 1.0,
        linguistic: Mapping[str, Any] = LINGUISTIC,
        patch: Literal["relation", "feature"] = "relation",
        over: Literal["image", "batch"] = "image",
        reduction: Literal["batchmean", "numel"] = "numel",
        alpha: float = 0.5,
        beta: float = 0.5,
        temperature: float = 1.0,
        layers: Chosen = "last",
        teacher_layers: Chosen = "last",
        by: By = "depth",
        gather: bool = True,
        allow_misaligned: bool = False,
    ) -> None:
        super().__init__(weight, layers, teacher_layers, by, allow_misaligned)
        self.linguistic = _linguistic(linguistic)
        self.weights = {
            "global": float(global_weight),
            "patch": float(patch_weight),
            "linguistic": float(self.linguistic["weight"]),
            "decoupled": float(decoupled_weight),
        }
        if not any(self.weights[part] for part in ("global", "patch", "linguistic")):
            raise ArgumentError("global_weight", "every part that compares maps has weight 0: use the term dkd instead")
        self.patch, self.over = patch, over
        self.reduction: Literal["batchmean", "numel"] = reduction
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        if over == "batch":
            self.gather = gather
        if not self.weights["decoupled"]:
            self.needs = frozenset({"tokens"})  # type: ignore[misc]  # what this one reads, less than its class may

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Pair the layers, make the projection and the attention pool.

        Raises:
            ValueError: more than one layer a side, or one place to compare, or weights that do not fit.
        """
        super().build(student, teacher, data)
        if len(self.pairs) != 1:
            raise ArgumentError("layers", f"compares one layer of each network, got {len(self.pairs)} pairs: name one")
        (i, j) = self.pairs[0]
        ours, theirs = student.layers[i], needed(teacher, "a teacher").layers[j]
        if self.weights["patch"] and self.patch == "relation":
            require_tokens(student, teacher, self.pairs, 2, "relation", "patch")
        self.grid = min(ours.grid[0], SIDE), min(ours.grid[1], SIDE)
        self.project = nn.Linear(ours.width, theirs.width)
        if self.weights["linguistic"]:
            file, seed = self.linguistic["weights"], self.linguistic["seed"]
            from_file = file is not None
            self.pool = (
                pool_from_file(str(file), theirs.width, self.grid, "linguistic.weights")
                if from_file
                else random_pool(theirs.width, self.grid, seed)
            )

    @property
    def most_images(self) -> int | None:
        """With a graph over the batch, as many as have ``LARGEST`` tokens; known once the term is built."""
        graph = self.patch == "relation" and self.over == "batch" and bool(self.weights["patch"])
        return LARGEST // (self.grid[0] * self.grid[1]) if graph and hasattr(self, "grid") else None

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the weighted sum of the parts, a scalar."""
        teacher, (i, j) = needed(teacher, "a teacher"), self.pairs[0]
        ours = self.project(resample_tokens(student.tokens[i], student.grids[i], self.grid))
        theirs = resample_tokens(teacher.tokens[j], teacher.grids[j], self.grid)
        losses = {}
        if self.weights["global"]:
            losses["global"] = soft_kl(ours.flatten(0, 1), theirs.flatten(0, 1), 1.0, self.reduction)
        if self.weights["patch"]:
            losses["patch"] = self._patch(ours, theirs)
        if self.weights["linguistic"]:
            losses["linguistic"] = soft_kl(self.pool(ours), self.pool(theirs), 1.0, self.reduction)
        if self.weights["decoupled"]:
            logits = student_logits(student), teacher_logits(teacher)
            losses["decoupled"] = dkd(*logits, batch.target, self.alpha, self.beta, self.temperature)
        self.report = {name: loss.detach() for name, loss in losses.items()}
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def _patch(self, ours: Tensor, theirs: Tensor) -> Tensor:
        if self.patch == "feature":
            return F.mse_loss(ours, theirs)
        if self.over == "batch":
            ours, theirs = (self._joined(x) for x in (ours, theirs))
        return F.mse_loss(token_graph(ours), token_graph(theirs))

    def _joined(self, tokens: Tensor) -> Tensor:
        """Give the tokens of all images as those of one."""
        tokens = (gathered(tokens) if self.gather else tokens).flatten(0, 1)[None]
        if tokens.shape[1] > LARGEST:
            raise ArgumentError(
                "over",
                f"batch makes a graph of {tokens.shape[1]:,} tokens, and at most {LARGEST:,} are allowed: set image, "
                "or lower batch_size",
            )
        return tokens


def _linguistic(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(LINGUISTIC))
    if unknown:
        raise ArgumentError(f"linguistic.{unknown[0]}", f"there is no such setting; there are {', '.join(LINGUISTIC)}")
    found = {**LINGUISTIC, **given}
    for key, kind in (("weight", at_least(0)), ("seed", whole(0))):
        if reason := kind.refusal(found[key]):
            raise ArgumentError(f"linguistic.{key}", reason)
    return found
