"""MLflow: ``logger=[tensorboard,csv,mlflow]``. By default one SQLite file for all runs, ``<paths.runs>/mlflow.db``."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from kdbias.config.build import builder
from kdbias.config.spec import Tree, flat
from kdbias.files import lock
from kdbias.modules import events
from kdbias.modules.tracked import Tracked

LONGEST = 500  # characters of a setting
AT_ONCE = 100  # settings of a request
UNNAMED = ("chosen", "hydra", "paths", "resume")  # settings that say where a run lies, not what it is
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""A server that does not answer is given up after seconds: by MLflow's own settings a training would wait for minutes.
Values of the environment count before these."""
NO_NAME = re.compile(r"[^\w\-. :/]")  # characters that names of settings and numbers may not have


@builder("logger")
def mlflow(run: str, folder: str, uri: str | None = None, experiment: str = "kdbias") -> Tracked:
    """Give the logger of MLflow.

    Args:
        run: The run folder.
        folder: The folder of all runs, in which ``mlflow.db`` lies.
        uri: A tracking server or database; None for ``mlflow.db``.
        experiment: MLflow's experiment, made if it is not there.
    """
    return MLflowTracked(run, Path(folder).absolute(), uri, experiment)


class MLflowTracked(Tracked):
    """A run of MLflow, with the settings of TensorBoard's table and all others by their full key."""

    service = "mlflow"

    def __init__(self, run: str, folder: Path, uri: str | None, experiment: str) -> None:
        super().__init__(run)
        self.folder, self.experiment = folder, experiment
        self.local = uri is None
        self.uri = f"sqlite:///{folder / 'mlflow.db'}" if uri is None else uri
        self._client: Any = None
        self._id = ""

    def open(self, tree: Tree, known: str | None) -> str:
        """Open a run, or go on with the known one if the database still has it."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if self.local:
            self.folder.mkdir(parents=True, exist_ok=True)
        with lock(self.folder / ".mlflow.lock") if self.local else nullcontext(), _warnings_alone("mlflow", "alembic"):
            self._client = MlflowClient(self.uri)
            with _patience():
                place = self._experiment()
        with _patience():
            if known is not None:
                try:
                    self._client.update_run(known, status="RUNNING")
                except MlflowException:
                    known = None  # another database than before
            self._id = self._made(tree, place) if known is None else known
        return self._id

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Write numbers of one step."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        metrics = [Metric(NO_NAME.sub("_", tag), value, now, step) for tag, value in numbers.items()]
        with _patience():
            self._client.log_batch(self._id, metrics=metrics)

    def close(self, scores: Mapping[str, float], step: int, success: bool) -> None:
        """Write the scores, and say how the run ended."""
        if scores:
            self.write(scores, step)
        with _patience():
            self._client.set_terminated(self._id, "FINISHED" if success else "FAILED")

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        files = (self.folder / "mlflow").as_uri() if self.local else None  # else MLflow makes ./mlruns
        return str(self._client.create_experiment(self.experiment, artifact_location=files))

    def _made(self, tree: Tree, place: str) -> str:
        from mlflow.entities import Param

        given = events.hyper_parameters(tree)
        tags = {"group": str(given["name"]), **events.tags(given)}
        made = self._client.create_run(place, tags=tags, run_name=events.title(given, self.run.name))
        identity = str(made.info.run_id)
        told = {key: value for key, value in tree.items() if key not in UNNAMED}
        shown = {key: f"{value:g}" if isinstance(value, float) else value for key, value in given.items()}
        params = [Param(NO_NAME.sub("_", key), str(value)[:LONGEST]) for key, value in {**flat(told), **shown}.items()]
        for first in range(0, len(params), AT_ONCE):
            self._client.log_batch(identity, params=params[first : first + AT_ONCE])
        return identity


@contextmanager
def _patience() -> Iterator[None]:
    added = {key: value for key, value in PATIENCE.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


@contextmanager
def _warnings_alone(*names: str) -> Iterator[None]:
    """Let loggers of Python say warnings alone inside the block: a new database is no news."""
    loggers = [logging.getLogger(name) for name in names]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
