"""What a task of ``analyze.py`` needs, as far as its config and its paths show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdbias.checks.early import positive
from kdbias.config.errors import ConfigError, Problem
from kdbias.config.kinds import Kind, within
from kdbias.files import network_in
from kdbias.runs import run_folder

STRESS = ("build_stress", "show_stress")
NO_RUNS = "name the runs, or the folder of a sweep: runs=[runs/sweep]"
STRENGTHS = Kind(within(0, 1).or_each("numbers").holds, "must be numbers in [0, 1], as in strengths=[.5,1]")
"""What ``strengths`` may be: one number or several."""
SHOWS_RUNS = ("evaluate", "probe", "forensics", "compare", "predict", "export")
UNREAD = {
    "names": "names the groups by their runs and by what was typed for them: leave it out",
    "control_run": "finds the control among the runs: add its folder to runs=[...]",
    "from_results": "takes what was measured before from the cache by itself: leave it out",
}
"""Settings that task=report does not read."""
FORMATS = {"safetensors": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "timm": ()}
"""Formats of task=export, each with the packages that it needs beside this package's own."""


def needs(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of numbers that are out of range, and of settings that the task cannot do without."""
    task = tree.get("task")
    for key, empty in (("images", True), ("eval_batch_size", False), ("top", False), ("rows", False)):
        value = tree.get(key)
        if key in tree and not positive(value) and not (empty and value is None):
            yield Problem(key, f"must be a whole number of at least 1{', or null for all' * empty}, got {value!r}")
    if task in (*STRESS, "show_data") and tree.get("data") is None:
        yield Problem("data", f"task={task} needs images: add data=NAME, say data=cifar10 or data=cues")
    if task in STRESS and not tree.get("stress"):
        yield Problem("stress", "no set is named: add stress=[NAME,...], say stress=[scramble,noise]")
    if task in STRESS and (reason := STRENGTHS.refusal(tree.get("strengths"))):
        yield Problem("strengths", reason)
    if task == "probe" and tree.get("from_results") is None and not tree.get("probe"):
        yield Problem("probe", "nothing to measure: name at least one, as in probe=[attention,cka]")
    runs = tree.get("runs")
    paths = [one for one in (runs if isinstance(runs, list) else [runs]) if isinstance(one, str)]
    names = tree.get("names")
    names = names if isinstance(names, list | None) else [names]
    if task in SHOWS_RUNS:
        if names is not None and len(names) != len(paths):
            text = f"{len(names)} names for {len(paths)} runs: give one for each of runs=[...]"
            yield Problem("names", f"{text}, the same for the seeds of one method")
        for path in map(Path, paths):
            exported = network_in(path) is not None
            if path.is_dir() and not exported and not (path / run_folder.BEST).is_file():
                text = f"{path / run_folder.BEST} is not there: name a run folder or a checkpoint file"
                yield Problem("runs", text)
    if task == "report":
        yield from (Problem(key, f"task=report {text}") for key, text in UNREAD.items() if tree.get(key) is not None)
    if task == "factorial":
        yield from _factorial(paths)
    if task == "export":
        yield from _export(tree, paths)
    if task == "predict" and tree.get("image") is None:
        yield Problem("image", "no image to look at: give image=FILE, image=[FILE,...] or image=FOLDER")


def _factorial(paths: Sequence[str]) -> Iterator[Problem]:
    if not paths:
        yield Problem("runs", NO_RUNS)
    for path in filter(Path.is_dir, map(Path, paths)):
        try:
            run_folder.own_or_inside(path)
        except ConfigError as error:
            yield Problem("runs", str(error))


def _export(tree: Mapping[str, Any], paths: Sequence[str]) -> Iterator[Problem]:
    if len(paths) != 1:
        yield Problem("runs", f"task=export writes one network, and {len(paths)} are named: give runs=[RUN_DIR]")
    controls = tree.get("control_run")
    if isinstance(controls, list) and len(controls) > 1:
        text = f"a card has the control of one run, and {len(controls)} are named: give control_run=RUN_DIR"
        yield Problem("control_run", text)
    form, folder = tree.get("format"), tree.get("folder")
    if form not in FORMATS:
        yield Problem("format", f"there is no format {form!r}: choose {', '.join(FORMATS)}")
    missing = [name for name in FORMATS.get(str(form), ()) if find_spec(name) is None]
    if missing:
        text = f"{form} needs {', '.join(missing)}: pip install 'kdbias[{form}]', or choose format=safetensors"
        yield Problem("format", text)
    if folder is not None and Path(str(folder)).exists() and not _empty(Path(str(folder))):
        yield Problem("folder", f"{folder} is there and not an empty folder: name a new one")
    if not isinstance(tree.get("licence"), str | None):
        yield Problem("licence", f"must be a text, such as licence=Apache-2.0, got {tree.get('licence')!r}")


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
