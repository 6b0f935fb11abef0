"""``python analyze.py task=evaluate``: accuracy of each network, beside the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdbias.analysis import results
from kdbias.analysis.labels import check_classes
from kdbias.analysis.measure import measure
from kdbias.analysis.networks import same_images, subjects
from kdbias.analysis.results import Measured, unique
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.modules.trainer import choose_precision
from kdbias.report.table import Cell, Column, Table, percent, show
from kdbias.stats import Difference, accuracy, difference


def evaluate(tree: Tree) -> None:
    """Print accuracy with its interval, each network against the first on the same images; save what was right."""
    folder = Path(tree["out"])
    node = {"_target_": "kdbias.probes.accuracy.AccuracyProbe", "precision": probe_precision(tree)}
    found = subjects(tree)
    check_classes(found, {"accuracy": node})
    networks = measure(tree, {"accuracy": node}, found, folder)
    if not networks:
        raise ConfigError("runs: none of the networks has a classifier to evaluate; look at it by probe=[knn,linear]")
    results.save(networks, folder)
    labels = unique(networks)
    rows: list[list[Cell]] = []
    for network in networks:
        result = network.results["accuracy"]
        right, scalars = result.arrays["right"], result.scalars
        against = "-" if network is networks[0] else compared(network, networks[0])
        rows.append([labels[network.name], accuracy(right), scalars["loss"], scalars["ece"], len(right), against])
    columns = [
        Column("network"),
        percent("accuracy", 2),
        Column("loss", unit="nats"),
        Column("calibration error"),
        Column("images"),
        percent("difference to the first", 2),
    ]
    table = Table(f"Accuracy on {tree['split']}", columns, rows, "Intervals: 95 %, over images; seeds are not in them.")
    write_text(folder / "evaluate.md", table.markdown())
    show(table)
    print(folder / "evaluate.md")


def compared(network: Measured, first: Measured) -> Difference | str:
    """Give the difference of two networks' accuracies; ``-`` if they have not seen the same images."""
    one, other = network.results["accuracy"].arrays, first.results["accuracy"].arrays
    same = same_images(network.about["source"], first.about["source"], network.about["split"])
    same = same and all(np.array_equal(one[key], other[key]) for key in ("index", "target"))
    return difference(one["right"], other["right"], over="images") if same else "-"


def probe_precision(tree: Tree) -> str:
    """Give fp32 unless the config asks for bf16: a reported accuracy is an fp32 one."""
    asked, accelerator = tree["trainer"]["precision"], tree["trainer"]["accelerator"]
    return "bf16" if asked != "auto" and "bf16" in choose_precision(asked, accelerator) else "fp32"
