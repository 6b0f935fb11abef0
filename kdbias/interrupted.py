"""Ctrl-C: one line that says how to go on, and the exit status of an interrupt."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STATUS = 128 + signal.SIGINT


@contextmanager
def interruptible(remedy: Callable[[], str]) -> Iterator[None]:
    """End the program with ``interrupted; <remedy>`` and status 130 if the block is interrupted, without traceback.

    Of several processes of a run the first one says it.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if not _by_interrupt(error):
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would interrupt the way out
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"\ninterrupted; {remedy()}", file=sys.stderr, flush=True)
        raise SystemExit(STATUS) from None


def _by_interrupt(error: BaseException) -> bool:
    """Whether an error is an interrupt, or the exit that Lightning makes of one."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
