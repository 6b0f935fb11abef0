"""New processes that do not run the user's program again.

A process that is not forked first imports the ``__main__`` of the program that starts it. A script without
``if __name__ == "__main__":`` then begins anew in each: it trains again, and waits for a lock that its parent holds.
What the processes of this package are given comes from modules, so they are started without ``__main__``.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from typing import Any

MAIN = "__main__"
_starting = threading.RLock()


def context(method: str | None = None) -> BaseContext:
    """Give the context of a start method, whose processes do not import ``__main__``; None: the default's.

    A forked process imports nothing, so ``fork`` has its usual context.

    Raises:
        ValueError: this system has no such method.
    """
    usual = multiprocessing.get_context(method)
    return _CONTEXTS.get(usual.get_start_method(), usual)


def is_of_main(thing: Any) -> bool:
    """Whether the class of an object is defined in the program itself: only a process that imports that has it."""
    return type(thing).__module__ == MAIN


@contextmanager
def without_main() -> Iterator[None]:
    """Let processes that start in the block take ``__main__`` for a module that they have; it is as before after it."""
    names = vars(sys.modules[MAIN])
    with _starting:
        absent = "__spec__" not in names
        before = names.get("__spec__")
        names["__spec__"] = ModuleSpec(MAIN, None)
        try:
            yield
        finally:
            names["__spec__"] = before
            if absent:
                del names["__spec__"]


class _Spawned(SpawnProcess):
    def start(self) -> None:
        with without_main():
            super().start()


class _Spawning(SpawnContext):
    Process = _Spawned


_CONTEXTS: dict[str, BaseContext] = {"spawn": _Spawning()}

if sys.platform != "win32":
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    class _Served(ForkServerProcess):
        def start(self) -> None:
            with without_main():  # of the server too, which starts with the first of them
                super().start()

    class _Serving(ForkServerContext):
        Process = _Served

    _CONTEXTS["forkserver"] = _Serving()
