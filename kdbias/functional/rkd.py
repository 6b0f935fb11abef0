"""Relations between images: their distances, and the angles of their triples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kdbias.functional.precision import full_precision, without_autocast
from kdbias.functional.unit import unit

EPS = 1e-12  # the least squared distance, as published
LARGEST = 2**24  # numbers in one tensor of the angles; more are computed in parts, and again for the gradient


def rkd(student: Tensor, teacher: Tensor, distance: float = 25.0, angle: float = 50.0, squared: bool = False) -> Tensor:
    """Give distance · H(d_s, d_t) + angle · H(a_s, a_t), H the Huber loss (δ = 1), a mean over pairs or triples.

    ``student`` ``(B, D)`` and ``teacher`` ``(B, D')`` are features of the same images; widths may differ. d are the
    distances of all pairs, divided by their mean (``squared``: the squared ones); a are the cosines of the angles at
    each image between the directions to two others. Means are over all B² and B³, those of an image with itself
    included, as published. The result is a scalar, 0 where one set of features is the other, turned, moved and scaled,
    as long as they are further apart than 1e-6. A part with weight 0 is not computed.

    Time grows with B³. Memory does not: the angles are computed in parts, no tensor of them larger than ``LARGEST``
    numbers or those of one image, B · max(B, D, D').

    Raises:
        ValueError: not ``(B, D)`` of equally many images, or fewer than 3 of them: two have nothing to compare.

    Source: Park et al., CVPR 2019, arXiv:1904.05068.

    >>> x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> round(rkd(2 * x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 5, x).item(), 6), round(rkd(x[:, :1], x).item(), 2)
    (0.0, 7.85)
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            "expected student and teacher features (B, D) of the same images, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if len(student) < 3:
        raise ValueError(f"rkd compares distances and angles, and needs 3 images or more, got {len(student)}")
    with without_autocast(student):
        student, teacher = (x - x.mean(dim=0) for x in full_precision(student, teacher))  # products cancel less
        found = student.new_zeros(())
        if distance:
            found = found + distance * F.smooth_l1_loss(_distances(student, squared), _distances(teacher, squared))
        if angle:
            found = found + angle * _angle_loss(student, teacher)
        return found


def _distances(x: Tensor, squared: bool) -> Tensor:
    """The distances ``(B, B)`` of vectors ``(B, D)``, divided by the mean of those between two of them."""
    products = x @ x.T
    lengths = products.diagonal()
    found = (lengths[:, None] + lengths - 2 * products).clamp_min(EPS)
    others = 1 - torch.eye(len(x), dtype=x.dtype, device=x.device)
    found = (found if squared else found.sqrt()) * others
    return found / (found.sum() / others.sum())


def _angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean Huber loss of the cosines at all images."""
    count = len(student)
    size = max(1, LARGEST // (count * max(count, student.shape[1], teacher.shape[1])))
    if size >= count:
        return _at(student, teacher, student, teacher) / count**3
    total = student.new_zeros(())
    for begin in range(0, count, size):
        some = slice(begin, begin + size)
        total = total + checkpoint(
            _at, student[some], teacher[some], student, teacher, use_reentrant=False, preserve_rng_state=False
        )
    return total / count**3


def _at(here: Tensor, there: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """The sum of the Huber loss of the cosines at some images, ``here`` the student's features and ``there`` others."""
    return F.smooth_l1_loss(_cosines(here, student), _cosines(there, teacher), reduction="sum")


def _cosines(at: Tensor, x: Tensor) -> Tensor:
    """The cosines ``(c, B, B)`` between the directions from ``at``, ``(c, D)``, to ``x``, ``(B, D)``."""
    directions = unit(x - at[:, None])
    return directions @ directions.mT
