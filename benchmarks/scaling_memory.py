"""Memory of probes, and of CRD's banks, against the number of images: what grows, in bytes an image."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import INFO
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData, Split
from kdbias.data.cues import CueSource, cues
from kdbias.losses.crd import CRD
from kdbias.models.deit import vit
from kdbias.models.features import Extractor
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Probe
from kdbias.probes.bias import BiasProbe
from kdbias.probes.cka import CKAProbe
from kdbias.stress.split import StressedSplit

WIDTH, DEPTH, BATCH = 24, 2, 32
SETS = ("grey", "noise")  # of the bias probe; both are quickly made
CRD_DIM = 128


@dataclass(frozen=True)
class Held:
    """A source whose images are in memory, as those of CIFAR-10 are."""

    info: DataInfo
    image: Tensor
    label: Tensor

    def prepare(self) -> None:
        """There is nothing to fetch."""

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Give all images, whatever the split."""
        return self.image, self.label


def anonymous() -> float:
    """Give the memory of this process that is no mapped file, in bytes (Linux).

    Pages of a mapped file, as a stress set is, are the kernel's cache: it takes them back when it needs them.
    """
    rows = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * float(next(row.split()[1] for row in rows if row.startswith("RssAnon:")))


@contextmanager
def watched(network: Extractor) -> Iterator[list[float]]:
    """Note the memory whenever the last block of a vision transformer has answered."""
    seen: list[float] = []
    blocks: Any = network.network
    handle = blocks.blocks[-1].register_forward_hook(lambda *_: seen.append(anonymous()))
    try:
        yield seen
    finally:
        handle.remove()


def grown(probe: Probe, network: Extractor, data: ImageData, images: int) -> float:
    """Give the most bytes that a probe has beyond what was there before it; the images are in memory already."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken now
    before = anonymous()
    with watched(network) as seen:
        probe(network, data.batches("test", limit=images, batch_size=BATCH))
    return max(seen) - before


def memory(sizes: Sequence[int]) -> dict[str, Any]:
    """Give the peak of each probe at each number of images, and the growth an image with its 95 % interval."""
    torch.manual_seed(0)
    count = max(sizes)
    image = torch.randint(0, 256, (count, 3, INFO.size, INFO.size), dtype=torch.uint8)
    source = Held(INFO, image, torch.arange(count) % INFO.classes)
    data = ImageData(source, Augment(), batch_size=BATCH, eval_batch_size=BATCH)
    network = vit(INFO, width=WIDTH, depth=DEPTH, heads=2).eval()
    drawn = cues(train=2, val=1, test=count)
    by_cues = ImageData(drawn, Augment(), batch_size=BATCH, eval_batch_size=BATCH)
    found: dict[str, Any] = {}
    for name in ("cka", "attention", "bias", "bias on cues"):
        peaks = []
        for size in sizes:
            probe = made(name, drawn if name == "bias on cues" else source, size)
            images = by_cues if name == "bias on cues" else data
            grown(probe, network, images, size)  # sets are built, tables are made
            peaks.append(grown(probe, network, images, size))
        found[name] = {
            "peak_mb": {str(size): round(peak / 1e6, 2) for size, peak in zip(sizes, peaks, strict=True)},
            "bytes_per_image": slope(sizes, peaks),
        }
    found["crd"] = {"state_bytes_per_image": state_of_crd(count)}
    return found


def made(name: str, source: Held | CueSource, images: int) -> Probe:
    if name.startswith("bias"):
        split = StressedSplit(source, "test", limit=images)
        return BiasProbe(split, stress=list(SETS), strengths=(0.5, 1.0), batch_size=BATCH)
    return CKAProbe() if name == "cka" else AttentionProbe()


def slope(sizes: Sequence[float], values: Sequence[float]) -> list[float]:
    """Give the slope of a line through the values, by least squares, and the ends of its 95 % interval.

    >>> slope([1, 2, 3], [5.0, 7.0, 9.0])
    [2.0, 2.0, 2.0]
    """
    x = np.asarray(sizes, dtype=float)
    centred = x - x.mean()
    found = float(centred @ np.asarray(values)) / float(centred @ centred)
    if len(x) < 3:
        return [round(found, 1)] * 3
    rest = np.asarray(values) - np.mean(values) - found * centred
    error = np.sqrt(float(rest @ rest) / (len(x) - 2) / float(centred @ centred))
    from scipy.stats import t

    far = float(t.ppf(0.975, len(x) - 2)) * error
    return [round(value, 1) for value in (found, found - far, found + far)]


def state_of_crd(images: int) -> float:
    """Give the bytes of CRD's banks and of the classes that it draws by, for each training image."""
    network = vit(INFO, width=WIDTH, depth=DEPTH, heads=2)
    term = CRD(dim=CRD_DIM)
    term.build(network.info, network.info, replace(INFO, train=images))
    term.take_classes(torch.arange(images) % INFO.classes)
    assert term._images is not None
    held = (term.bank_student, term.bank_teacher, term._images.classes)
    return round(sum(each.numel() * each.element_size() for each in held) / images, 1)
