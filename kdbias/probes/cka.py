"""Which layers represent images alike, within one network or between two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

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

    A sample is an image's mean patch token, its CLS token (``tokens="cls"``) or all its patch tokens in a row
    (``"flat"``, which also asks where in the image something is). ``other``, an ``Extractor`` or a ``Teacher``, reads
    the teacher's view, and the layers that it was made to read; ``other_name`` is what figures call it.

    The linear kernel of mean and CLS tokens is exact over all ``n`` images in one pass, in sums over batches. The
    Gaussian kernel ``rbf``, with ``scale`` times the median distance as its width, and flat tokens take the average
    over minibatches of ``batch`` images (``MinibatchCKA``), which stands as ``batch`` in ``meta``.

    A call takes all images in one process. Where each of several processes has a share, let an ``observer`` see it in
    each and sum what they hold before its ``result``: ``observer.sums = observer.sums.reduced()``. All then have the
    same Result, or the same error. What is exact in one process is as exact so; an average over minibatches is that
    over the minibatches of all, each process leaving out a rest of its own of fewer than 4 images.

    Arrays: ``cka``, ``(L, L)`` or ``(L, L')``; ``depth`` and ``other_depth``, of each layer in 0..1; ``nearest``, the
    other network's layer of nearest depth for each. Scalars within a network: ``first_last``, ``middle_last``,
    ``diversity`` (1 − mean off-diagonal); between two: ``alignment``, the mean over layers of the CKA with the nearest
    one, and ``first_last``, ``last_last``.

    Source: Kornblith et al. 2019 (1905.00414), Nguyen et al. 2021 (2010.15327); Davari et al. 2023 (2210.16156) for
    what CKA does not show.
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

    def __post_init__(self) -> None:
        for key, value, known in (("tokens", self.tokens, get_args(Tokens)), ("kernel", self.kernel, get_args(Kernel))):
            if value not in known:
                raise ValueError(f"probe.{self.name}.{key} must be one of {', '.join(known)}, got {value!r}")
        if self.batch < 4 or not self.scale > 0:
            raise ValueError(f"probe.{self.name} needs batch >= 4 and scale > 0, got {self.batch} and {self.scale}")

    @property
    def exact(self) -> bool:
        """Whether all images are compared with each other, not those of a minibatch."""
        return self.kernel == "linear" and self.tokens != "flat"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it is refused, there are too few images, or a layer answers every image alike.
        """
        return observe(network, batches, {self.name: self})[self.name]

    def refuses(self, network: Extractor) -> str:
        """Say why CKA is not defined for ``network``; empty if it is defined."""
        if self.tokens != "cls" or (network.info.prefix and (self.other is None or self.other.info.prefix)):
            return ""
        return "CKAProbe(tokens='cls'): the network has no CLS token; use tokens='mean'"

    def observer(self, reader: Extractor) -> CKASums:
        """Begin to observe ``reader``.

        Raises:
            ValueError: it is refused.
        """
        if reason := self.refuses(reader):
            raise ValueError(reason)
        chosen = reader.survey.select(self.layers)
        return CKASums(self, chosen, tuple(reader.info.layers[layer] for layer in chosen))

    def samples(self, features: Features) -> list[Tensor]:
        """Give what an image is to CKA in each layer, ``(B, D)``."""
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
    """Make the probe of a network's layers against those of its teacher, that it was made to read."""
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
        """Add a batch, which the other network reads here."""
        theirs = None if self.probe.other is None else self._theirs(self.probe.other, batch)
        own = self.probe.samples(features)
        self.sums.update([own[layer] for layer in self.chosen], theirs)

    def attention(self, layer: int, maps: Tensor) -> None:
        """Want no maps."""

    def result(self) -> Result:
        """Give what was measured."""
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
        """Call layers for which CKA is undefined by their names, and say how to go on without them."""
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
        # A Teacher is no module and is in eval mode by itself.
        state = evaluation(other, precision) if isinstance(other, nn.Module) else nullcontext()
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"), state:
            return self.probe.samples(other(image))


def within(cka: npt.NDArray[np.float64]) -> dict[str, float]:
    """Summarise the ``(L, L)`` CKA of a network with itself; the middle layer is the lower one of two (5 of 0..11)."""
    layers = len(cka)
    scalars = {"first_last": float(cka[0, -1]), "middle_last": float(cka[(layers - 1) // 2, -1])}
    if layers > 1:
        scalars["diversity"] = 1 - float(cka[~np.eye(layers, dtype=bool)].mean())
    return scalars


def nearest(depth: npt.NDArray[np.float64], other_depth: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Give, for each layer, the number of the other network's layer of nearest depth (of two, the earlier one).

    Depths are ``(L,)`` and ``(L',)`` in 0..1, the numbers ``(L,)`` from 0.
    """
    gaps: npt.NDArray[np.float64] = np.abs(depth[:, None] - other_depth[None, :]).round(9)
    found: npt.NDArray[np.int64] = gaps.argmin(1)
    return found


def between(
    cka: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], other_depth: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Summarise the ``(L, L')`` CKA of two networks; on a square of equal depths ``alignment`` is the mean diagonal."""
    return {
        "alignment": float(cka[np.arange(len(depth)), nearest(depth, other_depth)].mean()),
        "first_last": float(cka[0, -1]),
        "last_last": float(cka[-1, -1]),
    }


def _depths(layers: Sequence[Layer]) -> npt.NDArray[np.float64]:
    return np.array([layer.depth for layer in layers])
