"""Times as people read them, the time that is left, and lines that come at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

PERIOD = 30.0  # seconds between two lines of something that takes long


def duration(seconds: float) -> str:
    """Give a time as people read it.

    >>> duration(8.44), duration(725), duration(7380)
    ('8.4 s', '12 min 5 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def rounded(seconds: float) -> str:
    """Give a time that is estimated, without digits that nobody knows.

    >>> rounded(8.44), rounded(725), rounded(7380)
    ('8 s', '12 min', '2 h 3 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else duration(60 * minutes)


@dataclass
class Pace:
    """How long the rest of something takes, at the pace since this object was made, when ``done`` parts were there."""

    total: float
    done: float = 0.0
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.clock() - self.began

    def left(self, done: float) -> float | None:
        """Give the seconds that are left when ``done`` parts are there; None before the first."""
        if done <= self.done:
            return None
        return max(0.0, self.total - done) * self.seconds / (done - self.done)


@dataclass
class Pulse:
    """Says lines, but at most one in ``period`` seconds, and none in the first: what is short needs none."""

    say: Callable[[str], object] = lambda text: print(text, flush=True)
    period: float = PERIOD
    clock: Callable[[], float] = time.monotonic
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.clock()

    def beat(self, text: Callable[[], str]) -> None:
        """Say ``text()``, if it is time."""
        if self.clock() - self.last >= self.period:
            self.last = self.clock()
            self.say(text())
