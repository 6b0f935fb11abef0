"""The tasks of ``analyze.py``: networks in, tables, Results and figures out."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from kdbias.build import build, target
from kdbias.config import ConfigError
from kdbias.modules.trainer import choose_precision
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.base import Probe, Result
from kdbias.report import attention as attention_figures
from kdbias.report import cka as cka_figures
from kdbias.report.style import save
from kdbias.report.table import Column, Table, percent
from kdbias.show import show_data
from kdbias.spec import plain
from kdbias.stats import Difference, accuracy, difference
from kdbias.subjects import Subject, safe, same_pictures, subjects


def run(cfg: DictConfig) -> None:
    """Do the task that the config names.

    Raises:
        ConfigError: there is no such task, or nothing to look at.
    """
    if cfg.task not in TASKS:
        raise ConfigError(f"task: no task {cfg.task!r}; there are {', '.join(sorted(TASKS))}")
    TASKS[cfg.task](cfg)


def evaluate(cfg: DictConfig) -> None:
    """Print accuracy with its interval, each network against the first on the same pictures; save what was right."""
    folder = Path(cfg.out)
    probe = AccuracyProbe(precision=probe_precision(cfg))
    rows: list[list[Any]] = []
    first: tuple[Subject, Result] | None = None
    for subject in subjects(cfg):
        result = probe(subject.network, track(list(subject.batches(cfg)), description=subject.name, transient=True))
        result.save(folder / safe(subject.name))
        right = result.arrays["right"]
        against = "-" if first is None else compared(subject, result, *first, cfg.split)
        first = first or (subject, result)
        scalars = result.scalars
        rows.append([subject.name, accuracy(right), scalars["loss"], scalars["ece"], len(right), against])
    columns = [
        Column("network"),
        percent("accuracy", 2),
        Column("loss", unit="nats"),
        Column("calibration error"),
        Column("pictures"),
        percent("difference to the first", 2),
    ]
    table = Table(f"Accuracy on {cfg.split}", columns, rows, "Intervals: 95 %, over pictures; seeds are not in them.")
    (folder / "evaluate.md").write_text(table.markdown())
    Console().print(table.rich())
    print(folder / "evaluate.md")


def compared(subject: Subject, result: Result, first: Subject, reference: Result, split: str) -> Difference | str:
    """Give the difference of two networks' accuracies; ``-`` where they have not seen the same pictures."""
    same = same_pictures(subject.source, first.source, split) and all(
        np.array_equal(result.arrays[key], reference.arrays[key]) for key in ("index", "target")
    )
    return difference(result.arrays["right"], reference.arrays["right"]) if same else "-"


def probe(cfg: DictConfig) -> None:
    """Run every selected probe on every network that it is defined for; save Results, draw figures, print scalars."""
    folder = Path(cfg.out)
    found = subjects(cfg)
    control = next((subject.name for subject in found if subject.control), None)
    for name, node in plain(cfg.probe).items():
        results: dict[str, Result] = {}
        for subject in track(found, description=name, transient=True):
            if reason := undefined(name, subject):
                print(f"{name}: {subject.name} is left out, {reason}")
                continue
            function = ready(node, subject)
            results[subject.name] = function(subject.network.reading(layers="all"), subject.batches(cfg))
            results[subject.name].save(folder / safe(subject.name))
        if not results:
            continue
        Console().print(scalar_table(name, results).rich())
        for label, figure in draw(name, results, control).items():
            save(figure, folder / f"{label}.svg")
            print(save(figure, folder / f"{label}.png"))


def ready(node: dict[str, Any], subject: Subject) -> Probe:
    """Build a probe with what it takes of the subject's data: their ``source``, or the ``data`` with their splits."""
    given = {"source": subject.data.source, "data": subject.data}
    takes = signature(target(node)).parameters
    probe: Probe = build(node, **{key: value for key, value in given.items() if key in takes})
    return probe


def undefined(name: str, subject: Subject) -> str:
    """Say why a probe is not defined for a network or its data; nothing where it is."""
    if name == "attention" and subject.network.info.family == "cnn":
        return "a CNN has no attention"
    if name == "cues" and not hasattr(subject.data.source, "variant"):
        return "its data has no pictures of known shape and texture (data=cues has)"
    return ""


def scalar_table(name: str, results: dict[str, Result]) -> Table:
    """Give the scalars of one probe, a row each, a column for each network."""
    keys = sorted({key for result in results.values() for key in result.scalars})
    rows = [[key, *(result.scalars.get(key, "-") for result in results.values())] for key in keys]
    return Table(name, [Column("measure"), *(Column(label) for label in results)], rows)


def draw(name: str, results: dict[str, Result], control: str | None) -> dict[str, Figure]:
    """Give the figures of one probe by file name; none for a probe that only has scalars."""
    if name == "attention":
        others = {label: result for label, result in results.items() if label != control}
        beside = results.get(control) if control is not None else None
        return {
            "attention": attention_figures.distance_by_layer(others, control=beside),
            "attention-entropy": attention_figures.entropy_by_layer(others, control=beside),
        }
    if name == "cka":
        return {f"cka-{safe(label)}": cka_figures.heat_map(result, name=label) for label, result in results.items()}
    return {}


def probe_precision(cfg: DictConfig) -> Any:
    """Give fp32 unless the config asks for bf16: a reported accuracy is an fp32 one."""
    asked = cfg.trainer.precision
    return "bf16" if asked != "auto" and "bf16" in choose_precision(asked, cfg.trainer.accelerator) else "fp32"


def demo(cfg: DictConfig) -> None:
    """Run the demo: teacher, control, student on the embedded data, then the page."""
    from kdbias.demo import demo as run_demo

    run_demo(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {
    "evaluate": evaluate,
    "probe": probe,
    "demo": demo,
    "show_data": show_data,
}
