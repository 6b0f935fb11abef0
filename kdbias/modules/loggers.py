"""Loggers for the scalars and figures of a run."""

from __future__ import annotations

import csv as csv_format
import io
from pathlib import Path
from typing import cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from kdbias.config.build import builder
from kdbias.files import write_text


@builder("logger")
def tensorboard(run: str) -> TensorBoardLogger:
    """Event files in ``<run>/tensorboard``."""
    return TensorBoardLogger(run, name="", version="tensorboard", default_hp_metric=False)


@builder("logger")
def csv(run: str) -> CSVLogger:
    """``<run>/metrics.csv``; the rows of a run that is resumed stay."""
    return ContinuedCSV(run, name="", version="")


@rank_zero_only
def keep_until(path: Path, step: int) -> None:
    """Remove the rows of a ``metrics.csv`` that a run resumed after ``step`` steps writes again; -1 keeps no row.

    Steps are counted from 0, so the steps of finished epochs are below ``step``. The row of a probe has the number of
    steps before it.
    """
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv_format.DictReader(file)
        names = reader.fieldnames or []
        rows = [row for row in reader if int(row["step"]) < step or (int(row["step"]) == step and _probed(row))]
    kept = io.StringIO(newline="")
    writer = csv_format.DictWriter(kept, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, kept.getvalue())


def _probed(row: dict[str, str]) -> bool:
    return all(name in ("step", "epoch") or name.startswith("probe/") for name, value in row.items() if value)


class ContinuedCSV(CSVLogger):
    """Lightning's CSV logger, but it keeps an earlier ``metrics.csv``: a resumed run appends to it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, with the rows that are there already."""
        if self._experiment is not None:
            return cast(ExperimentWriter, super().experiment)
        path = Path(self.log_dir) / "metrics.csv"
        rows = list(csv_format.DictReader(path.open())) if path.is_file() else []
        writer = cast(ExperimentWriter, super().experiment)
        if rows:
            writer.metrics[:0] = [{k: v for k, v in row.items() if v} for row in rows]  # type: ignore[misc]
            writer.save()
        return writer
