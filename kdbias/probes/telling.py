"""How far a long probe has come: it tells, and whoever runs it may listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int | None], None]
"""Called with what is being done, the parts that are done, and their number where it is known."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have ``listener`` hear what probes tell inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int | None = None) -> None:
    """Tell whoever listens; nothing happens where nobody does."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)
