"""How far a run has come, as it says itself in ``progress.json``: what those who wait for it show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kdbias.files import write_json

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """``done`` of ``epochs`` epochs, and the share of validation images that were right at the last validation (None
    before the first, or where nothing is classified).
    """

    done: int
    epochs: int
    accuracy: float | None

    def write(self, folder: Path) -> None:
        """Leave it in a run's folder."""
        write_json(folder / PROGRESS, asdict(self))


def read(folder: Path) -> Progress | None:
    """Give how far the run of a folder has come; None where it has not begun to train."""
    path = folder / PROGRESS
    return Progress(**json.loads(path.read_text())) if path.is_file() else None
