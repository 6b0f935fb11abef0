"""One mistake in a config, the errors that tell of one and of all, and that of a training that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ConfigError(ValueError):
    """A config that cannot run; the message has every problem on a line of its own."""


class ArgumentError(ValueError):
    """An argument that a builder cannot use: ``argument`` is its name, ``text`` what is wrong and what to do.

    The message is ``argument: text``, with the node of the config that the builder is for (``of``) in front where it is
    always the same one.
    """

    def __init__(self, argument: str, text: str, of: str = "") -> None:
        super().__init__(argument, text, of)
        self.argument, self.text, self.of = argument, text, of

    def __str__(self) -> str:
        return f"{self.of}.{self.argument}: {self.text}" if self.of else f"{self.argument}: {self.text}"


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
