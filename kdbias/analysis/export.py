"""``python analyze.py task=export runs=[RUN]``: a trained network in another format, checked, with a model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias import zoo
from kdbias.analysis.export_control import require_control
from kdbias.analysis.export_facts import described
from kdbias.analysis.export_formats import WRITERS, answers
from kdbias.analysis.networks import paths, safe
from kdbias.batch import DataInfo
from kdbias.checks.early_tasks import needs
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import sync_folder, write_text
from kdbias.models.checkpoint import Checkpoint, checkpoint_file
from kdbias.models.features import Extractor
from kdbias.report.model_card import model_card

IMAGES = 8  # that both answer
LARGEST = 1e-4  # share of the largest logit: float32 sums in another order differ by 1e-6, another input by over 1e-2
CARD = "README.md"


def export(tree: Tree) -> None:
    """Write the network of a run into a folder of its own, and compare its answers with what is loaded back from there.

    The folder appears whole or not at all.

    Raises:
        ConfigError: not one run is named, it cannot be read, its network has no such format, the answers differ, or
            the control is none.
    """
    if problems := list(needs(tree)):
        raise ConfigError("\n  ".join(map(str, problems)))
    (named,), form = paths(tree["runs"]), tree["format"]
    checkpoint, network = _opened(named, "runs")
    facts = described(named, checkpoint, network, tree["licence"])
    for control in paths(tree["control_run"]):
        other, other_network = _opened(control, "control_run")
        untaught = described(control, other, other_network, None)
        require_control(other, untaught, checkpoint, control)
        facts["control_run"] = untaught["accuracy"]
    out = Path(str(tree["folder"] or Path(str(tree["out"])) / f"{safe(facts['name'])}-{form}"))
    out.parent.mkdir(parents=True, exist_ok=True)
    images = compared(DataInfo.from_dict(facts["spec"]["data"]))
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        place.chmod(0o755)
        found = WRITERS[form](network, facts, place, images)
        gap, scale = difference(answers(network, images), found)
        if not gap <= LARGEST * scale:
            raise ConfigError(
                f"format: {form} answers otherwise than the run: the logits differ by up to {gap:.2g} of {scale:.2g}; "
                "nothing was written: choose another format"
            )
        write_text(place / CARD, model_card(facts, form, gap, IMAGES))
        os.replace(place, out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"largest difference of the logits: {gap:.2g} (of up to {scale:.2g}, {IMAGES} images)")
    print(f"{', '.join(sorted(path.name for path in out.iterdir()))} in\n{out}")


def compared(data: DataInfo) -> Tensor:
    """Give images ``(IMAGES, C, H, W)`` in [0, 1] of the data's shape, always the same: half noise, half smooth."""
    draw, size = torch.Generator().manual_seed(0), (data.size, data.size)
    noise = torch.rand(IMAGES // 2, data.channels, *size, generator=draw)
    coarse = torch.rand(IMAGES - len(noise), data.channels, 4, 4, generator=draw)
    return torch.cat([noise, F.interpolate(coarse, size=size, mode="bilinear")])


def difference(own: Tensor, other: Tensor) -> tuple[float, float]:
    """Give the largest difference of two answers of the same shape, and the largest absolute value of the first."""
    if own.shape != other.shape:
        raise ConfigError(f"format: the answers have the shape {tuple(other.shape)}, and must have {tuple(own.shape)}")
    return float((own - other).abs().max()), float(own.abs().max())


def _opened(named: Path, key: str) -> tuple[Checkpoint, Extractor]:
    path = checkpoint_file(named)
    if not path.is_file():
        names = ", ".join(zoo.names())
        raise ConfigError(f"{key}: {path} is not there; name a run folder, a checkpoint file, or one of {names}")
    found = Checkpoint(path)
    try:
        return found, found.student()
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
