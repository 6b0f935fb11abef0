"""A list of the runs below a folder, one line each, from their files alone: no network is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbias.config.overrides import key_of
from kdbias.config.saved import read_saved
from kdbias.files import held_or_none, printable
from kdbias.runs import progress
from kdbias.runs.run_folder import CONFIG, LOCK, RESULT

DEEPEST = 30  # folders in one another; runs lie two or three deep
HEADS = ("name", "seed", "accuracy", "state", "swept", "folder")
OWN = ("experiment", "seed", "trainer", "name", "resume", "allow")  # keys that are shown elsewhere, or decide nothing


@dataclass(frozen=True)
class Listed:
    """One run. ``state`` is finished, how far it is, or why it stopped; ``damage`` says what cannot be read of it.

    ``accuracy`` is that of the test split in percent, or of the validation split with ``(val)`` before the test.
    ``typed`` has the overrides of its command by key, ``swept`` those in which it differs from the
    runs of its name beside it.
    """

    folder: str
    name: str = "-"
    seed: str = "-"
    accuracy: str = "-"
    state: str = "-"
    swept: str = ""
    typed: Mapping[str, str] | None = None
    damage: str = ""


def listing(runs: Path) -> list[str]:
    """Give the lines of the list of all runs below ``runs``: a head, a line each, damaged runs last."""
    found = _with_swept(runs_below(runs))
    if not found:
        return [f"there are no runs in {runs}: paths.runs or KDBIAS_RUNS names another folder"]
    whole = [one for one in found if not one.damage]
    rows = [HEADS, *((r.name, r.seed, r.accuracy, r.state, r.swept or "-", r.folder) for r in whole)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*(lines if whole else []), *(f"{one.folder}: {one.damage}" for one in found if one.damage)]


def runs_below(runs: Path) -> list[Listed]:
    """Give the runs below a folder, in the order of their folders; links to folders are not followed."""
    found = []
    for place, inner, files in os.walk(runs):
        if len(Path(place).parts) - len(runs.parts) > DEEPEST:
            inner.clear()
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if CONFIG in files:
            inner.clear()  # a run has no run inside
            found.append(read_run(Path(place), os.path.relpath(place, runs)))
    return found


def read_run(folder: Path, shown: str) -> Listed:
    """Give what the files of a run folder say of the run; ``shown`` is its folder in the list."""
    try:
        tree = read_saved(folder / CONFIG)
        result = _result(folder / RESULT)
    except (OSError, ValueError, RecursionError) as error:
        return Listed(printable(shown), damage=printable(f"damaged: {' '.join(str(error).split())}"))
    chosen = tree.get("chosen")
    words = chosen.get("overrides") if isinstance(chosen, dict) else None
    words = words if isinstance(words, list) else []
    typed = {key_of(str(word)) or str(word): str(word).partition("=")[2] for word in words}
    accuracy, state = _outcome(folder, result)
    name, seed = printable(str(tree.get("name"))), printable(str(tree.get("seed")))
    return Listed(printable(shown), name, seed, accuracy, state, typed=typed)


def _result(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no mapping")
    return found


def _outcome(folder: Path, result: Mapping[str, Any] | None) -> tuple[str, str]:
    """The accuracy and the state of a run."""
    now = progress.read(folder)
    if result is None:
        if now is None:
            return "-", "not begun"
        state = f"epoch {now.done}/{now.epochs}"
        idle = held_or_none(folder / LOCK) is False
        return _percent(now.accuracy, " (val)"), f"{state}, interrupted" if idle else state
    test = result.get("test")
    accuracy = _percent(test.get("accuracy") if isinstance(test, dict) else None)
    return accuracy, f"stopped: {printable(str(result['stopped']))}" if result.get("stopped") else "finished"


def _percent(share: Any, mark: str = "") -> str:
    return f"{100 * share:.1f} %{mark}" if type(share) in (int, float) and 0 <= share <= 1 else "-"


def _with_swept(found: Sequence[Listed]) -> list[Listed]:
    """The runs with the overrides in which they differ from the runs of the same name in the same folder."""
    beside: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for one in found:
        beside.setdefault((os.path.dirname(one.folder), one.name), []).append(one.typed or {})
    return [replace(one, swept=_swept(one.typed or {}, beside[os.path.dirname(one.folder), one.name])) for one in found]


def _swept(typed: Mapping[str, str], beside: Sequence[Mapping[str, str]]) -> str:
    differ = [key for key in typed if key not in OWN and len({other.get(key) for other in beside}) > 1]
    return printable(" ".join(f"{key}={typed[key]}" for key in differ))
