"""The images of a network, one pass at a time, and the progress of the probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from kdbias.analysis.networks import Subject, device_of
from kdbias.batch import Batch
from kdbias.config.spec import Tree
from kdbias.models.features import Extractor
from kdbias.probes.telling import listening
from kdbias.runs.bars import Lines, bars, in_terminal
from kdbias.runs.clock import Pace, Pulse, rounded


class Shown:
    """How far ``total`` probes have come: bars in a terminal; elsewhere a line for each finished part.

    A part that takes long also says how far it is: every half minute, with the time that its pass still takes. What a
    probe tells of itself (``kdbias.probes.telling``) is shown in the same way.
    """

    def __init__(self, total: int) -> None:
        self._lines = None if in_terminal() else Lines()
        self._bars = bars(transient=True, disable=self._lines is not None)
        self._all = self._bars.add_task("probes", total=total)
        self._now = self._bars.add_task("", total=None, visible=False)
        self._what, self._done = "", 0
        self._pace = Pace(0)
        self._pulse = Pulse(self._timed)
        self._stack = ExitStack()

    def __enter__(self) -> Shown:
        """Begin to show."""
        self._bars.start()
        self._stack.enter_context(listening(self.told))
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._stack.close()
        self._bars.stop()

    def begin(self, what: str, total: int) -> None:
        """Begin a pass of ``total`` batches."""
        self._what, self._done, self._pace = what, 0, Pace(total)
        self._bars.reset(self._now, description=what, total=total, visible=True, note="")

    def batch(self) -> None:
        """Count a batch of the pass."""
        self._done += 1
        self._bars.advance(self._now)
        self._pulse.beat(lambda: f"{self._what}: {self._done}/{self._pace.total:.0f} batches{self._left(self._done)}")

    def told(self, what: str, done: int, total: int | None) -> None:
        """Show what a probe tells of itself."""
        number = f"{done} {what}" if total is None else f"{done}/{total} {what}"
        self._bars.update(self._now, note=number)
        self._pulse.beat(lambda: f"{self._what}: {number}")

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

    def _left(self, done: int) -> str:
        left = self._pace.left(done)
        return f", {rounded(left)} left" if left else ""

    def _timed(self, text: str) -> None:
        if self._lines is not None:  # a terminal has the bars
            self._lines.timed(text)


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
