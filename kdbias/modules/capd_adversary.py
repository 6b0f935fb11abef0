"""The adversary of CAPD: it tells a teacher's features from a student's, and the student learns to deceive it."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from kdbias.config.errors import ArgumentError

Adversary = Literal["mlp", "patchgan", "none"]
SMALLEST = 24  # positions whose map of attention leaves the PatchGAN's last norm more than one number


class TokenMLP(nn.Sequential):
    """Three linear layers that score each token: ``(B, N, D)`` to ``(B, N, 1)``.

    Source: Liu et al., ACCV 2022, arXiv:2207.05273, section 3.3.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )


class MapPatchGAN(nn.Sequential):
    """Convolutions that score places of a map of attention: ``(B, N, N)`` to ``(B, 1, h, w)``.

    The norms take each image by itself (in the official code they take the batch), so the score of an image depends on
    it alone, in any number of processes.

    Source: Isola et al., CVPR 2017, arXiv:1611.07004; sizes of the official code of Liu et al. (8 filters, 3 layers).
    """

    def __init__(self, filters: int = 8) -> None:
        widths = (filters, 2 * filters, 4 * filters, 8 * filters)
        layers: list[nn.Module] = [nn.Conv2d(1, filters, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
            convolution = nn.Conv2d(inputs, outputs, 4, stride, 1)
            layers += [convolution, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, attention: Tensor) -> Tensor:
        """Score the places of maps ``(B, N, N)``."""
        scores = attention[:, None]
        for layer in self:
            scores = layer(scores)
        return scores


def adversary(kind: Adversary, width: int, hidden: int, positions: int) -> nn.Module | None:
    """Make the adversary: ``mlp`` on tokens of ``width``, ``patchgan`` on maps of ``positions``, or None.

    Raises:
        ArgumentError: an unknown kind, or too few positions for ``patchgan``.
    """
    if kind not in get_args(Adversary):
        raise ArgumentError("adversary", f"must be one of {', '.join(get_args(Adversary))}, got {kind!r}")
    if kind == "none":
        return None
    if kind == "mlp":
        return TokenMLP(width, hidden)
    if positions < SMALLEST:
        text = f"patchgan needs {SMALLEST} positions to compare and there are {positions}: set mlp or none"
        raise ArgumentError("adversary", text)
    return MapPatchGAN()


def adversary_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Give the adversary's loss: mean binary cross-entropy of its scores, logits of "the teacher's", ``(...)``.

    The scores are of the teacher's features (``real``) and of the student's, detached (``fake``). It is ln 2 for an
    adversary that cannot tell them apart.

    Source: Goodfellow et al., NeurIPS 2014, arXiv:1406.2661.
    """
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def deceiving_loss(fake: Tensor) -> Tensor:
    """Give the student's loss: -log of the probability that the adversary takes its features for the teacher's.

    This is the non-saturating form: its gradient is largest where the adversary is sure.

    Source: Goodfellow et al., NeurIPS 2014, arXiv:1406.2661, section 3.
    """
    return F.softplus(-fake).mean()
