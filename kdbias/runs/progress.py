"""The progress of a run: the run writes it to ``progress.json``, and waiting processes show it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kdbias.files import write_json

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """``done`` of ``epochs`` epochs, and the accuracy at the last validation (a share of images).

    The accuracy is None before the first validation, or if nothing is classified. ``seconds`` is how long these epochs
    took, also before the run was resumed; None where it was not recorded.
    """

    done: int
    epochs: int
    accuracy: float | None
    seconds: float | None = None

    def write(self, folder: Path) -> None:
        """Write it to a run's folder."""
        write_json(folder / PROGRESS, asdict(self))


def read(folder: Path) -> Progress | None:
    """Give the progress of the run in a folder; None if it has not begun to train."""
    path = folder / PROGRESS
    if not path.is_file():
        return None
    try:
        found = Progress(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        return None  # it is rewritten after the next epoch
    counts = type(found.done) is int and type(found.epochs) is int
    numbers = all(value is None or type(value) in (int, float) for value in (found.accuracy, found.seconds))
    return found if counts and numbers else None
