"""The runs that a page reports: those of a study, or those of folders, in groups of one config but for the seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from kdbias.analysis.control_group import PLAIN, Candidate, control_of, unlike_recipe
from kdbias.analysis.finished import control_kind, finished
from kdbias.analysis.networks import CONTROL, paths
from kdbias.analysis.recipe import joined, recipe
from kdbias.analysis.status import study_of
from kdbias.analysis.study import Study, shell
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import printable, typed
from kdbias.report.page import Code
from kdbias.report.study_results import unlike
from kdbias.runs import failure, run_folder
from kdbias.runs.clock import rounded

LONGEST = 100  # characters of a group's name


@dataclass(frozen=True)
class ReportedGroup:
    """The runs of one row: finished ones by seed, with what their ``result.json`` says; ``control`` is its control."""

    label: str
    planned: int
    folders: dict[int, Path] = field(default_factory=dict)
    facts: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    control: str | None = None


@dataclass(frozen=True)
class Reported:
    """What a page is about: ``node`` is the study's yaml (empty without a study), ``key`` the setting that names it.

    ``restated`` names hypotheses that were changed after the first result, ``late`` says that results were there when
    the study was recorded first.
    """

    key: str
    name: str
    title: str
    question: str
    node: Tree
    groups: Sequence[ReportedGroup]
    how: Sequence[str | Code]
    folder: Path
    teachers: Sequence[ReportedGroup] = ()
    restated: Sequence[str] = ()
    late: bool = False


def reported_study(tree: Tree) -> Reported:
    """Give the runs of the study that a config of ``analyze`` names.

    Raises:
        ConfigError: as ``kdbias.analysis.status.study_of``.
    """
    study = study_of(tree)
    groups, left = [], list[str]()
    for label, runs in study.groups.items():
        node = study.node["runs"][label]
        control = node.get("control") or (CONTROL if CONTROL in study.groups and label != CONTROL else None)
        group = ReportedGroup(label, len(runs), control=control)
        for one in runs:
            found = run_folder.result(one.run.folder, one.run.key)
            if found is not None:
                group.folders[one.seed], group.facts[one.seed] = one.run.folder, found
            elif one.run.folder.exists():
                left.append(f"{label}, seed {one.seed}, {_lack(one.run.folder)}")
        groups.append(group)
    question = str(study.node.get("question") or "")
    how = how_made(study.command, groups, [_recipes(study)])
    differ = _unlike_controls(groups)
    for said in differ:
        print(said)
    how += [" ".join(differ)] if differ else []
    how += [f"Begun, and not on this page: {'; '.join(left)}."] if left else []
    title, teachers = question or study.name, study_teachers(study)
    return Reported(
        "study",
        study.name,
        title,
        question,
        study.node,
        groups,
        how,
        study.folder,
        teachers,
        restated=study.stated.changed(study.node.get("hypotheses") or {}),
        late=study.stated.late,
    )


def reported_runs(tree: Tree) -> Reported:
    """Give the runs that ``runs`` names; a folder stands for the runs in it.

    Runs whose configs differ in the seed alone are one group (``recipe.joined``). Runs that are not finished, that
    stopped early or whose ``result.json`` is of another config are named and left out.

    Raises:
        ConfigError: there is no finished run, or two runs of a group have the same seed.
    """
    read: list[tuple[Path, Tree, Mapping[str, Any]]] = []
    left: list[str] = []
    for folder in run_folders(paths(tree["runs"])):
        saved, facts, lack = finished(folder)
        if lack:
            left.append(f"{typed(folder)} {lack}")
            print(f"{folder} {lack}: left out")
            continue
        read.append((folder, saved, facts))
    found: dict[str, ReportedGroup] = {}
    named: dict[str, tuple[str, list[str]]] = {}
    seeds = [int(saved["seed"]) for _, saved, _ in read]
    recipes = joined([recipe(saved) for _, saved, _ in read], seeds)
    for (folder, saved, facts), seed, one in zip(read, seeds, recipes, strict=True):
        key = json.dumps(one, sort_keys=True, default=str)
        if key not in found:
            found[key] = ReportedGroup("", 0)
            control = control_kind(saved, facts)
            named[key] = f"{saved['name']}{f', control {control}' if control else ''}", _typed(saved)
        if seed in found[key].folders:
            other = found[key].folders[seed]
            raise ConfigError(f"runs: {folder} and {other} are the same run of seed {seed}: leave one out")
        found[key].folders[seed], found[key].facts[seed] = folder, facts
    found = {key: replace(found[key], label=label) for key, label in _labels(named).items()}
    groups, differ = _with_controls(found)
    if not groups:
        raise ConfigError(f"runs: none is finished ({len(left)} are not): name run folders, or a sweep's folder")
    folders = ",".join(map(str, paths(tree["runs"])))
    how = how_made(shell(["python analyze.py", *_command(tree, folders)]), groups, [])
    how += [" ".join(differ)] if differ else []
    how += [f"Left out: {'; '.join(left)}."] if left else []
    return Reported("runs", "report", f"Runs of {folders}", "", {}, groups, how, Path(str(tree["out"])))


def _command(tree: Tree, folders: str) -> list[str]:
    """The words that were typed; where no command was, those that name the runs, the probes and the effect."""
    if HydraConfig.initialized() and (words := list(HydraConfig.get().overrides.task)):
        return words
    probes = [f"probe=[{','.join(tree['probe'])}]"] if tree.get("probe") else []
    effect = [f"effect={tree['effect']}"] if tree.get("effect") is not None else []
    return ["task=report", f"runs=[{folders}]", *probes, *effect]


def run_folders(named: Sequence[Path]) -> list[Path]:
    """Give the run folders among ``named`` and directly below them, each once.

    Raises:
        ConfigError: one of them is neither.
    """
    found: list[Path] = []
    for path in named:
        found += run_folder.own_or_inside(path)
    if not found:
        raise ConfigError("study: name one, study=NAME, or runs: runs=[runs/sweep]")
    return list({folder.resolve(): folder for folder in found}.values())


def how_made(command: str, groups: Sequence[ReportedGroup], more: Sequence[str]) -> list[str | Code]:
    """Say with which command, revision, hardware and seeds the runs were made."""
    facts = [one for group in groups for one in group.facts.values()]
    machines = [one.get("environment") or {} for one in facts]
    seeds = sorted({seed for group in groups for seed in group.facts})
    seconds = sum(one["seconds"] for one in facts if isinstance(one.get("seconds"), int | float))
    revisions = {
        f"{str(one.get('git') or 'unknown')[:10]}{', with changes' if one.get('dirty') else ''}" for one in machines
    }
    hardware = {
        f"{one.get('gpu') or one.get('cpu')}, {(threads := one.get('threads'))} thread{'s' * (threads != 1)} a run"
        for one in machines
    }
    versions = {f"torch {one.get('torch')}, kdbias {one.get('kdbias')}" for one in machines}
    folders = [
        f"# {group.label}, seed {seed}: {typed(path)}" for group in groups for seed, path in group.folders.items()
    ]
    return [
        f"{len(facts)} runs, seeds {', '.join(map(str, seeds))}; {rounded(seconds)} of training together. "
        f"Hardware: {_listed(hardware)}. Revision {_listed(revisions)}. {_listed(versions)}.{_weights(facts)}",
        Code("\n".join([command, *more, *folders])),
    ]


def _lack(folder: Path) -> str:
    """Why a run that was begun has no result."""
    try:
        lack = finished(folder)[2] or "has the result of another run"
    except ConfigError as error:
        return f"is damaged ({str(error).removesuffix(': leave it out')})"
    failed = failure.reason(folder)
    return f"failed ({printable(failed)})" if failed is not None and lack == "is not finished" else lack


def _weights(facts: Sequence[Mapping[str, Any]]) -> str:
    """Say which weights of each run were measured; nothing if no run recorded it."""
    of = [(one["best_epoch"], one.get("objective_name")) for one in facts if isinstance(one.get("best_epoch"), int)]
    if not of:
        return ""
    epochs, by = sorted(epoch for epoch, _ in of), _listed({str(name) for _, name in of})
    first, last = epochs[0], epochs[-1]
    which = f"epoch {first}" if first == last else f"one of the epochs {first} to {last}"
    others = "" if len(of) == len(facts) else " Of the other runs they are those of the last epoch."
    return f" Measured are the weights of each run's best epoch by {by}: {which}, counted from 0.{others}"


def study_teachers(study: Study) -> list[ReportedGroup]:
    """Give the teachers that were trained for the study, each a group of one run."""
    found = {one.teacher.folder: one.teacher for one in study.runs if one.teacher is not None}
    groups: list[ReportedGroup] = []
    for folder, teacher in found.items():
        facts = run_folder.result(folder, teacher.key)
        group = ReportedGroup(unlike(teacher.label, [*study.groups, *(one.label for one in groups)]), 1)
        if facts is not None:
            seed = int(facts.get("seed") or 0)
            group.folders[seed], group.facts[seed] = folder, facts
        groups.append(group)
    return groups


def _listed(found: set[str]) -> str:
    return "; ".join(sorted(found))


def _recipes(study: Study) -> str:
    """The overrides of each group, as a comment."""
    lines = []
    for label, runs in study.groups.items():
        words = " ".join(word for word in runs[0].run.overrides if not word.startswith(("seed=", "paths.")))
        lines.append(f"# {label}: {words}")
    return "\n".join(lines)


def _labels(named: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Names for groups, of which each has a name and what was typed for its runs.

    Groups of one name have beside it the overrides that not all of them have, and a number where these do not tell
    them apart.
    """
    found: dict[str, str] = {}
    for key, (name, words) in named.items():
        alike = [typed for other, typed in named.values() if other == name]
        own = [word for word in words if not all(word in typed for typed in alike)]
        longer = " ".join([name, *own])
        label = longer if len(longer) <= LONGEST else f"{longer[:LONGEST].rpartition(' ')[0]} …"
        found[key] = label if label not in found.values() else f"{label} ({len(found)})"
    return found


def _typed(saved: Tree) -> list[str]:
    """The overrides of a run but for those that choose its experiment, seed, machine, folders and checkpoint."""
    words = [str(word) for word in (saved.get("chosen") or {}).get("overrides", [])]
    return [word for word in words if not word.startswith(("experiment=", "seed=", "resume=", "trainer", "paths."))]


def _unlike_controls(groups: Sequence[ReportedGroup]) -> list[str]:
    """Sentences on the groups of a study that have another recipe than their control, as their first runs show it."""
    found: dict[str | None, Candidate] = {}
    said: list[str] = []
    for group in groups:
        folder = next(iter(group.folders.values()), None)
        try:
            saved = {} if folder is None else finished(folder)[0]
        except ConfigError as error:
            said.append(f"Whether {group.label} has the recipe of its control is not known: {error}.")
            continue
        if saved:
            found[group.label] = Candidate(group.label, recipe(saved), True, frozenset(group.folders))
    pairs = [(found[one.label], found[one.control]) for one in groups if {one.label, one.control} <= found.keys()]
    return said + [unlike for group, control in pairs if (unlike := unlike_recipe(group, control))]


def _with_controls(found: Mapping[str, ReportedGroup]) -> tuple[list[ReportedGroup], list[str]]:
    """The groups, of ``found`` by their configs, each with its control; sentences on what differs, printed too."""
    compared = [
        Candidate(group.label, json.loads(key), _taught(group), frozenset(group.folders))
        for key, group in found.items()
    ]
    groups, differ = list[ReportedGroup](), list[str]()
    for group, one in zip(found.values(), compared, strict=True):
        control, said = control_of(one, compared)
        groups.append(replace(group, planned=len(group.folders), control=control))
        if said:
            differ.append(said)
            print(said)
    return groups, differ


def _taught(group: ReportedGroup) -> bool:
    """Whether something besides the labels teaches: a teacher, or a control in its place such as smoothed labels."""
    facts = next(iter(group.facts.values()))
    return facts.get("teacher") is not None or control_kind({}, facts) not in ("", PLAIN)
