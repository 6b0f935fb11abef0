"""What several tasks share: the networks of a config measured, and figures written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from kdbias.analysis import results
from kdbias.analysis.control_group import had_teacher
from kdbias.analysis.labels import check_classes
from kdbias.analysis.measure import measure
from kdbias.analysis.networks import Subject, device_name, subjects
from kdbias.analysis.probe_configs import Nodes
from kdbias.analysis.references import teachers, untrained
from kdbias.analysis.results import Measured
from kdbias.config.spec import Tree
from kdbias.report.style import save


def gathered(tree: Tree, nodes: Nodes, of_teachers: Nodes | None = None, *, has_groups: bool = False) -> list[Measured]:
    """Measure the networks that the config names, and save the Results in ``out``.

    The control and the untrained network are measured too, if the config asks for them. ``nodes`` are the probes of
    these networks, ``of_teachers`` those of the runs' teachers. With ``from_results`` nothing is computed: the Results
    of an earlier call are read. A line says how to name a control if there is none, unless the caller ``has_groups``,
    in which it looks for controls itself.

    Raises:
        ConfigError: no network is named, ``from_results`` is not the folder of an earlier call, or the data has other
            classes than a run was trained on.
    """
    if tree.get("from_results") is not None:
        return results.load(Path(str(tree["from_results"])))
    found, folder = subjects(tree), Path(tree["out"])
    check_classes(found, nodes)
    if not has_groups and not any(subject.control for subject in found):
        print("no control beside: control_run=RUN_DIR names the same student trained without teacher")
    for line in map(_taught_control, found):
        if line:
            print(line)
    for note in dict.fromkeys(subject.teacher.note for subject in found if subject.teacher and subject.teacher.note):
        print(note)
    if tree["untrained"]:
        found += untrained(found, device_name(tree))
    networks = measure(tree, nodes, found, folder)
    if of_teachers:
        own = [subject for subject in found if (subject.spec.get("teacher") or {}).get("name") is not None]
        networks += measure(tree, of_teachers, teachers(own, device_name(tree)), folder)
    if networks:
        results.save(networks, folder)
    return networks


def _taught_control(subject: Subject) -> str:
    """Say of a control that it had a teacher itself; empty of every other network."""
    teacher, kept = (subject.spec.get("teacher") or {}).get("name"), subject.spec.get("control")
    if not subject.control or teacher is None:
        return ""
    return f"the control {subject.name} is not the student without a teacher: it {had_teacher(teacher, kept)}"


def save_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write figures as SVG and PNG, and print where."""
    for label, figure in figures.items():
        save(figure, folder / f"{label}.svg")
        print(save(figure, folder / f"{label}.png"))
