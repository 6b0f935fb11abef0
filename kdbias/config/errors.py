"""One mistake in a config, the error that tells of all, and that of a training that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ConfigError(ValueError):
    """A config that cannot run; the message has every problem on a line of its own."""


class RunStopped(RuntimeError):
    """Training ended before its time, because it had failed; the message says how."""


class Problem(NamedTuple):
    """The full key of a mistake, and what is wrong with what to do."""

    key: str
    text: str

    def __str__(self) -> str:
        return self.text if self.text.startswith(self.key) else f"{self.key}: {self.text}"


def sound(problems: Iterable[Problem], key: str) -> bool:
    """Whether no problem lies at ``key``, under it or over it."""
    return not any(_within(problem.key, key) or _within(key, problem.key) for problem in problems)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
