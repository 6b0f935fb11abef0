"""``python analyze.py task=status study=NAME``: how far the runs of a study are, and the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from kdbias.analysis import study as studies
from kdbias.analysis.study import Study
from kdbias.analysis.study_check import WEIGHTS, require_own_name, require_study
from kdbias.analysis.study_words import changes
from kdbias.config.spec import Tree
from kdbias.files import held_or_none
from kdbias.runs import failure, parallel, progress, resuming, run_folder
from kdbias.runs.parallel import Run

State = Literal["done", "running", "failed", "left"]
STATES: tuple[State, ...] = ("done", "running", "failed", "left")


@dataclass(frozen=True)
class RunState:
    """How far a run is: ``epochs`` of its epochs are done, each in ``seconds`` (None if it is not known yet)."""

    run: Run
    state: State
    epochs: int
    seconds: float | None = None
    note: str = ""

    @property
    def left(self) -> int:
        """The epochs that are left."""
        return 0 if self.state == "done" else max(self.run.epochs - self.epochs, 0)


def status(tree: Tree) -> None:
    """Print a line for each run of a study, how many are done, running, failed and left, and the time left.

    Raises:
        ConfigError: no study is named, it has mistakes, or its record is damaged.
    """
    for line in status_lines(study_of(tree)):
        print(line)


def study_of(tree: Tree) -> Study:
    """Give the study of a config of ``analyze``: as it was started last, else as its yaml plans it.

    Words for all runs, such as ``trainer=smoke``, are known only to the record of the command that started it.

    Raises:
        ConfigError: no study is named, it has mistakes, or its record is damaged.
    """
    node, root = tree.get("study"), Path(str(tree["paths"]["runs"])).absolute()
    require_study(node)
    require_own_name(node)
    assert isinstance(node, Mapping)
    found = studies.load(root / "studies" / str(node["name"]))
    if found is not None:
        if other := _other(found, node):
            print(f"study {found.name} is shown as it was started. Different now: {', '.join(other)}.")
            print(f"To use these settings, start the study again with them: {found.again}")
        return found
    from kdbias.analysis.run_teacher import composing  # it loads torch, which the record does not need

    with composing():
        planned = studies.plan(node, [], root)
    print(f"study {node['name']} was never started under {root}: {planned.again}")
    return planned


def _other(started: Study, node: Mapping[str, Any]) -> list[str]:
    """The settings of a study that are not those of its record, except what was typed for that and for fewer seeds."""
    typed = {word.partition("=")[0].lstrip("+~") for word in started.chosen}
    files = [value for key, value in started.node.items() if f"study.{key}" in typed and str(key).endswith(WEIGHTS)]
    fewer = set(node.get("seeds") or []) <= set(started.node["seeds"])
    now, before = (
        {word.partition("=")[0].lstrip("+~"): word for word in changes(*pair)}
        for pair in ((started.node, node), (node, started.node))
    )
    read = {key for key, word in before.items() if any(str(file) in word for file in files)}  # ${study.NAME_weights}
    return [key for key in now if key not in typed | read and not (key == "study.seeds" and fewer)]


def status_lines(study: Study) -> list[str]:
    """Give the lines of a study's status."""
    found = [run_state(run) for run in study.order]
    width = max(len(one.run.label) for one in found)
    lines = [
        f"{one.state:<8} {one.run.label:<{width}} {one.epochs:>4}/{one.run.epochs:<4} {one.note}".rstrip()
        for one in found
    ]
    counts = Counter(one.state for one in found)
    summary = ", ".join(f"{counts[state]} {state}" for state in STATES)
    lanes = parallel.lanes(study.node.get("lanes"))
    lines.append(f"study {study.name}: {len(found)} runs with their teachers: {summary}; {time_left(found, lanes)}")
    return [*lines, *([study.again] if any(one.state != "done" for one in found) else [])]


def run_state(run: Run) -> RunState:
    """Say how far a run is, by its folder alone."""
    if run.done:
        return RunState(run, "done", run.epochs, _of_result(run), _accuracy(run))
    now = progress.read(run.folder)
    epochs, seconds = (now.done, _so_far(run, now)) if now else (0, None)
    if held_or_none(run.folder / run_folder.LOCK):
        note = f"val accuracy {100 * now.accuracy:.0f} %" if now and now.accuracy is not None else ""
        return RunState(run, "running", epochs, seconds, note)
    if reason := failure.reason(run.folder):
        return RunState(run, "failed", epochs, seconds, f"{reason}; log {run.log}")
    kept = resuming.resumable(run.folder, run.key)
    note = f"goes on after epoch {epochs}" if kept and epochs else ""
    return RunState(run, "left", epochs if kept else 0, seconds, note)


def time_left(found: Sequence[RunState], lanes: int) -> str:
    """Say how long the rest takes: epochs left times seconds an epoch, shared by the lanes.

    A run without an epoch takes the mean of the runs with its label but for the seed, else that of all runs.
    """
    if not any(one.left for one in found):
        return "nothing left to train"
    known: dict[str, list[float]] = {}
    for one in found:
        if one.seconds is not None:
            known.setdefault(one.run.label.partition(",")[0], []).append(one.seconds)
    every = [value for values in known.values() for value in values]
    if not every:
        return "the time left is not known before an epoch is done"
    total = 0.0
    for one in found:
        like = known.get(one.run.label.partition(",")[0], every)
        total += one.left * (one.seconds if one.seconds is not None else sum(like) / len(like))
    longest = max(one.left * (one.seconds or 0) for one in found)
    return f"about {_written(max(total / lanes, longest))} left in {lanes} lanes"


def _of_result(run: Run) -> float | None:
    """Seconds an epoch of a finished run."""
    found = run_folder.result(run.folder, run.key) or {}
    seconds, epochs = found.get("seconds"), found.get("epochs")
    return float(seconds) / int(epochs) if _positive(seconds) and _positive(epochs) else None


def _accuracy(run: Run) -> str:
    test = (run_folder.result(run.folder, run.key) or {}).get("test")
    value = test.get("accuracy") if isinstance(test, dict) else None
    return f"test accuracy {100 * value:.1f} %" if _positive(value) else ""


def _so_far(run: Run, now: progress.Progress) -> float | None:
    """Seconds an epoch of a run that has not ended; None where it recorded none and is not done with an epoch."""
    if now.done < 1 or not _positive(now.seconds):
        return None
    return now.seconds / now.done


def _positive(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and value > 0


def _written(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
