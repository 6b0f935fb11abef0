"""The images of a network, one pass at a time, and the progress of the probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kdbias.analysis.networks import Subject, device_of
from kdbias.batch import Batch
from kdbias.config.spec import Tree
from kdbias.models.features import Extractor
from kdbias.runs.bars import Lines, bars, in_terminal


class Shown:
    """How far ``total`` probes have come: bars in a terminal, a line for each finished part elsewhere."""

    def __init__(self, total: int) -> None:
        self._lines = None if in_terminal() else Lines()
        self._bars = bars(transient=True, disable=self._lines is not None)
        self._all = self._bars.add_task("probes", total=total)
        self._now = self._bars.add_task("", total=None, visible=False)

    def __enter__(self) -> Shown:
        """Begin to show."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        """Begin a pass of ``total`` batches."""
        self._bars.reset(self._now, description=what, total=total, visible=True)

    def batch(self) -> None:
        """Count a batch of the pass."""
        self._bars.advance(self._now)

    def step(self, network: str, names: Sequence[str], how: str = "") -> None:
        """Count probes that are done."""
        self._bars.advance(self._all, len(names))
        if names and self._lines is not None:
            self._lines.timed(f"{network}: {', '.join(names)} {how}")

    def skip(self, count: int) -> None:
        """Count probes that are left out."""
        self._bars.advance(self._all, count)

    def say(self, line: str) -> None:
        """Print a line, above the bars."""
        if self._lines is None:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)


@dataclass(frozen=True)
class ImageBatches(Iterable[Batch]):
    """The images of a subject, as often as they are asked for, with a bar for each pass."""

    tree: Tree
    subject: Subject
    network: Extractor
    shown: Shown
    what: str

    def __iter__(self) -> Iterator[Batch]:
        data, split, images = self.subject.data, self.tree["split"], self.tree["images"]
        count = min(data.count(split), images or data.count(split))
        self.shown.begin(self.what, -(-count // self.tree["eval_batch_size"]))
        for batch in data.batches(split, device=device_of(self.network), limit=images):
            yield batch
            self.shown.batch()
