"""A training run in its folder, as Python sees it: what it was, what came out, and how to go on."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from kdbias.config.errors import ConfigError
from kdbias.config.spec import spec_hash
from kdbias.runs import progress, run_folder

if TYPE_CHECKING:
    from kdbias.api.results import Results
    from kdbias.models.features import Extractor
    from kdbias.stats import Estimate


class Run(PathLike[str]):
    """A run folder, made by ``kdbias.distil`` or by ``python train.py``; everything is read when it is asked for.

    It stands for its folder wherever a path is taken, as in ``kdbias.load_student(run)``.

    Raises:
        ConfigError: there is no run in the folder.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        if not (self.folder / run_folder.CONFIG).is_file():
            raise ConfigError(f"folder: there is no run in {self.folder}: it has no {run_folder.CONFIG}")

    def __fspath__(self) -> str:
        return fspath(self.folder)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    @property
    def config(self) -> DictConfig:
        """The resolved config that it saved."""
        return run_folder.saved_config(self.folder)

    @property
    def spec_hash(self) -> str:
        """What decides its result, as 16 hex digits; the same settings have the same hash."""
        return spec_hash(self.config)

    @property
    def result(self) -> dict[str, Any]:
        """The content of its ``result.json``.

        Raises:
            ConfigError: it has none yet.
        """
        path = self.folder / run_folder.RESULT
        if not path.is_file():
            raise ConfigError(f"{self.folder} is not finished: go on by resume()")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    @property
    def scores(self) -> dict[str, Estimate]:
        """The scores on the test set: shares of right answers have their 95 % interval over images, the others none.

        Raises:
            ConfigError: it is not finished.
        """
        from kdbias.api.results import estimates
        from kdbias.probes.base import Result

        test = self.result["test"]
        paths = sorted((self.folder / "probes").glob("test*.json"))
        found: dict[str, Estimate] = {}
        for path in paths:
            found |= estimates(Result.load(path.parent, path.stem))
        return {name: found[name] for name in test if name in found}

    def load(self) -> Extractor:
        """Give the network of its best checkpoint, in eval mode on the CPU, ready for images in [0, 1]."""
        from kdbias.models.checkpoint import load_student

        return load_student(self)

    def probe(
        self, probes: str | list[str] | Mapping[str, Any] = "accuracy", images: Any = None, **named: Any
    ) -> Results:
        """Measure its network, on its own test images if no others are given: ``kdbias.probe(run, images, probes)``."""
        from kdbias.api.probing import probe

        return probe(self, images, probes, **named)

    def resume(self) -> Run:
        """Go on from the last checkpoint with the saved config; a run that is finished stays as it is.

        Raises:
            ConfigError, RunStopped: as ``python train.py resume=FOLDER`` ends.
        """
        from kdbias.api.distil import resumed

        return resumed(self)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {', '.join(f'{k} {v}' for k, v in self._about().items())}"

    def _repr_html_(self) -> str:
        rows = {**self._about(), "folder": str(self.folder)}
        cells = (f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table>{''.join(cells)}</table>"

    def _about(self) -> dict[str, str]:
        """What a line says of it; a damaged config or result is said, not raised."""
        try:
            about = {"name": str(self.config.get("name")), "seed": str(self.config.get("seed"))}
            if not (self.folder / run_folder.RESULT).is_file():
                now = progress.read(self.folder)
                return {**about, "state": f"epoch {now.done} of {now.epochs}" if now else "not begun"}
            if stopped := self.result.get("stopped"):
                return {**about, "stopped": str(stopped)}
            return about | {
                name: shown(self.scores[name]) for name in ("accuracy", "knn", "linear") if name in self.scores
            }
        except (OSError, ValueError, LookupError) as error:
            return {"damaged": " ".join(str(error).split())}


def shown(share: Estimate) -> str:
    """Write a share in percent with its interval.

    >>> from kdbias.stats import accuracy
    >>> shown(accuracy([True] * 90 + [False] * 10))
    '90.0 % [82.6, 94.5]'
    """
    low = f" [{100 * share.low:.1f}, {100 * share.high:.1f}]" if share.low == share.low else ""
    return f"{100 * share.value:.1f} %{low}"
