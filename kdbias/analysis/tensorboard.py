"""``python analyze.py task=tensorboard``: a folder for TensorBoard, with all runs by the names they were given."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.runs.listing import Listed, runs_below

FOLDER, EVENTS = ".tensorboard", "tensorboard"
LONGEST = 150  # letters of a folder name


def tensorboard(tree: Tree) -> None:
    """Make a folder of links to the events of all runs, each named as its run, and print the command that shows them.

    The folder is ``<paths.runs>/.tensorboard``; it is made anew at every call.

    Raises:
        ConfigError: no run below ``paths.runs`` has events.
    """
    runs = Path(str(tree["paths"]["runs"])).absolute()
    found = [one for one in runs_below(runs) if not one.damage and (runs / one.folder / EVENTS).is_dir()]
    if not found:
        raise ConfigError(f"paths.runs: no run in {runs} has TensorBoard events: logger=[tensorboard,csv] writes them")
    folder = runs / FOLDER
    if folder.is_dir():
        shutil.rmtree(folder)  # links are removed, not what they lead to
    folder.mkdir()
    for name, one in zip(names(found), found, strict=True):
        (folder / name).symlink_to(os.path.relpath(runs / one.folder / EVENTS, folder), target_is_directory=True)
    print(f"{len(found)} runs, by name; accuracy and bias are under CUSTOM SCALARS:")
    print(f"tensorboard --logdir {folder}")


def names(found: Sequence[Listed]) -> list[str]:
    """Name each run by its name, seed and swept settings; runs that share all of these are counted."""
    plain = [" ".join(part for part in (one.name, f"seed {one.seed}", one.swept) if part) for one in found]
    safe = ["".join("-" if c in '/\\:*?"<>|' else c for c in name)[:LONGEST] for name in plain]
    total, seen = Counter(safe), Counter[str]()
    given = []
    for name in safe:
        seen[name] += 1
        given.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return given
