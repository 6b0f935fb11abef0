"""Folders that a command is to write into, tried before anything is loaded or written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from kdbias.config.conf import PATHS, expanded
from kdbias.config.errors import Problem

HYDRAS = ("hydra.run.dir", "hydra.sweep.dir")
"""Folders that Hydra writes into before this program begins."""


def empty_paths(words: Sequence[str]) -> Iterator[Problem]:
    """Give the problems of overrides that set a path to nothing.

    >>> list(empty_paths(["resume=", "seed=1"]))
    [Problem(key='resume', text='is empty: give a path, as in resume=PATH, or leave it out')]
    """
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if equals and key in (*PATHS, *HYDRAS) and value.strip("'\" ") == "":
            yield Problem(key, f"is empty: give a path, as in {key}=PATH, or leave it out")


def unwritable(words: Sequence[str], tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of the folders that a command writes into: those that its words name, else that of runs."""
    named = dict(_named(words))
    for key, folder in named.items():
        if (problem := folder_problem(key, Path(expanded(folder)), key)) is not None:
            yield problem
    if not {"hydra.run.dir", "out"}.intersection(named):
        runs = folder_problem("paths.runs", Path(str(tree["paths"]["runs"])), "paths.runs or KDBIAS_RUNS")
        if runs is not None:
            yield runs


def folder_problem(key: str, folder: Path, ways: str) -> Problem | None:
    """Give the problem of a folder in which nothing can be written; it tries, and leaves nothing behind.

    A folder that does not exist yet is tried at the nearest place above it. ``ways`` says how to choose another one.
    """
    place = folder.expanduser().absolute()
    if place.is_file():
        return Problem(key, f"{folder} is a file: choose a folder, by {ways}")
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".kdbias-", dir=place):
            return None
    except OSError as error:
        reason = error.strerror or str(error)
        return Problem(key, f"cannot write into {folder} ({reason}): choose another folder, by {ways}")


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The folders that words name, with their keys; a value with interpolations is left to Hydra."""
    for word in words:
        override = OverridesParser.create().parse_override(word)
        key = str(override.key_or_group)
        value = None if override.is_delete() or override.is_sweep_override() else override.value()
        if key in (*HYDRAS, "out") and isinstance(value, str) and "${" not in value:
            yield key, value
