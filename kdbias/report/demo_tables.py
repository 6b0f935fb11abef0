"""The tables of the demo: its networks, the transfer index, and what was gained or lost in accuracy."""

from __future__ import annotations

import numpy as np

from kdbias.report.cues import share
from kdbias.report.demo_results import MEASURES, DemoResults, mean
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.stats import accuracy, difference, holm, image_noise


def networks_table(measured: DemoResults) -> Table:
    """Give a row for each network."""
    rows: list[list[Cell]] = []
    for name, networks in measured.networks.items():
        for seed, network in enumerate(networks):
            cues = network.cues
            distance = "-" if network.attention is None else network.attention.scalars["distance"]
            alone = [accuracy(cues.arrays[f"right_{cue}"]) for cue in ("shape", "texture")]
            label = name if len(networks) == 1 else f"{name}, seed {seed}"
            right = accuracy(network.test.arrays["right"])
            rows.append([label, right, share(cues), cues.scalars["decided"], *alone, distance])
    columns = [
        Column("network"),
        percent("accuracy"),
        percent("shape share"),
        percent("decided", 0),
        percent("shape alone"),
        percent("texture alone"),
        Column("attention distance", digits=2, unit="patches"),
    ]
    tested, conflict = (len(measured.teacher.test.arrays["right"]), int(measured.teacher.cues.meta["n"]))
    note = (
        f"Accuracy on {tested:,} test images whose cues agree; the other columns on {conflict:,} images each. "
        "Decided: decisions for either cue. 95 % intervals over images."
    )
    return Table("Networks", columns, rows, note)


def index_table(measured: DemoResults) -> Table:
    """Give the transfer index over seeds, and over images for each seed."""
    found = measured.index
    teacher = measured.teacher.cues.scalars["shape_share"]
    shares = [[n.cues.scalars["shape_share"] for n in of] for of in (measured.student, measured.control)]
    rows: list[list[Cell]] = []
    if len(shares[0]) > 1:
        rows.append([f"{len(shares[0])} seeds", "seeds, not the teacher's", *map(mean, shares), teacher, found.seeds])
    for seed, (student, control) in enumerate(zip(*shares, strict=True)):
        rows.append([f"seed {seed}", "images, not seeds", student, control, teacher, found.images[seed]])
    heads = ["student", "control", "teacher"]
    columns = [Column("networks"), Column("noise in the interval"), *(percent(h) for h in heads)]
    note = "(student - control) / (teacher - control) of the shape share: 0 is the control, 1 the teacher."
    return Table("Transfer index", [*columns, Column("transfer index", digits=2)], rows, note)


def gain_table(measured: DemoResults) -> Table:
    """Give student minus control in accuracy, over images for each seed and over seeds."""
    rows: list[list[Cell]] = []
    tests = []
    for name, measure in MEASURES.items():
        pairs = [
            (one.right(measure).arrays["right"], other.right(measure).arrays["right"])
            for one, other in zip(measured.student, measured.control, strict=True)
        ]
        ours, theirs = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
        over_seeds = difference(ours.mean(1), theirs.mean(1), noise=image_noise(ours, theirs))
        together = difference(ours.mean(0), theirs.mean(0), over="images")
        tests.append(together.p)
        rows.append(
            [name, *([over_seeds] if len(pairs) > 1 else []), *(difference(*pair, over="images") for pair in pairs)]
        )
    for row, p in zip(rows, holm(tests), strict=True):
        row.append(f"{p:.4f}" if p >= 0.001 else "< 0.001")
    seeds = [Column(f"seed {seed}, over images", 100.0, 1) for seed in range(len(measured.student))]
    over = [Column(f"over {len(seeds)} seeds", 100.0, 1)] if len(seeds) > 1 else []
    columns = [Column("accuracy with"), *over, *seeds, Column("p over images")]
    note = (
        "Paired: the same images, the same seeds. p: permutation over images of the mean over seeds, Holm over "
        "the three rows; like every interval over images it says nothing of other seeds."
    )
    return Table("Student - control, percentage points", columns, rows, note)
