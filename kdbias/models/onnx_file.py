"""A network as ONNX: from images in [0, 1] to logits, its normalisation and resizing inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdbias.models.features import Extractor

IMAGE, LOGITS = "image", "logits"  # names of the input and the output
OPSET = 18  # the first with antialiased resizing


class Answers(nn.Module):
    """The logits of an extractor alone."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` in [0, 1] to logits ``(B, classes)``."""
        logits: Tensor = self.extractor(image).logits
        return logits


def write_onnx(extractor: Extractor, image: Tensor, path: Path) -> None:
    """Write the network, in eval mode, into one file; ``image``, ``(B, C, H, W)``, says what it reads.

    The number of images in a batch is free; their channels and size are those of ``image``.

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    with warnings.catch_warnings(), _silent("onnx_ir"), _silent("onnxscript"):
        warnings.simplefilter("ignore")  # of torch's own tracing
        torch.onnx.export(
            Answers(extractor).eval(),
            (image,),
            path,
            input_names=[IMAGE],
            output_names=[LOGITS],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            verbose=False,
        )


def onnx_logits(path: Path, image: Tensor) -> Tensor:
    """Give the logits ``(B, classes)`` of images ``(B, C, H, W)`` by onnxruntime on the CPU.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run([LOGITS], {IMAGE: image.numpy()})
    return torch.from_numpy(np.asarray(found))


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Let a logger say warnings alone inside the block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
