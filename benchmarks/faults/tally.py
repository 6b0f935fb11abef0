"""Counted trials: what was tried, what survived, and why the rest did not."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """The trials of one kind. ``notes`` count how trials ended; ``lost`` says what went wrong, a line each."""

    kind: str
    tried: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def count(self, what: str, wrong: str | None, note: str = "") -> None:
        """Count a trial: ``wrong`` says what went wrong, None if nothing did."""
        self.tried += 1
        if note:
            self.notes[note] += 1
        if wrong is None:
            self.survived += 1
        else:
            self.lost.append(f"{what}: {wrong}")

    def row(self) -> str:
        """Give its row of the table in docs/reliability.md."""
        said = ", ".join(f"{count} {note}" for note, count in self.notes.most_common())
        return f"| {self.kind} | {self.tried} | {self.survived} | {len(self.lost)} | {said} | {self.seconds:.0f} |"


@dataclass
class Clock:
    """The seconds that are left for all trials."""

    end: float

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """Give a clock that begins now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Give the seconds that are left."""
        return self.end - time.monotonic()


HEAD = "| kind | tried | survived | lost | of these | seconds |\n| --- | --- | --- | --- | --- | --- |"
