"""What every loss term shares: its weight, its precision, what it needs; and their weighted sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn

from kdbias.batch import Batch, DataInfo
from kdbias.config.errors import ArgumentError
from kdbias.losses.gather import gather
from kdbias.losses.in_fp32 import in_fp32
from kdbias.losses.schedule import Schedule
from kdbias.losses.teaching import no_teacher
from kdbias.models.features import Features, NetworkInfo

T = TypeVar("T")
Rows = dict[str, Tensor]

READINGS = frozenset({"logits", "pooled", "tokens", "dense", "qkv", "dist"})
"""What a term may need of a network; ``dense`` and ``qkv`` are read only where a term asks for them.

``dist`` are the logits of a DIST head.
"""


def needed(value: T | None, what: str) -> T:
    """Give ``value``, which a term requires.

    Raises:
        ValueError: it is None; the message names ``what`` the term needs.
    """
    if value is None:
        raise ValueError(f"this term needs {what}: choose one, or leave the term out of loss=[...]")
    return value


def logits_lack(name: str, classes: int | None, wanted: int | None) -> str:
    """Say why the logits of the teacher ``name`` cannot be compared, and name the remedy; empty if they can.

    ``classes`` is the number of the teacher's classes, None without a classifier; ``wanted`` is that of the data.
    """
    if classes is None:
        return f"{name} has no classifier: choose one that has"
    return "" if classes == wanted else f"{name} has {classes} classes and the data {wanted}: choose one for this data"


def require_free_names(names: Iterable[str]) -> None:
    """Refuse names of terms that torch cannot use; the parameters of a term are registered under its name.

    Raises:
        ArgumentError: a module has an attribute of that name, or it has a dot.
    """
    for name in names:
        if hasattr(nn.ModuleDict, name) or "." in name or not name:
            raise ArgumentError(name, "a term cannot have this name, which torch uses itself: rename it", of="loss")


class LossTerm(nn.Module):
    """A term of the training loss: a mean over the images of a batch, as a function of student, teacher and labels.

    A subclass implements ``forward``, lists in ``needs`` what it requires, and makes projections in ``build``.
    ``needs`` may hold ``logits``, ``pooled``, ``tokens``, ``dense``, ``qkv``, ``dist`` (of the teacher) and
    ``hard_target`` (of the data: no MixUp). ``student_needs`` may hold the same outputs of the student.
    ``dense_logits`` and ``qkv`` are computed only if a term lists them. Calling the term passes fp32 features with
    autocast off; the teacher's features carry no gradient. This happens once, here.

    A term may have a state (a memory bank, a constant estimated once): buffers made in ``build``, which only ``update``
    changes. ``forward`` reads them. It stores in ``pending``, under keys of its own, what this batch adds to the state:
    a row for each image. After the optimiser step ``update`` gets the rows of the whole step. The state is therefore
    the same in every process, and all batches of one step see the state from before the step.

    ``forward`` stores in ``report`` detached scalars that are logged with the loss, under short keys. A term of several
    layers stores one scalar for each, under the name of the student layer. ``report`` is empty when ``forward`` begins.

    ``aligned`` says that the term compares student and teacher place by place, so both must see the same geometry.
    ``allow_misaligned`` accepts the view ``clean`` for the term nevertheless.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    student_needs: ClassVar[frozenset[str]] = frozenset()
    aligned: ClassVar[bool] = False
    allow_misaligned: bool = False
    report: dict[str, Tensor]
    pending: Rows

    def __init__(self, weight: float | Mapping[str, Any] = 1.0) -> None:
        super().__init__()
        self.schedule = Schedule.of(weight)
        self.report, self.pending = {}, {}

    @property
    def hard(self) -> bool:
        """Whether the term needs one class for each image and so excludes MixUp and CutMix."""
        return "hard_target" in self.needs

    @property
    def positional(self) -> bool:
        """Whether this term, with its settings, compares place by place; ``aligned`` unless a setting decides it."""
        return self.aligned

    @property
    def remembers(self) -> bool:
        """Whether this term, with its settings, has a state; a term that implements ``update`` has."""
        return type(self).update is not LossTerm.update

    @property
    def most_images(self) -> int | None:
        """The most images that it can compare with one another; None for any number."""
        return None

    @property
    def least_images(self) -> int:
        """The least number of images that this term, once built, can compare; 1 for a mean over images.

        A term that compares images has more, and counts those of all processes if its ``gather`` is true.
        """
        return 1

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Make what depends on the networks (projections), before the optimiser and DDP see the module."""

    def take_classes(self, classes: Tensor) -> None:
        """Take the class of every training image, ``(n,)`` int64, at its ``Batch.index``: once, before training.

        A term that compares a batch with other training images keeps them. They are data, not state: no buffer.
        """

    def forward(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Give the unweighted loss, a scalar fp32."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward")

    def update(self, rows: Rows) -> None:
        """Add to the state what ``forward`` left ``pending``: the rows of all images of one optimiser step.

        The rows carry no gradient. They come from all processes and accumulated batches, in the same order in every
        process. ``update`` is called once after each step, unless the term was not computed in it. The new state may
        depend only on the rows and the old state.
        """
        raise NotImplementedError(f"{type(self).__name__} leaves rows pending and must implement update")

    def __call__(self, student: Features, teacher: Features | None, batch: Batch, progress: float) -> Tensor:
        """Run ``forward`` in fp32, with ``report`` and ``pending`` empty.

        Raises:
            ValueError: ``pending`` does not hold one row for each image.
        """
        self.report, self.pending = {}, {}
        with torch.autocast(student.pooled.device.type, enabled=False):
            teacher = None if teacher is None else in_fp32(teacher, detach=True)
            loss = cast(Tensor, super().__call__(in_fp32(student), teacher, batch, progress))
        for key, rows in self.pending.items():
            if rows.ndim == 0 or len(rows) != len(batch.image):
                raise ValueError(
                    f"{type(self).__name__}: pending[{key!r}] needs a row for each of the {len(batch.image)} images, "
                    f"got {tuple(rows.shape)}"
                )
        return loss


class Total(nn.Module):
    """The weighted sum of the terms that a config names; a term whose weight is 0 at this progress is not computed."""

    def __init__(self, terms: Mapping[str, LossTerm]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("no loss: name at least one term, as in loss=[ce,kl]")
        require_free_names(terms)
        self.terms = nn.ModuleDict(terms)
        self._pending: dict[int, dict[str, Rows]] = {}  # by batch, then by term
        for name, term in self.named_terms():
            unknown = sorted((term.needs - READINGS - {"hard_target"}) | (term.student_needs - READINGS))
            if unknown:
                raise ValueError(f"loss.{name} needs {', '.join(unknown)}; there are {', '.join(sorted(READINGS))}")

    @property
    def needs(self) -> frozenset[str]:
        """What any of the terms needs."""
        return frozenset().union(*(term.needs for _, term in self.named_terms()))

    @property
    def student_needs(self) -> frozenset[str]:
        """What any of the terms needs of the student."""
        return frozenset().union(*(term.student_needs for _, term in self.named_terms()))

    def named_terms(self) -> Iterator[tuple[str, LossTerm]]:
        """Give the terms with their names, in the order of the config."""
        for name, term in self.terms.items():
            yield name, cast(LossTerm, term)

    def build(self, student: NetworkInfo, teacher: NetworkInfo | None, data: DataInfo) -> None:
        """Build every term.

        Raises:
            ValueError: a term needs a teacher and there is none, or a term compares logits and teacher or student has
                none for these classes.
        """
        for name, term in self.named_terms():
            wanted = sorted(term.needs - {"hard_target"})
            if wanted and teacher is None:
                raise ArgumentError(name, no_teacher(name, wanted), of="loss")
            if teacher is not None and {"logits", "dense"} & set(wanted):
                wrong = logits_lack("the teacher", teacher.classes, student.classes or data.classes)
                if not wrong and student.classes is None:
                    wrong = "the student has no classifier: choose another model=..."
                if wrong:
                    raise ArgumentError(name, f"compares logits, but {wrong}, or leave {name} out", of="loss")
            term.build(student, teacher, data)

    def take_classes(self, classes: Tensor) -> None:
        """Give the class of every training image, ``(n,)`` int64, at its ``Batch.index``, to every term."""
        for _, term in self.named_terms():
            term.take_classes(classes)

    def weights(self, progress: float) -> dict[str, float]:
        """Give the weight of every term at ``progress`` (0..1)."""
        return {name: term.schedule(progress) for name, term in self.named_terms()}

    def forward(
        self, student: Features, teacher: Features | None, batch: Batch, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the weighted total and the parts that were computed, unweighted and detached.

        The scalars that the terms report follow the parts, as ``<term>/<key>``; the total does not include them.
        """
        weights = self.weights(progress)
        parts = {
            name: term(student, teacher, batch, progress) for name, term in self.named_terms() if weights[name] != 0.0
        }
        total = sum((weights[name] * part for name, part in parts.items()), start=student.pooled.new_zeros(()).float())
        resting = [term for name, term in self.named_terms() if name not in parts]
        reports = {f"{name}/{key}": value for name in parts for key, value in self._term(name).report.items()}
        return total + _no_gradient(student, resting), {name: part.detach() for name, part in parts.items()} | reports

    def hold(self, batch: int) -> None:
        """Hold the pending rows of batch number ``batch`` until the step; a second call for a batch replaces them."""
        rests = {name: term.pending for name, term in self.named_terms() if term.pending}
        self._pending[batch] = {name: {key: row.detach() for key, row in left.items()} for name, left in rests.items()}
        for _, term in self.named_terms():
            term.pending = {}

    @torch.no_grad()
    def update(self) -> None:
        """After an optimiser step, pass to every term that was computed its rows of the step from all processes."""
        held, self._pending = list(self._pending.values()), {}
        for name, term in self.named_terms():
            batches = [left[name] for left in held if name in left]
            if batches:
                term.update({key: torch.cat([gather(left[key]) for left in batches]) for key in batches[0]})

    def _term(self, name: str) -> LossTerm:
        return cast(LossTerm, self.terms[name])


def _no_gradient(student: Features, terms: list[LossTerm]) -> Tensor:
    """Give 0, with a gradient of 0 for every parameter that perhaps no term of this step trains.

    These are the parameters of ``terms`` that are not computed, and the student's outputs: its heads get no other
    gradient if terms read only tokens. DDP raises an error at a parameter without gradient, and one process must
    behave as two do.
    """
    outputs = (student.pooled, student.class_logits, student.distill_logits, student.dense_logits)
    given = [output.float() for output in outputs if output is not None]
    parameters = [p for term in terms for p in term.parameters() if p.requires_grad]
    zero = torch.zeros((), device=student.pooled.device)
    return sum((0.0 * t.sum() for t in [*given, *parameters]), start=zero)
