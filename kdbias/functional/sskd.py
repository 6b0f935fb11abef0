"""Self-supervision knowledge distillation: rotated images, and which upright image each of them comes from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional.logits.kl import check_logits, check_temperature, soft_kl
from kdbias.functional.precision import full_precision, has_float64, without_autocast
from kdbias.functional.unit import unit

VIEWS = 4  # 0, 90, 180 and 270 degrees
NONE = -(2**62)  # no class that an image has: cross-entropy would leave out -100 without a word


def sskd_similarity(features: Tensor, temperature: float | None = None) -> Tensor:
    """Give the cosine similarities ``(3B, B)`` of rotated with upright images, over tau where one is given.

    ``features`` are ``(4B, D)``, interleaved: the rotations by 0, 90, 180 and 270 degrees of the first image, then
    those of the second. Row 3i + j belongs to rotation j + 1 of image i, and its partner is column i. Gradients run
    through both images of a pair; features of length 0 have similarity 0 and no gradient.

    Raises:
        ValueError: not ``(4B, D)``, or ``temperature`` <= 0.

    Source: Xu et al., ECCV 2020, arXiv:2006.07114.

    >>> east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> sskd_similarity(torch.stack([east, east, north, -east, north, north, east, -north]))
    tensor([[ 1.,  0.],
            [ 0.,  1.],
            [-1.,  0.],
            [ 0.,  1.],
            [ 1.,  0.],
            [ 0., -1.]])
    """
    _check_views(features, "features", "D")
    if temperature is not None:
        check_temperature(temperature)
    with without_autocast(features):
        (features,) = full_precision(features)
        direction = unit(features)
        similarity = _rotated(direction) @ _upright(direction).T
        return similarity if temperature is None else similarity / temperature


def sskd_partners(count: int, device: torch.device | None = None) -> Tensor:
    """Give the column ``(3B,)`` of the partner of each row of ``sskd_similarity``, for B = ``count`` images."""
    return torch.arange(count, device=device).repeat_interleave(VIEWS - 1)


@torch.no_grad()
def sskd_keep(scores: Tensor, true: Tensor, ratio: float) -> Tensor:
    """Give the ascending indices ``(k,)`` of the rows to learn from: all right ones and the best of the wrong ones.

    ``scores`` are ``(n, m)``, ``true`` ``(n,)`` holds the true column of each row. A row is right if its true column
    has rank 0; of the wrong ones the floor of ``ratio`` times their number is kept, lowest rank first. Ties go
    to the lower column and to the lower row; the official code sorts without a rule for ties, so that its choice among
    rows of one rank is arbitrary.

    Raises:
        ValueError: shapes, ``true`` not integers in 0..m - 1, or ``ratio`` outside 0..1.

    Source: Xu et al., ECCV 2020, arXiv:2006.07114.

    >>> scores = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.2, 0.9, 0.1]])
    >>> sskd_keep(scores, torch.tensor([0, 0, 0]), ratio=0.5)  # ranks 2, 0 and 1
    tensor([1, 2])
    """
    kept = _kept(scores, true, ratio)
    if bool(((true < 0) | (true >= scores.shape[1])).any()):
        raise ValueError(
            f"the true column must be in 0..{scores.shape[1] - 1}, got {int(true.min())} to {int(true.max())}"
        )
    return kept.nonzero().squeeze(1)


def sskd_parts(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_features: Tensor,
    teacher_features: Tensor,
    target: Tensor,
    ratio_tf: float = 1.0,
    ratio_ss: float = 0.75,
    temperatures: tuple[float, float, float] = (4.0, 4.0, 0.5),
) -> dict[str, Tensor]:
    """Give the four unweighted terms of SSKD, each a scalar >= 0 in nats: ``ce``, ``kd``, ``tf`` and ``ss``.

    * ``ce``: cross-entropy of the student's upright logits with ``target``.
    * ``kd``: tau² KL(teacher ‖ student) of the upright logits, a mean over images.
    * ``tf``: the same of the rotated logits, a mean over the rows that ``sskd_keep`` keeps by the teacher's logits.
    * ``ss``: the same of the rows of similarities, kept by the teacher's similarities.

    Logits are ``(4B, C)``, features (of the contrastive heads) ``(4B, D)``, interleaved as in ``sskd_similarity``;
    the two networks may differ in D. ``target`` ``(B,)`` are classes, not mixtures. ``temperatures`` are those of kd,
    tf and ss. A term that keeps no row is 0. No gradient reaches the teacher.

    Raises:
        ValueError: shapes, soft targets, ratios outside 0..1, or temperatures <= 0.
        IndexError: a class outside 0..C-1 (on a GPU, torch's assertion).

    Source: Xu et al., ECCV 2020, arXiv:2006.07114; the official weights are .1, .9, 2.7 and 10.

    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> parts = sskd_parts(logits, logits, logits, logits, torch.tensor([0]))
    >>> {name: round(term.item(), 4) for name, term in parts.items()}  # ce: log(1 + 1/e)
    {'ce': 0.3133, 'kd': 0.0, 'tf': 0.0, 'ss': 0.0}
    """
    _check_parts(student_logits, teacher_logits, student_features, teacher_features, target)
    tau_kd, tau_tf, tau_ss = temperatures
    teacher_logits, teacher_features = teacher_logits.detach(), teacher_features.detach()
    with without_autocast(student_logits):
        student_logits, teacher_logits = full_precision(student_logits, teacher_logits)
        upright, rotated = _upright(student_logits), _rotated(student_logits)
        of_teacher = _rotated(teacher_logits)
        similar, similar_of_teacher = sskd_similarity(student_features), sskd_similarity(teacher_features)
        kept_tf = _kept(of_teacher, target.repeat_interleave(VIEWS - 1), ratio_tf)
        kept_ss = _kept(similar_of_teacher, sskd_partners(len(target), target.device), ratio_ss)
        return {
            "ce": F.cross_entropy(upright, target, ignore_index=NONE),
            "kd": soft_kl(upright, _upright(teacher_logits), tau_kd),
            "tf": _kl_of_rows(rotated, of_teacher, kept_tf, tau_tf),
            "ss": _kl_of_rows(similar, similar_of_teacher, kept_ss, tau_ss),
        }


@torch.no_grad()
def _kept(scores: Tensor, true: Tensor, ratio: float) -> Tensor:
    """Mark the rows ``(n,)`` that ``sskd_keep`` gives; that way their number decides no shape, and nothing waits."""
    if scores.ndim != 2 or true.shape != scores.shape[:1] or scores.numel() == 0:
        raise ValueError(
            f"expected scores (n, m) and the true column (n,), got {tuple(scores.shape)} and {tuple(true.shape)}"
        )
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio is the share of wrong rows to keep, 0..1, got {ratio}")
    if true.is_floating_point() or true.dtype == torch.bool:
        raise ValueError(f"the true column must be an integer, not {true.dtype}: SSKD takes classes, not mixtures")
    own = scores.gather(1, true[:, None].clamp(0, scores.shape[1] - 1))
    left = torch.arange(scores.shape[1], device=scores.device) < true[:, None]
    rank = ((scores > own) | ((scores == own) & left)).sum(dim=1)
    wrong = rank.count_nonzero()
    kept = len(rank) - wrong + _part(wrong, ratio, len(rank))
    place = torch.arange(len(rank), device=rank.device)
    return torch.empty_like(rank).scatter_(0, rank.argsort(stable=True), place) < kept


def _part(count: Tensor, ratio: float, most: int) -> Tensor:
    """The floor of ``ratio`` times a ``count`` of at most ``most``, in fp64: fp32 would round other counts up."""
    if has_float64(count.device):
        return (count * torch.full_like(count, ratio, dtype=torch.float64)).long()
    return (torch.arange(most + 1) * torch.full((most + 1,), ratio, dtype=torch.float64)).long().to(count.device)[count]


def _kl_of_rows(student: Tensor, teacher: Tensor, kept: Tensor, temperature: float) -> Tensor:
    """The mean over the marked rows: the others answer as the teacher, and are 0 without gradient."""
    mean = soft_kl(torch.where(kept[:, None], student, teacher), teacher, temperature)
    return mean * len(kept) / kept.sum().clamp(min=1)


def _upright(views: Tensor) -> Tensor:
    return views[::VIEWS]


def _rotated(views: Tensor) -> Tensor:
    return views.reshape(-1, VIEWS, views.shape[1])[:, 1:].flatten(0, 1)


def _check_views(views: Tensor, name: str, width: str) -> None:
    if views.ndim != 2 or len(views) % VIEWS or views.numel() == 0:
        raise ValueError(
            f"expected {name} (4B, {width}) of 4 rotations of each of B images, interleaved, got {tuple(views.shape)}"
        )


def _check_parts(logits_s: Tensor, logits_t: Tensor, features_s: Tensor, features_t: Tensor, target: Tensor) -> None:
    check_logits(logits_s, logits_t)
    _check_views(logits_s, "logits", "C")
    for name, features in (("student_features", features_s), ("teacher_features", features_t)):
        _check_views(features, name, "D")
        if len(features) != len(logits_s):
            raise ValueError(f"{name} have {len(features)} rows and the logits {len(logits_s)}: both need 4B")
    if target.shape != (len(logits_s) // VIEWS,):
        raise ValueError(
            f"target must be one class for each of {len(logits_s) // VIEWS} upright images, got {tuple(target.shape)}; "
            "SSKD takes classes, not mixtures: augment.mix_probability=0"
        )
