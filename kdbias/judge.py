"""What a run is judged by at its end, once, on the test split."""

from __future__ import annotations

import torch

from kdbias.callbacks.knn import FrozenFeatures
from kdbias.data.base import PictureData
from kdbias.features import Extractor
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.base import Probe, Result


def judged(
    student: Extractor,
    data: PictureData,
    device: torch.device,
    limit: int | float | None,
    frozen: FrozenFeatures | None = None,
    epoch: int = 0,
) -> list[Result]:
    """Evaluate ``student`` on the test split in fp32, not TF32; on its first ``limit`` batches or part where given.

    A classifier by its accuracy (``test``); where the run watched ``frozen`` features, these by k-NN and a linear probe
    (``test_knn``, ``test_linear``) on pictures of an epoch, of which there are ``epoch``.
    """
    pictures = None
    if isinstance(limit, int):
        pictures = limit * data.eval_batch_size
    elif limit is not None:
        pictures = round(limit * data.count("test"))
    torch.set_float32_matmul_precision("highest")
    probes: list[Probe] = [] if student.info.classes is None else [AccuracyProbe(name="test")]
    probes += [] if frozen is None else frozen.final(data, epoch, prefix="test_")
    return [probe(student, data.batches("test", device=device, limit=pictures)) for probe in probes]
