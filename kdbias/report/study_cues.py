"""The section of a study on shape and texture: what was taken over from the teachers, and how far each cue carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kdbias.probes.base import Result
from kdbias.report.cues import cue_accuracies, shape_and_texture, shape_shares, share
from kdbias.report.group import TEST, Group
from kdbias.report.page import Image, Panel, Part
from kdbias.report.study_results import TEACHER, StudyResults, unlike
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.report.verdict import cost, decisions, gain, index, inherited, within_noise
from kdbias.stats import accuracy

PROBE = "cues"
CONTROL = "control"
WIDTH, HEIGHT = 4.0, 3.0  # inches of a panel: two beside each other on a page, one on a phone
ROOM = 0.8  # inches of a bar with its name, where there are many
Networks = Mapping[str, Sequence[Result]]


def cue_parts(found: StudyResults) -> list[Part]:
    """Give what was inherited in words, then shape shares and accuracies as figures; for one seed a table as well."""
    whose = "of one seed" if found.one_seed else "of one seed each, not the same"
    alone = [f"These networks are {whose}: what is said of them, with intervals over images, holds for them alone."]
    said = "\n\n".join([*(alone if found.unrepeated else []), *inheritance(found)])
    caption = (
        "First: decisions for the shape, of all for either cue, on cue-conflict images, with 95 % intervals over "
        "images; the line is at one half. Second: accuracy with both cues, and where only one is there."
    )
    panels = cue_panels(found)
    drawn: list[Part] = [Image(list(panels.values()), caption)] if panels else []
    table = networks_table(found)
    return [*([said] if said else []), *drawn, *([table] if table is not None else [])]


def cue_figures(found: StudyResults) -> dict[str, Figure]:
    """Draw the figures, by file name: one with both panels, and each panel."""
    networks, tests = shown(found)
    if not networks:
        return {}
    both = shape_and_texture(networks, tests, control=CONTROL)
    return {PROBE: both, **{name: panel.figure for name, panel in cue_panels(found).items()}}


def cue_panels(found: StudyResults) -> dict[str, Panel]:
    """Draw shape shares and accuracies, by file name; empty if no group was measured."""
    networks, tests = shown(found)
    if not networks:
        return {}
    width = max(WIDTH, ROOM * len(networks))
    shares = {name: _mean(results, "shape_share") for name, results in networks.items()}
    groups = {
        "both cues": {name: _mean(results, "accuracy") for name, results in tests.items()},
        "shape alone": {name: _mean(results, "accuracy_shape") for name, results in networks.items()},
        "texture alone": {name: _mean(results, "accuracy_texture") for name, results in networks.items()},
    }
    guess = 100 / int(next(iter(tests.values()))[0].meta["classes"])
    said = "; ".join(f"with {cue}: {_written(of)}" for cue, of in groups.items())
    return {
        "shape-share": Panel(
            shape_shares(networks, control=CONTROL, width=width, height=HEIGHT),
            f"Bars: decisions for the shape. {_written(shares)}. Half is marked by a line.",
        ),
        "cue-accuracy": Panel(
            cue_accuracies(networks, tests, control=CONTROL, width=width, height=HEIGHT),
            f"Bars: accuracy {said}. Guessing gives {guess:.3g} %.",
        ),
    }


def shown(found: StudyResults) -> tuple[Networks, Networks]:
    """Give the Results on cues and on the test set of the groups that have both, and of the teachers, by name."""
    both = [group for group in found.groups if group.results.get(PROBE) and group.results.get(TEST)]
    cues, tests = ({group.label: list(group.results[name].values()) for group in both} for name in (PROBE, TEST))
    tested = found.beside.get("accuracy", {})
    taught = {name: result for name, result in found.beside.get(PROBE, {}).items() if name.startswith(TEACHER) and both}
    for name, result in taught.items():
        if name in tested:
            label = unlike(TEACHER.strip() if len(taught) == 1 else name, cues)
            cues[label], tests[label] = [result], [tested[name]]
    return cues, tests


def inheritance(found: StudyResults) -> list[str]:
    """Say of each taught group how much of its teacher's preference it took over, and what that cost in accuracy."""
    said = {}
    for group, control, teacher in _taught(found):
        ours, theirs = _paired(group, control, PROBE)
        said[group.label] = f"{inherited(index(ours, theirs, teacher), _shares(ours, theirs, teacher))}"
        said[group.label] += _cost(group, control)
    return [text if len(said) == 1 else f"{label}: {text}" for label, text in said.items()]


def shares_within_noise(found: StudyResults) -> list[str]:
    """Say of which taught groups it is not shown that their shape share differs from their control's."""
    said = {
        f"{group.label} against {control.label}": within_noise(index(*_paired(group, control, PROBE), teacher))
        for group, control, teacher in _taught(found)
    }
    return [f"Shape share of {which}: {text}." for which, text in said.items() if text]


def first_numbers(found: StudyResults) -> str:
    """Say in a sentence what student, control and teacher go by; empty unless one group is taught and was measured."""
    taught = _taught(found)
    if len(taught) != 1:
        return ""
    ((group, control, teacher),) = taught
    return decisions(_shares(*_paired(group, control, PROBE), teacher))


def networks_table(found: StudyResults) -> Table | None:
    """Give a row for each network, with intervals over images; None where seeds have intervals of their own."""
    networks, tests = shown(found)
    if not networks or not found.unrepeated:
        return None
    rows: list[list[Cell]] = []
    for name, (cues, *_) in networks.items():
        right = tests[name][0].arrays["right"]
        alone = [accuracy(cues.arrays[f"right_{cue}"]) for cue in ("shape", "texture")]
        rows.append([name, accuracy(right), share(cues), cues.scalars["decided"], *alone])
    columns = [Column("network"), percent("accuracy"), percent("shape share"), percent("decided", 0)]
    sizes: dict[int, list[str]] = {}
    for name, of in tests.items():
        sizes.setdefault(len(of[0].arrays["right"]), []).append(name)
    tested = [f"{size:,}" + (f" ({', '.join(names)})" if len(sizes) > 1 else "") for size, names in sizes.items()]
    counts = sorted({int(of[0].meta["n"]) for of in networks.values()})
    note = (
        f"Accuracy on {' or '.join(tested)} test images whose cues agree; the other columns on {_counted(counts)} "
        "images each. Decided: decisions for either cue. 95 % intervals over images: they say nothing of other seeds."
    )
    return Table("Networks", [*columns, percent("shape alone"), percent("texture alone")], rows, note)


def _taught(found: StudyResults) -> list[tuple[Group, Group, Result]]:
    """The groups that were measured with their control and teacher, each with these two."""
    taught = []
    for group in found.groups:
        control, teacher = found.control_of(group), found.teachers.get(group.label, {}).get(PROBE)
        if control is not None and teacher is not None and not teacher.refused and _paired(group, control, PROBE)[0]:
            taught.append((group, control, teacher))
    return taught


def _shares(ours: Sequence[Result], theirs: Sequence[Result], teacher: Result) -> tuple[float, float, float]:
    return _mean(ours, "shape_share"), _mean(theirs, "shape_share"), teacher.scalars["shape_share"]


def _cost(group: Group, control: Group) -> str:
    ours, theirs = _paired(group, control, TEST)
    sizes = {result.arrays["right"].shape if "right" in result.arrays else () for result in (*ours, *theirs)}
    if len(sizes) != 1 or () in sizes:
        return ""
    return f" {cost(gain(ours, theirs), (_mean(ours, 'accuracy'), _mean(theirs, 'accuracy')))}"


def _paired(group: Group, control: Group, probe: str) -> tuple[list[Result], list[Result]]:
    own, other = (one.results.get(probe, {}) for one in (group, control))
    seeds = sorted(own.keys() & other.keys())
    return [own[seed] for seed in seeds], [other[seed] for seed in seeds]


def _mean(results: Sequence[Result], key: str) -> float:
    return float(np.mean([result.scalars[key] for result in results]))


def _written(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items())


def _counted(sizes: Sequence[int]) -> str:
    return " or ".join(f"{size:,}" for size in sizes)
