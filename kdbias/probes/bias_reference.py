"""The reference network beside which the errors on corrupted images are given."""

from __future__ import annotations

from pathlib import Path

from kdbias.files import digest
from kdbias.models.checkpoint import load_student
from kdbias.models.features import Extractor

KEY = "probe.bias.reference"
NONE = f"there is no reference network: {KEY}=RUN_DIR or a checkpoint names one"


def checkpoint(reference: str) -> Path:
    """Give the file that ``reference`` names: a checkpoint, or the best one of a run folder.

    Raises:
        ValueError: there is no such file.
    """
    path = Path(reference).expanduser()
    path = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{KEY}: there is no checkpoint {path.absolute()}: name a run folder or a checkpoint file")
    return path


def identity(reference: str) -> str:
    """Give what tells it from other networks: the SHA-256 of its checkpoint.

    Raises:
        ValueError: there is no such file.
    """
    return digest(checkpoint(reference))


def reference_network(reference: str, classes: int | None) -> Extractor:
    """Load the network, on the CPU.

    Raises:
        ValueError: there is none, or it has other classes.
    """
    path = checkpoint(reference)
    network = load_student(path)
    if network.info.classes != classes:
        raise ValueError(f"{KEY}: {path} has {network.info.classes} classes, and the network {classes}: choose another")
    return network
