"""One pass over the images for several probes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from torch import Tensor

from kdbias.batch import Batch
from kdbias.functional.precision import without_autocast
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor, Features
from kdbias.probes.attention_maps import attention_maps
from kdbias.probes.base import Probe, Result


class Observer(Protocol):
    """What collects a probe's numbers during one pass; it lives as long as the pass."""

    @property
    def maps(self) -> bool:
        """Whether it wants attention maps; then the network takes its explicit attention path."""
        ...

    def see(self, batch: Batch, features: Features) -> None:
        """Take what the network gives for one batch, all layers read; gradients and autocast are off."""
        ...

    def attention(self, layer: int, maps: Tensor) -> None:
        """Take one layer's attention ``(B, H, T, T)`` of the batch that is seen next, if ``maps``.

        It is called inside the forward pass, under its precision; the map must not be changed.
        """
        ...

    def result(self) -> Result:
        """Give what was measured, once all batches are seen."""
        ...


class PassProbe(Probe):
    """A probe whose numbers come from forward passes over clean images alone, which it shares with others."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of its Results."""

    @property
    @abstractmethod
    def precision(self) -> Precision:
        """Precision of the forward passes."""

    @abstractmethod
    def observer(self, reader: Extractor) -> Observer:
        """Begin to observe ``reader``, which is in eval mode and reads all layers.

        Raises:
            ValueError: the probe is not defined for this network.
        """

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it is refused, or there are no images.
        """
        return observe(network, batches, {self.name: self})[self.name]


def observe(network: Extractor, batches: Iterable[Batch], probes: Mapping[str, PassProbe]) -> dict[str, Result]:
    """Measure ``network`` by several probes in one pass, one forward pass a batch; give their Results by the same keys.

    Each Result is that of the probe alone (with maps asked for by another, up to the rounding between the attention
    paths). Modes, attention paths, hooks and gradients are restored, also after an error. A compiled network is read
    without its compiled code.

    Raises:
        ValueError: the probes differ in precision, one is not defined for the network, or there are no images.
    """
    if not probes:
        return {}
    precisions = sorted({probe.precision for probe in probes.values()})
    if len(precisions) > 1:
        raise ValueError(f"probes of one pass have one precision, got {' and '.join(precisions)}: run them apart")
    with evaluation(network, precisions[0]):
        reader = network.reading(layers="all")
        observers = {key: probe.observer(reader) for key, probe in probes.items()}
        _watch(reader, batches, list(observers.values()))
        with without_autocast(reader.mean):
            return {key: observer.result() for key, observer in observers.items()}


def _watch(reader: Extractor, batches: Iterable[Batch], observers: Sequence[Observer]) -> None:
    reading = False  # an observer may run a network of its own, even this one: its maps are nobody's

    def receive(layer: int, maps: Tensor) -> None:
        if reading:
            for observer in observers:
                if observer.maps:
                    observer.attention(layer, maps)

    seen = False
    with ExitStack() as stack:
        if any(observer.maps for observer in observers):
            stack.enter_context(attention_maps(reader, receive))
        for batch in batches:
            reading = True
            features = reader(batch.image)
            reading, seen = False, True
            with without_autocast(reader.mean):
                for observer in observers:
                    observer.see(batch, features)
        if not seen:
            raise ValueError("there are no images to probe with: images must be at least 1, the split not empty")
