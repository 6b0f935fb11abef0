"""The tasks of ``analyze.py``: networks in, tables, Results and figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console

from kdbias import measured
from kdbias.beside import teachers, untrained
from kdbias.classes import check_classes
from kdbias.config import ConfigError
from kdbias.measure import Nodes, measure, selected
from kdbias.measured import Measured, by_label, marked
from kdbias.modules.trainer import choose_precision
from kdbias.probes.base import Result
from kdbias.report.style import save
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.show import show_data
from kdbias.stats import Difference, accuracy, difference
from kdbias.subjects import device_name, same_pictures, subjects


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
    node = {"_target_": "kdbias.probes.accuracy.AccuracyProbe", "precision": probe_precision(cfg)}
    found = subjects(cfg)
    check_classes(found, {"accuracy": node})
    networks = measure(cfg, {"accuracy": node}, found, folder)
    if not networks:
        raise ConfigError("runs: none of the networks has a classifier to evaluate; look at it by probe=[knn,linear]")
    measured.save(networks, folder)
    rows: list[list[Cell]] = []
    for network in networks:
        result = network.results["accuracy"]
        right, scalars = result.arrays["right"], result.scalars
        against = "-" if network is networks[0] else compared(network, networks[0])
        rows.append([network.name, accuracy(right), scalars["loss"], scalars["ece"], len(right), against])
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


def compared(network: Measured, first: Measured) -> Difference | str:
    """Give the difference of two networks' accuracies; ``-`` where they have not seen the same pictures."""
    one, other = network.results["accuracy"].arrays, first.results["accuracy"].arrays
    same = same_pictures(network.about["source"], first.about["source"], network.about["split"])
    same = same and all(np.array_equal(one[key], other[key]) for key in ("index", "target"))
    return difference(one["right"], other["right"]) if same else "-"


def probe(cfg: DictConfig) -> None:
    """Run every selected probe on every network that it is defined for; save Results, draw figures, print scalars."""
    networks = gathered(cfg, selected(cfg))
    for name in dict.fromkeys(name for network in networks for name in network.results):
        Console().print(scalar_table(name, networks).rich())
        save_figures(draw(name, by_label(networks, name)), Path(cfg.out))


def gathered(cfg: DictConfig, nodes: Nodes, of_teachers: Nodes | None = None) -> list[Measured]:
    """Measure the networks that the config names, with the untrained one and the control; save what was found in
    ``out``.

    ``of_teachers`` are measured of the runs' teachers. With ``from_results`` read what an earlier call left, and
    compute nothing.

    Raises:
        ConfigError: nothing was measured, ``from_results`` is no such folder, or a run is to be held against classes
            that are not its own.
    """
    if cfg.get("from_results") is not None:
        return measured.load(Path(str(cfg.from_results)))
    found, folder = subjects(cfg), Path(cfg.out)
    check_classes(found, nodes)
    if not any(subject.control for subject in found):
        print("no control beside: control_run=RUN_DIR names the same student trained without teacher")
    for note in dict.fromkeys(subject.teacher.note for subject in found if subject.teacher and subject.teacher.note):
        print(note)
    if cfg.untrained:
        found += untrained(found, device_name(cfg))
    networks = measure(cfg, nodes, found, folder)
    if of_teachers:
        own = [subject for subject in found if (subject.spec.get("teacher") or {}).get("name") is not None]
        networks += measure(cfg, of_teachers, teachers(own, device_name(cfg)), folder)
    if networks:
        measured.save(networks, folder)
    return networks


def scalar_table(name: str, networks: Sequence[Measured]) -> Table:
    """Give the scalars of one probe, a row each, a column for each network."""
    results = {network.name: network.results[name] for network in networks if name in network.results}
    keys = list(dict.fromkeys(key for result in results.values() for key in result.scalars))
    rows = [[key, *(result.scalars.get(key, "-") for result in results.values())] for key in keys]
    return Table(name, [Column("measure"), *(Column(label) for label in results)], rows)


def draw(name: str, results: Mapping[str, Sequence[Result]]) -> dict[str, Figure]:
    """Give the figures of one probe by file name: those that ``figures`` of ``kdbias.report.<probe>`` draws.

    The module has the probe's own name, also where the config gives it another; none is there for a probe that only
    has scalars.
    """
    given = {label: found[0] if len(found) == 1 else found for label, found in results.items()}
    if not given:
        return {}
    own = str(next(iter(results.values()))[0].meta.get("probe", name))
    module = f"kdbias.report.{own}"
    function = getattr(import_module(module), "figures", None) if find_spec(module) is not None else None
    figures: dict[str, Figure] = function(given, **marked(given)) if function is not None else {}
    return {name + label.removeprefix(own): figure for label, figure in figures.items()}


def save_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write figures as SVG and PNG, and print where."""
    for label, figure in figures.items():
        save(figure, folder / f"{label}.svg")
        print(save(figure, folder / f"{label}.png"))


def probe_precision(cfg: DictConfig) -> Any:
    """Give fp32 unless the config asks for bf16: a reported accuracy is an fp32 one."""
    asked = cfg.trainer.precision
    return "bf16" if asked != "auto" and "bf16" in choose_precision(asked, cfg.trainer.accelerator) else "fp32"


def demo(cfg: DictConfig) -> None:
    """Run the demo: teacher, control, student on the embedded data, then the page."""
    from kdbias.demo import demo as run_demo

    run_demo(cfg)


def forensics(cfg: DictConfig) -> None:
    """Look at several runs side by side: heads, layers, curvature, representations."""
    from kdbias.forensics import forensics as run_forensics

    run_forensics(cfg)


def compare(cfg: DictConfig) -> None:
    """Draw up the matrix of runs against their control, with the figures of accuracy, attention, CKA and efficiency."""
    from kdbias.compare import compare as run_compare

    run_compare(cfg)


def factorial(cfg: DictConfig) -> None:
    """Say what each of two factors of a sweep does, such as family and accuracy of the teacher."""
    from kdbias.factorial import factorial as run_factorial

    run_factorial(cfg)


def predict(cfg: DictConfig) -> None:
    """Say what a network sees in a picture from outside."""
    from kdbias.predict import predict as run_predict

    run_predict(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {
    "evaluate": evaluate,
    "probe": probe,
    "forensics": forensics,
    "compare": compare,
    "factorial": factorial,
    "predict": predict,
    "demo": demo,
    "show_data": show_data,
}
