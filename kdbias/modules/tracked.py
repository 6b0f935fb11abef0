"""What a run tells a tracking service, whichever it is, and that a service that fails never ends a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.probes.reasons import said


class Described(ABC):
    """A logger that is told what a run is before it begins, and by which scores runs are compared when it ends."""

    @abstractmethod
    def begin(self, tree: Tree) -> None:
        """Write what a run is, from its resolved config."""

    @abstractmethod
    def end(self, scores: Mapping[str, float], step: int, *, success: bool) -> None:
        """Write the scores by which runs are compared, after ``step`` steps, and how the run ended."""


class Tracked(Logger, Described):
    """A logger of a tracking service: name, tags, settings, numbers and final scores, as TensorBoard has them.

    Process 0 alone writes. The service's id of the run lies in ``<run>/<service>.id``, so a run that is resumed or
    repeated in its folder goes on under the same id. A service that fails is left out from then on, and one line says
    why: no error of it reaches the training.
    """

    service = ""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = Path(run)
        self._open = False

    @property
    def name(self) -> str:
        """The service."""
        return self.service

    @property
    def version(self) -> str:
        """The service's id of the run; empty before it has begun."""
        return self.id_file.read_text(encoding="utf-8").strip() if self.id_file.is_file() else ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run)

    @property
    def id_file(self) -> Path:
        """The file that keeps the service's id of the run."""
        return self.run / f"{self.service}.id"

    @rank_zero_only
    def begin(self, tree: Tree) -> None:
        """Open the run at the service, under the id that it had before, with its name, tags and settings."""

        def opened() -> None:
            known = self.open(tree, self.version or None)
            if known != self.version:
                write_text(self.id_file, f"{known}\n")

        self._open = True
        self._tried("could not begin", opened)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: ``begin`` has written the settings of the whole run."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Write numbers of one step."""
        if metrics:
            numbers = {tag: float(value) for tag, value in metrics.items()}
            self._tried("could not write", lambda: self.write(numbers, step or 0))

    @rank_zero_only
    def end(self, scores: Mapping[str, float], step: int, *, success: bool) -> None:
        """Write the scores by which runs are compared, and close the run."""
        self._closed(scores, step, success)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close a run whose training has failed; one that is trained still has its test before it."""
        if status != "success":
            self._closed({}, 0, success=False)

    def _closed(self, scores: Mapping[str, float], step: int, success: bool) -> None:
        self._tried("could not end", lambda: self.close(scores, step, success))
        self._open = False

    def _tried(self, what: str, act: Callable[[], None]) -> None:
        if not self._open:
            return
        try:
            act()
        except Exception as error:  # a diary must not end a training, whatever goes wrong in it
            self._open = False
            line = f"logger.{self.service}: {what} ({type(error).__name__}: {said(error)})"
            print(f"{line}: the run goes on without it", flush=True)

    @abstractmethod
    def open(self, tree: Tree, known: str | None) -> str:
        """Open a run of the resolved config ``tree``, under the id ``known`` if there is one; give its id."""

    @abstractmethod
    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Write numbers of one step."""

    @abstractmethod
    def close(self, scores: Mapping[str, float], step: int, success: bool) -> None:
        """Write the last scores, none if there are none, and say how the run ended."""
