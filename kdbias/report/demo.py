"""The demo's page: how much of a teacher's known preference a student inherited, and its cost in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.attention import distance_by_layer
from kdbias.report.cues import shape_and_texture, share
from kdbias.report.curves import Metrics, training_curves
from kdbias.report.page import Code, Image, Section, page
from kdbias.report.table import Cell, Column, Table, format_difference, percent
from kdbias.report.verdict import Finding, cost, gain, index, inherited
from kdbias.stats import accuracy, difference, holm, image_noise

MEASURES = {"both cues": "test", "shape alone": "shape", "texture alone": "texture"}


@dataclass(frozen=True)
class DemoNetwork:
    """The Results of one trained network: test accuracy, cues, training curves, and attention if it has any."""

    test: Result
    cues: Result
    metrics: Metrics
    attention: Result | None = None

    def right(self, measure: str) -> Result:
        """Give a Result whose array ``right`` says which answers are right; ``measure`` is a value of ``MEASURES``."""
        if measure == "test":
            return self.test
        return Result(measure, {}, {"right": self.cues.arrays[f"right_{measure}"]}, self.cues.meta)


@dataclass(frozen=True)
class DemoResults:
    """The networks of the demo; students and controls are paired by seed. ``how`` says how they were trained."""

    teacher: DemoNetwork
    control: Sequence[DemoNetwork]
    student: Sequence[DemoNetwork]
    untrained: Result
    how: Sequence[str | Code]

    @cached_property
    def index(self) -> Finding:
        """The transfer index of the shape share."""
        return index([n.cues for n in self.student], [n.cues for n in self.control], self.teacher.cues)

    def gain(self, measure: str) -> Finding:
        """Give the student's accuracy minus the control's; ``measure`` is a value of ``MEASURES``."""
        return gain([n.right(measure) for n in self.student], [n.right(measure) for n in self.control])

    @property
    def networks(self) -> dict[str, Sequence[DemoNetwork]]:
        """All networks by name, in the order of tables and figures."""
        return {"student": self.student, "teacher": [self.teacher], "control": self.control}


def demo_page(measured: DemoResults) -> str:
    """Write the page; it refers to nothing outside it."""
    figures = demo_figures(measured)
    n = len(measured.student)
    return page(
        "What a vision transformer takes over from a CNN that goes by shape",
        [
            Section(
                "Shape or texture",
                [
                    Image(
                        figures["cues"],
                        "Left: decisions for the shape, of all for either cue, on images with the shape of one class "
                        "and the texture of another; 95 % intervals over images; the line is at one half. Right: "
                        "accuracy with both cues, and where only one is there.",
                    ),
                    networks_table(measured),
                    index_table(measured),
                    gain_table(measured),
                ],
            ),
            Section(
                "Where attention looks",
                [
                    attention_sentence(measured),
                    Image(
                        figures["attention"],
                        "Mean attention distance of each layer, in patches, on the same test images. "
                        + (f"The band goes from the lowest to the highest of {n} seeds. " if n > 1 else "")
                        + "Attention that is directed nowhere lies on the line of uniform attention.",
                    ),
                ],
            ),
            Section(
                "Training",
                [
                    Image(
                        figures["training"],
                        "The student's loss is its divergence from the teacher, the others' is cross-entropy with the "
                        "labels: compare courses, not heights. Validation images are as contradictory as the "
                        "training images of each, so the teacher's are others than those of student and control.",
                    )
                ],
            ),
            Section("How it was made", measured.how),
        ],
        lead=lead(measured),
    )


def lead(measured: DemoResults) -> str:
    """Say in two or three sentences how much was inherited and what it cost in accuracy."""
    shares = {name: _mean(each.cues.scalars["shape_share"] for each in of) for name, of in measured.networks.items()}
    accuracies = {name: _mean(each.test.scalars["accuracy"] for each in of) for name, of in measured.networks.items()}
    first = inherited(measured.index, (shares["student"], shares["control"], shares["teacher"]))
    return f"{first} {cost(measured.gain('test'), (accuracies['student'], accuracies['control']))}"


def attention_sentence(measured: DemoResults) -> str:
    """Compare the mean attention distance of student, control, untrained network and uniform attention."""
    runs = {name: _attention(of) for name, of in measured.networks.items() if name != "teacher"}
    found = {name: [run.scalars["distance"] for run in results] for name, results in runs.items()}
    compared = difference(found["student"], found["control"])
    count = len(found["student"])
    noise = (
        f"student - control over {count} seeds: {format_difference(compared, digits=2)}"
        if count > 1
        else "one seed each: no difference shown"
    )
    uniform = float(measured.untrained.arrays["uniform_distance"])
    return (
        f"Over all layers the student attends {_mean(found['student']):.2f} patches away on average, the control "
        f"{_mean(found['control']):.2f} ({noise}). The "
        f"untrained network is at {measured.untrained.scalars['distance']:.2f}, uniform attention at {uniform:.2f}. "
        "The teacher, a CNN, has no attention."
    )


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
        rows.append([f"{len(shares[0])} seeds", "seeds, not the teacher's", *map(_mean, shares), teacher, found.seeds])
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


def demo_figures(measured: DemoResults) -> dict[str, Figure]:
    """Draw the figures, by file name."""
    networks = measured.networks
    cues = {name: [n.cues for n in of] for name, of in networks.items()}
    tests = {name: [n.test for n in of] for name, of in networks.items()}
    runs: Mapping[str, Sequence[Metrics]] = {name: [n.metrics for n in of] for name, of in networks.items()}
    attention = {name: _attention(of) for name, of in networks.items() if name != "teacher"}
    curves = training_curves({"student": runs["student"], "teacher": runs["teacher"]}, control=runs["control"])
    return {
        "cues": shape_and_texture(cues, tests, control="control"),
        "attention": distance_by_layer(
            {"student": attention["student"]}, control=attention["control"], initial=measured.untrained
        ),
        "training": curves,
    }


def _attention(networks: Sequence[DemoNetwork]) -> list[Result]:
    return [network.attention for network in networks if network.attention is not None]


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]
