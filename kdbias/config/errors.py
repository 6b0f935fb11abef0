"""One mistake in a config, the errors that report one or all of them, and the error of a training that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ConfigError(ValueError):
    """A config that cannot run; the message gives each problem its own line."""


class ArgumentError(ValueError):
    """An argument that a builder cannot use: ``argument`` is its name, ``text`` says what is wrong and what to do.

    The message is ``argument: text``. If the builder always serves the same node of the config, ``of`` names that node,
    and the message begins with it.
    """

    def __init__(self, argument: str, text: str, of: str = "") -> None:
        super().__init__(argument, text, of)
        self.argument, self.text, self.of = argument, text, of

    def __str__(self) -> str:
        return f"{self.of}.{self.argument}: {self.text}" if self.of else f"{self.argument}: {self.text}"


class RunStopped(RuntimeError):
    """Training stopped early because it failed; the message says how."""


class Problem(NamedTuple):
    """The full key of a mistake, and a text that says what is wrong and what to do."""

    key: str
    text: str

    def __str__(self) -> str:
        return self.text if self.text.startswith(self.key) else f"{self.key}: {self.text}"


def sound(problems: Iterable[Problem], key: str) -> bool:
    """Whether no problem lies at ``key``, below it or above it."""
    return not any(_within(problem.key, key) or _within(key, problem.key) for problem in problems)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
