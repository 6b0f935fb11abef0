"""How similarly layers represent images, within one network or between two: CKA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional import StreamingCKA
from kdbias.functional.cka.batched import Kernel
from kdbias.functional.cka.minibatch import MinibatchCKA
from kdbias.functional.cka.structure import NoStructure
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor, Features, Layer
from kdbias.models.teacher import Teacher
from kdbias.probes.base import Reader, Result
from kdbias.probes.observe import PassProbe, observe

Tokens = Literal["mean", "cls", "flat"]


@builder("probe")
@dataclass(frozen=True)
class CKAProbe(PassProbe):
    """Debiased CKA between the ``layers`` of a network, or between these and those of ``other``.

    A sample is the mean patch token of an image, its CLS token (``tokens="cls"``) or all its patch tokens concatenated
    (``"flat"``, which also depends on where in the image something is). ``other`` is an ``Extractor`` or a ``Teacher``.
    It reads the teacher's view and gives the layers that it was built to read. ``other_name`` is its name in figures.

    With the linear kernel, the CKA of mean and CLS tokens is exact over all ``n`` images: one pass sums over batches.
    The Gaussian kernel ``rbf``, of width ``scale`` times the median distance, and flat tokens use the average over
    minibatches of ``batch`` images (``MinibatchCKA``); ``meta`` states ``batch``.

    A call reads all images in one process. If several processes share the images, let an ``observer`` see the share of
    each, and add up before ``result``: ``observer.sums = observer.sums.reduced()``. All processes then have the same
    Result, or the same error. A value that is exact in one process is exact here too. A minibatch average is that over
    the minibatches of all processes; each process leaves out an incomplete last one of fewer than 4 images.

    Arrays: ``cka``, ``(L, L)`` or ``(L, L')``; ``depth`` and ``other_depth``, of each layer in 0..1; ``nearest``, for
    each layer the other network's layer of nearest depth. Scalars within a network: ``first_last``, ``middle_last``,
    ``diversity`` (1 − mean off-diagonal). Scalars between two: ``alignment``, the mean over layers of the CKA with the
    nearest layer, ``first_last`` and ``last_last``.

    Source: Kornblith et al. 2019 (1905.00414), Nguyen et al. 2021 (2010.15327); Davari et al. 2023 (2210.16156) on
    what CKA does not show.

    Raises:
        ValueError: ``tokens`` or ``kernel`` is unknown, ``batch`` is below 4, or ``scale`` is not above 0.
    """

    judges_answers: ClassVar[bool] = False
    least: ClassVar[int] = 4

    other: Reader | None = None
    tokens: Tokens = "mean"
    kernel: Kernel = "linear"
    scale: float = 1.0
    batch: int = 256
    precision: Precision = "fp32"
    name: str = "cka"
    other_name: str = "other network"
    layers: Sequence[int] | Literal["all"] = "all"

    @property
    def exact(self) -> bool:
        """Whether the value is that over all images, not an average over minibatches."""
        return self.kernel == "linear" and self.tokens != "flat"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: CKA is not defined for it, there are too few images, or a layer gives every image the same
                features.
        """
        return observe(network, batches, {self.name: self})[self.name]

    def refuses(self, network: Extractor) -> str:
        """Say why CKA is not defined for ``network``; empty if it is defined."""
        if self.tokens != "cls" or (network.info.has_cls and (self.other is None or self.other.info.has_cls)):
            return ""
        return "CKAProbe(tokens='cls'): the network has no CLS token; use tokens='mean'"

    def observer(self, reader: Extractor) -> CKASums:
        """Begin to observe ``reader``.

        Raises:
            ValueError: CKA is not defined for it.
        """
        if reason := self.refuses(reader):
            raise ValueError(reason)
        chosen = reader.survey.select(self.layers)
        return CKASums(self, chosen, tuple(reader.info.layers[layer] for layer in chosen))

    def samples(self, features: Features) -> list[Tensor]:
        """Give the samples of CKA in each layer, ``(B, D)``."""
        if self.tokens == "cls":
            return [prefix[:, 0] for prefix in features.prefix]
        if self.tokens == "flat":
            return [tokens.flatten(1) for tokens in features.tokens]
        return [tokens.float().mean(1) for tokens in features.tokens]


@builder("probe")
def teacher_cka(
    teacher: Teacher,
    tokens: Tokens = "mean",
    kernel: Kernel = "linear",
    scale: float = 1.0,
    batch: int = 256,
    precision: Precision = "fp32",
    layers: Sequence[int] | Literal["all"] = "all",
) -> CKAProbe:
    """Build the probe that compares a network's layers with those that its teacher was built to read."""
    return CKAProbe(teacher, tokens, kernel, scale, batch, precision, "cka_teacher", teacher.name, layers)


@dataclass
class CKASums:
    """Sums over the images of one pass."""

    maps: ClassVar[bool] = False

    probe: CKAProbe
    chosen: tuple[int, ...]
    layers: tuple[Layer, ...]
    sums: StreamingCKA | MinibatchCKA = field(init=False)

    def __post_init__(self) -> None:
        probe = self.probe
        self.sums = StreamingCKA() if probe.exact else MinibatchCKA(probe.kernel, probe.batch, probe.scale)

    def see(self, batch: Batch, features: Features) -> None:
        """Add a batch; the other network reads it here."""
        theirs = None if self.probe.other is None else self._theirs(self.probe.other, batch)
        own = self.probe.samples(features)
        self.sums.update([own[layer] for layer in self.chosen], theirs)

    def attention(self, layer: int, maps: Tensor) -> None:
        """Do nothing: CKA needs no attention maps."""

    def result(self) -> Result:
        """Give the CKA over all images seen.

        Raises:
            ValueError: there were too few images, or a layer gives every image the same features.
        """
        probe = self.probe
        with self._named():
            cka = self.sums.compute().cpu().numpy()
        meta: dict[str, Any] = {"n": self.sums.n, "tokens": probe.tokens, "kernel": probe.kernel}
        meta |= {"precision": probe.precision, "estimator": "debiased", "batch": None if probe.exact else probe.batch}
        if probe.kernel == "rbf":
            meta["scale"] = probe.scale
        depth = _depths(self.layers)
        if probe.other is None:
            return Result(probe.name, within(cka), {"cka": cka, "depth": depth}, meta)
        other_depth = _depths(probe.other.info.layers)
        arrays = {"cka": cka, "depth": depth, "other_depth": other_depth, "nearest": nearest(depth, other_depth)}
        return Result(probe.name, between(cka, depth, other_depth), arrays, meta | {"other": probe.other_name})

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the layers for which CKA is undefined, and the setting that leaves them out."""
        try:
            yield
        except NoStructure as error:
            other = self.probe.other
            if error.side and other is not None:
                names = ", ".join(other.info.layers[place].name for place in error.layers)
                raise ValueError(
                    f"{self.probe.other_name} answers every image alike in {names}: {error.why}"
                ) from error
            names = ", ".join(f"layer {self.chosen[place]} ({self.layers[place].name})" for place in error.layers)
            left = ",".join(str(layer) for place, layer in enumerate(self.chosen) if place not in error.layers)
            remedy = f"leave it out by probe.{self.probe.name}.layers=[{left}]" if left else "there is no other layer"
            raise ValueError(f"{names} answers every image alike, so it has no CKA; {remedy} ({error.why})") from error

    def _theirs(self, other: Reader, batch: Batch) -> list[Tensor]:
        image, precision = batch.teacher_image, self.probe.precision
        # A Teacher is not a module, and sets eval mode itself.
        state = evaluation(other, precision) if isinstance(other, nn.Module) else nullcontext()
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"), state:
            return self.probe.samples(other(image))


def within(cka: npt.NDArray[np.float64]) -> dict[str, float]:
    """Summarise the ``(L, L)`` CKA of a network with itself; of two middle layers the lower one counts (5 of 0..11)."""
    layers = len(cka)
    scalars = {"first_last": float(cka[0, -1]), "middle_last": float(cka[(layers - 1) // 2, -1])}
    if layers > 1:
        scalars["diversity"] = 1 - float(cka[~np.eye(layers, dtype=bool)].mean())
    return scalars


def nearest(depth: npt.NDArray[np.float64], other_depth: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Give, for each layer, the number of the other network's layer of nearest depth; in a tie, of the earlier one.

    Depths are ``(L,)`` and ``(L',)`` in 0..1, the numbers ``(L,)`` from 0.
    """
    gaps: npt.NDArray[np.float64] = np.abs(depth[:, None] - other_depth[None, :]).round(9)
    found: npt.NDArray[np.int64] = gaps.argmin(1)
    return found


def between(
    cka: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], other_depth: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Summarise the ``(L, L')`` CKA of two networks; with equal depths, ``alignment`` is the mean of the diagonal."""
    return {
        "alignment": float(cka[np.arange(len(depth)), nearest(depth, other_depth)].mean()),
        "first_last": float(cka[0, -1]),
        "last_last": float(cka[-1, -1]),
    }


def _depths(layers: Sequence[Layer]) -> npt.NDArray[np.float64]:
    return np.array([layer.depth for layer in layers])
