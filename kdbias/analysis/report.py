"""``python analyze.py task=report study=NAME``: the page of a study, or of any runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from kdbias.analysis.collect import gathered
from kdbias.analysis.examples import examples
from kdbias.analysis.hypotheses import Scores, judged, score
from kdbias.analysis.networks import INITIAL, run_name
from kdbias.analysis.probe import draw
from kdbias.analysis.probe_configs import Nodes, wanted
from kdbias.analysis.published import published
from kdbias.analysis.reported import Reported, ReportedGroup, reported_runs, reported_study
from kdbias.analysis.results import Measured, by_label
from kdbias.analysis.study_node import Hypothesis, Measure, hypotheses
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.probes.base import Result
from kdbias.report.bias_transfer import PROBE as BIAS
from kdbias.report.curves import Metrics, read_metrics
from kdbias.report.group import TEST, Group, levels_csv
from kdbias.report.judged import Judged, verdict_csv
from kdbias.report.study import (
    lead,
    study_figures,
    study_markdown,
    study_page,
    study_tables,
    transfer_sentences,
)
from kdbias.report.study_cues import first_numbers
from kdbias.report.study_level import Level
from kdbias.report.study_results import StudyResults, unlike
from kdbias.report.style import save

OF_RUN = ("test", "val", "train")  # measures that a run folder holds itself
METRICS = "metrics.csv"
OF_TEACHERS = ("cues", "bias")  # what teachers are measured by, beside their accuracy


def report(tree: Tree) -> None:
    """Measure what the hypotheses need and is not in the cache, judge them, and write page, tables and figures.

    Without a study it is a page of ``runs``: run folders, or folders of them such as a sweep's.

    Raises:
        ConfigError: no run is done, or the study has mistakes.
    """
    what = reported_study(tree) if tree.get("study") is not None else reported_runs(tree)
    if not any(group.folders for group in what.groups):
        raise ConfigError(f"{what.key}: no run is done yet: task=status says how far they are")
    claims = hypotheses(what.node)
    smallest = smallest_difference(tree)
    nodes = probe_nodes(tree, what, claims)
    networks = _measured(tree, what, nodes) if nodes else []
    found = replace(results_of(what, claims, networks), smallest=smallest)
    path = write(found, what.folder, what.name)
    first = [line for line in (found.title, first_numbers(found), lead(found)) if line]
    Console().print("\n" + "\n".join(first) + "\n", highlight=False, markup=False)
    for one in found.judged:
        Console().print(f"* {one.sentence}", highlight=False, markup=False)
    for line in [] if found.transfer is None else transfer_sentences(found.transfer):
        Console().print(f"* {line}", highlight=False, markup=False)
    print(f"\nthe page, with its tables and figures beside it:\n{path}")


def probe_nodes(tree: Tree, what: Reported, claims: Sequence[Hypothesis]) -> Nodes:
    """Give the probes that the hypotheses read, and those that the study or the command names, with its settings."""
    measures = [one.measure for one in claims] + [one.matched for one in claims if one.matched]
    names = [one.probe for one in measures if one.probe not in OF_RUN and one.part is None]
    settings: Mapping[str, Any] = what.node.get("probes") or {}
    names += [*settings, *([] if what.node else tree.get("probe") or {})]
    found = wanted(tree, list(dict.fromkeys(names)))
    return {name: {**node, **(settings.get(name) or {})} for name, node in found.items()}


def teacher_nodes(tree: Tree, nodes: Nodes) -> Nodes:
    """Give the probes of the teachers."""
    own = {name: nodes[name] for name in OF_TEACHERS if name in nodes}
    alone = {BIAS: {**own[BIAS], "teacher": None}} if BIAS in own else {}  # a teacher is not compared with itself
    return {**wanted(tree, ["accuracy"]), **own, **alone}


def smallest_difference(tree: Tree) -> float | None:
    """Give the smallest difference of a retention that matters, within which two are called equal; None without one.

    Raises:
        ConfigError: ``effect`` is no number above 0.
    """
    value = tree.get("effect")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"effect: must be a number above 0, such as .05 of the retention, got {value!r}")
    return float(value)


def _measured(tree: Tree, what: Reported, nodes: Nodes) -> list[Measured]:
    return gathered(measured_tree(tree, what), nodes, teacher_nodes(tree, nodes), has_groups=True)


def measured_tree(tree: Tree, what: Reported) -> Tree:
    """Give the config with which the runs are measured."""
    folders = [(folder, group.label) for group in what.groups for folder in group.folders.values()]
    images = tree["images"] if tree["images"] is not None else what.node.get("images")
    return {
        **tree,
        "runs": [str(folder) for folder, _ in folders],
        "names": [label for _, label in folders],
        "control_run": None,
        "images": images,
        "out": str(what.folder / "results"),
        "from_results": None,
    }


def results_of(what: Reported, claims: Sequence[Hypothesis], networks: Sequence[Measured]) -> StudyResults:
    """Put what was measured together by group, and judge the hypotheses."""
    by_folder = {one.name: one for one in networks}
    groups = []
    for group in what.groups:
        results: dict[str, dict[int, Result]] = {}
        for seed, folder in group.folders.items():
            own = by_folder.get(run_name(folder))
            for name, result in {**tested(folder), **(own.results if own else {})}.items():
                results.setdefault(name, {})[seed] = result
        groups.append(Group(group.label, group.planned, group.facts, results, group.control))
    scores = {one.text: scores_of(one, what, groups) for one in measures_of(claims)}
    beside, teachers = references(what, networks)
    why = sorted({f"{measure}: {reason}" for measure, of in scores.items() for reason in of.why.values()})
    why += several_teachers(what, networks)
    found = judged(claims, scores)
    trained = [Group(one.label, one.planned, one.facts) for one in what.teachers]
    probes = dict.fromkeys(name for one in networks for name in one.results)
    figures = {name: drawn(name, networks) for name in probes}
    ratios, setting = published(networks)
    return StudyResults(
        title=what.title,
        question=what.question,
        groups=groups,
        judged=found,
        levels=levels(claims, scores),
        beside=beside,
        teachers=teachers,
        figures=figures,
        how=what.how,
        missing=why,
        restated=what.restated,
        late=what.late,
        trained=trained,
        published=ratios,
        setting=setting,
        about=str(what.node.get("about") or ""),
        metrics=curves([*what.groups, *what.teachers]),
        examples=examples(claims, networks, teachers),
    )


def curves(groups: Sequence[ReportedGroup]) -> dict[str, list[Metrics]]:
    """Give what the runs of each group logged while they were trained.

    A run without a ``metrics.csv`` is left out, and one whose file is damaged, with a line that says so.
    """
    found: dict[str, list[Metrics]] = {}
    for group in groups:
        for folder in group.folders.values():
            try:
                found.setdefault(group.label, []).append(read_metrics(folder / METRICS))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                print(f"{error}: its training curves are left out")
    return {label: runs for label, runs in found.items() if runs}


def measures_of(claims: Sequence[Hypothesis]) -> list[Measure]:
    """Give the measures of hypotheses, each once."""
    found = [each for one in claims for each in (one.measure, one.matched) if each is not None]
    return list({one.text: one for one in found}.values())


def levels(claims: Sequence[Hypothesis], scores: Mapping[str, Scores]) -> list[Level]:
    """Give the numbers that hypotheses read, by measure and group, without test accuracies: these have a table."""
    read = {
        (measure.text, label): measure
        for one in claims
        for measure in (one.measure, one.matched)
        for label in (*one.of, *one.than)
        if measure is not None and (measure.probe, measure.key) != (TEST, "accuracy")
    }
    of = {place: scores[place[0]].by_group.get(place[1], {}) for place in sorted(read, key=lambda place: place[0])}
    return [
        Level(text, label, {seed: found.value for seed, found in by_seed.items()}, read[text, label].percent)
        for (text, label), by_seed in of.items()
        if by_seed
    ]


def scores_of(measure: Measure, what: Reported, groups: Sequence[Group]) -> Scores:
    """Give the scores of a measure by group and seed, and why they are missing."""
    found: dict[str, dict[int, Any]] = {}
    why: dict[str, str] = {}
    for reported, group in zip(what.groups, groups, strict=True):
        for seed, folder in reported.folders.items():
            results = {name: of[seed] for name, of in group.results.items() if seed in of}
            try:
                found.setdefault(group.label, {})[seed] = score(measure, folder, results)
            except (ValueError, OSError) as error:
                why[group.label] = f"{group.label}: {error}"
        if not reported.folders:
            why[group.label] = f"no run of {group.label} is done"
    return Scores(found, why)


def tested(folder: Path) -> dict[str, Result]:
    """Give the Result on the test set that a run made at its end; empty if it has none that can be read."""
    try:
        return {TEST: Result.load(folder / "probes", TEST)}
    except (OSError, ValueError):
        return {}


def references(
    what: Reported, networks: Sequence[Measured]
) -> tuple[dict[str, dict[str, Result]], dict[str, dict[str, Result]]]:
    """Give the Results of untrained networks and teachers by probe, and those of each group's teacher by group.

    A group whose seeds had different teachers has none there, since its seeds are not to be measured against one.
    """
    beside: dict[str, dict[str, Result]] = {}
    taken = [group.label for group in what.groups]
    for one in networks:
        if one.role in ("initial", "teacher"):
            label = unlike(f"teacher {one.label}", taken) if one.role == "teacher" else one.label
            taken.append(label)
            for name, result in one.results.items():
                beside.setdefault(name, {})[label] = result
    by_key = {one.about["teacher_key"]: one.results for one in networks if one.role == "teacher"}
    keys = taught_by(what, networks)
    taught = {label: by_key[one] for label, (one, *more) in keys.items() if one in by_key and not more}
    return beside, taught


def taught_by(what: Reported, networks: Sequence[Measured]) -> dict[str, list[Any]]:
    """Give the keys of the teachers of each group, each once; several where its seeds had different ones."""
    labels, found = {group.label for group in what.groups}, dict[str, dict[Any, None]]()
    for one in networks:
        if one.label in labels and (key := _key(one)) is not None:
            found.setdefault(one.label, {})[key] = None
    return {label: list(keys) for label, keys in found.items()}


def several_teachers(what: Reported, networks: Sequence[Measured]) -> list[str]:
    """Name the groups whose seeds had different teachers."""
    counts = {label: len(keys) for label, keys in taught_by(what, networks).items()}
    return [f"what {label} took over: its seeds had {n} different teachers" for label, n in counts.items() if n > 1]


def _key(one: Measured) -> Any:
    return one.about["teacher_key"] if one.role != "initial" and one.about["teacher"] else None


def drawn(name: str, networks: Sequence[Measured]) -> dict[str, Figure]:
    """Draw the figures of a probe that the page does not draw itself."""
    results = by_label(networks, name)
    return draw(name, {label: found for label, found in results.items() if name != "accuracy" or label != INITIAL})


def write(found: StudyResults, folder: Path, name: str) -> Path:
    """Write page, Markdown, tables and figures; give the path of the page."""
    for label, figure in study_figures(found).items():
        save(figure, folder / "figures" / f"{label}.svg")
        save(figure, folder / "figures" / f"{label}.png")
    for label, table in study_tables(found).items():
        judges: Sequence[Judged] = found.judged if label == "hypotheses" else ()
        csv = verdict_csv(judges) if judges else levels_csv(found.levels) if label == "judged" else table.csv()
        write_text(folder / f"{label}.csv", csv)
    write_text(folder / f"{name}.md", study_markdown(found))
    path = folder / f"{name}.html"
    write_text(path, study_page(found))
    return path
