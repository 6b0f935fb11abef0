"""Loggers for the scalars and figures of a run."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kdbias.config.build import builder
from kdbias.config.spec import Tree
from kdbias.files import write_bytes, write_text
from kdbias.modules import events
from kdbias.modules.tracked import Described
from kdbias.probes.frozen import LOGGED


@builder("logger")
def tensorboard(run: str) -> TensorBoardLogger:
    """Event files in ``<run>/tensorboard``."""
    return DescribedTensorBoard(run, name="", version="tensorboard", default_hp_metric=False)


@builder("logger")
def csv(run: str) -> CSVLogger:
    """``<run>/metrics.csv``; the rows of a run that is resumed stay."""
    return ContinuedCSV(run, name="", version="")


@rank_zero_only
def keep_until(path: Path, step: int) -> None:
    """Remove the rows of a ``metrics.csv`` that a run resumed after ``step`` steps writes again; -1 keeps no row.

    Steps are counted from 0, so the steps of finished epochs are below ``step``. The row of a probe, also of frozen
    features, has the number of steps before it. Rows that cannot be read are left out; a file with such rows is kept as
    ``metrics.damaged.csv``.
    """
    if not path.is_file():
        return
    names, whole, damaged = _rows(path)
    if damaged:
        aside = path.with_suffix(f".damaged{path.suffix}")
        write_bytes(aside, path.read_bytes())
        print(f"{path}: {damaged}; left out, the file as it was is {aside}", flush=True)
    rows = [row for at, row in whole if at < step or (at == step and _probed(row))]
    kept = io.StringIO(newline="")
    writer = csv_format.DictWriter(kept, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, kept.getvalue())


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]], str]:
    """The columns of a ``metrics.csv``, its whole rows by step, and what is damaged; empty if nothing is."""
    try:
        text = path.read_text(encoding="utf-8").replace("\0", "")  # a power cut leaves zeros
        reader = csv_format.DictReader(io.StringIO(text, newline=""))
        names, rows = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv_format.Error) as error:
        return [], [], f"it cannot be read ({error})"
    if not names:
        return [], [], ""
    if "step" not in names:
        return [], [], "it has no column step"
    whole = [(int(row["step"]), row) for row in rows if row.keys() == set(names) and _is_step(row["step"])]
    lost = len(rows) - len(whole)
    return names, whole, f"{lost} of its {len(rows)} rows have no step" if lost else ""


def _is_step(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and len(text) < 19


def _probed(row: dict[str, str]) -> bool:
    names = [name for name, value in row.items() if value]
    return all(name in ("step", "epoch", *LOGGED) or name.startswith("probe/") for name in names)


class DescribedTensorBoard(TensorBoardLogger, Described):
    """Lightning's TensorBoard logger, with the run's settings, a layout, and what each tag means."""

    @rank_zero_only
    def begin(self, tree: Tree) -> None:
        """Write the row of the hparams table and the layout of a run, from its resolved config."""
        for summary in events.session(tree, Path(self.log_dir).parent.name):
            self._write(summary)
        self.experiment.add_custom_scalars(events.layout(tree.get("callback") or {}))

    @rank_zero_only
    def end(self, scores: Mapping[str, float], step: int, *, success: bool) -> None:
        """Write the scores by which runs are compared, after ``step`` steps, and how the run ended."""
        self.log_metrics(scores, step)
        self._write(events.ended(success))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Write numbers, each with the description of its tag."""
        for tag, value in metrics.items():
            self._write(events.scalar(tag, float(value)), step)

    def _write(self, summary: Any, step: int | None = None) -> None:
        self.experiment._get_file_writer().add_summary(summary, step)


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
