"""``python analyze.py task=compare``: methods, their control and their teachers in one matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbias.analysis.collect import gathered, save_figures
from kdbias.analysis.networks import CONTROL, images_key
from kdbias.analysis.probe_configs import wanted
from kdbias.analysis.results import Measured, by_label, marked
from kdbias.checks.check import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.report import compare as report
from kdbias.report.method import Method
from kdbias.report.table import show, upright

PROBES = ("accuracy", "attention", "cka", "hessian")
OTHERS = ("exp1", "exp2")  # experiments that all methods are compared with, beside the control
PUBLISHED_ON = "kdbias.data.cifar.cifar10"
PUBLISHED_OF = "kdbias.models.deit.deit_tiny"


def compare(tree: Tree) -> None:
    """Measure runs, control and teachers; write the matrix and the figures.

    The Results lie under ``out``, from where ``from_results`` draws and writes the same again.

    Raises:
        ConfigError: no probe measured any of the networks.
    """
    nodes = wanted(tree, PROBES)
    networks = gathered(tree, nodes, of_teachers={"accuracy": nodes["accuracy"]})
    methods = methods_of(networks)
    if not methods:
        raise ConfigError("runs: no probe measured any of them: see the reasons above")
    folder, labels = Path(tree["out"]), {method.label: method for method in methods}
    save_figures(report.figures(methods, **marked(labels)), folder)
    table = report.matrix(methods, control=marked(labels)["control"], against=against(networks))
    write_text(folder / "compare.md", table.markdown())
    write_text(folder / "compare.csv", table.csv())
    show(upright(table))
    print(folder / "compare.md")


def methods_of(networks: Sequence[Measured]) -> list[Method]:
    """Put the networks of one label together; teachers go to the methods that they taught.

    If only some networks of a label have an accuracy, the runs of the others count for no seed.

    Raises:
        ConfigError: the networks of one label saw different images.
    """
    teachers = {one.about["teacher_key"]: one.results.get("accuracy") for one in networks if one.role == "teacher"}
    published = json.loads((Path(__file__).parent / "published.json").read_text())["structural"]
    found: list[Method] = []
    labels = list(dict.fromkeys(label for probe in PROBES for label in by_label(networks, probe)))
    initial = {one.label for one in networks if one.role == "initial"}
    for label in sorted(labels, key=lambda each: (each in initial, each == CONTROL)):
        of = [one for one in networks if one.label == label and one.role != "teacher"]
        first, scored = of[0], [one for one in of if "accuracy" in one.results] or of
        saw = {images_key(one.about["source"], one.about["split"]) for one in of}
        if len(saw) > 1:
            raise ConfigError(
                f"names: the runs called {label} saw different images: name them apart, or leave some out"
            )
        names = list(dict.fromkeys(str(one.about["teacher"]) for one in of if one.about["teacher"]))
        taught = [teachers.get(one.about["teacher_key"]) if one.about["teacher"] else None for one in scored]
        results = {probe: [one.results[probe] for one in of if probe in one.results] for probe in PROBES}
        found.append(
            Method(
                label,
                [one.about["seed"] for one in scored],
                saw.pop(),
                accuracy=results["accuracy"],
                attention=results["attention"],
                cka=results["cka"],
                hessian=results["hessian"],
                teacher=None if label in initial else ", ".join(names) or None,
                taught_by=() if label in initial else taught,
                published={} if label in initial else published_of(first, published),
                untrained=label in initial,
            )
        )
    return found


def published_of(one: Measured, published: dict[str, Any]) -> dict[str, Any]:
    """Give the published row of a run's experiment; empty under a control, or if teacher, student or data differ."""
    about = one.about
    if about.get("control"):
        return {}
    for row in published.values():
        if isinstance(row, dict) and about["experiment"] in row["experiments"]:
            same = (row["taught_by"], row.get("student", PUBLISHED_OF), PUBLISHED_ON)
            return row if same == (about["teacher"], about.get("student"), about["source"].get("_target_")) else {}
    return {}


def against(networks: Sequence[Measured]) -> list[str]:
    """Give the labels of the runs of EXP-1 and EXP-2; other runs, if there are any, are compared with these."""
    own = [one for one in networks if one.role == "network"]
    plain = [one for one in own if not one.about.get("control")]
    found = [one.label for one in plain if str(one.about["experiment"]).startswith(OTHERS)]
    others = {one.label for one in own}
    return [label for label in dict.fromkeys(found) if others - {label}]
