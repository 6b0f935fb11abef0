"""The rules of a config that the signatures of its builders do not express: which settings go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from kdbias.callbacks.averaging import Averaging
from kdbias.checks.kept import kept_answers
from kdbias.checks.lacks import teacher_lack
from kdbias.checks.methods import module_arguments, module_rules
from kdbias.checks.plan import REFUSALS, Plan, describe_data, plan, refusal
from kdbias.checks.probes import probe_callback
from kdbias.checks.stress_views import stress_views
from kdbias.checks.values import settings
from kdbias.config.build import build, selected, target
from kdbias.config.errors import ArgumentError, Problem, sound
from kdbias.data.order import require_divided, require_full
from kdbias.losses.base import LossTerm, require_free_names
from kdbias.losses.teaching import no_teacher
from kdbias.models.description import shapes_alone

SAMPLES = 10_000  # the most steps at which a schedule is evaluated; a longer run is sampled


def meaning(tree: Mapping[str, Any], known: list[Problem]) -> list[Problem]:
    """Give the problems of a resolved config beyond the ``known`` ones of its values and builders."""
    run, problems = _controlled(plan(tree, known), known)
    for rule in (settings, _full_batch, _devices, _teacher_batch, _weights_files, _teacher, _terms):
        problems += rule(run)
    for rule in (module_rules, _compared_images, _mixing, _views, stress_views, _dist_token, _dense_answer, _schedules):
        problems += rule(run)
    problems += kept_answers(run, tree)
    problems += module_arguments(run, [*known, *problems])
    problems += _optimizer(tree, [*known, *problems])
    problems += _callbacks(run, known)
    return problems


def _controlled(run: Plan, known: list[Problem]) -> tuple[Plan, list[Problem]]:
    """The run as its control changes it, with the problems of both; unchanged if the control is refused."""
    problems = [*known, *run.problems]
    ready = all(sound(problems, key) for key in ("data", "model", "teacher", "loss", "control"))
    if run.control is None or run.student is None or not ready:
        return run, list(run.problems)
    try:
        refused = list(run.control.refusals(run))
        tree = run.tree if refused else run.control.changed(run.tree, run.student.info)
    except REFUSALS as error:
        return run, [*run.problems, refusal("control", error)]
    if refused:
        return run, [*run.problems, *refused]
    changed = plan(tree, known)
    return changed, [*run.problems, *changed.problems]


def _full_batch(run: Plan) -> Iterator[Problem]:
    size = run.tree.get("batch_size")
    if run.data is not None and type(size) is int and size > 0:
        yield from _refused(require_full, size, run.data.train)


def _devices(run: Plan) -> Iterator[Problem]:
    size, processes = run.tree.get("batch_size"), run.processes
    if type(size) is int and processes:
        yield from _refused(require_divided, size, processes)


def _teacher_batch(run: Plan) -> Iterator[Problem]:
    """Images that the teacher's own training cannot have; a batch that they do not fill, or processes do not divide."""
    teacher = run.tree.get("teacher") or {}
    size, data = teacher.get("batch_size"), run.data
    if data is not None and run.has_teacher and teacher.get("weights") is None and teacher.get("data"):
        try:
            data = describe_data({**run.tree["data"], **teacher["data"]})
        except REFUSALS as error:
            yield refusal("teacher.data", error)
            return
    if type(size) is not int or size < 1:
        return
    if data is not None:
        yield from _refused(require_full, size, data.train, place="teacher.")
    if run.processes:
        yield from _refused(require_divided, size, run.processes, place="teacher.")


def _refused(rule: Callable[..., None], *values: Any, place: str = "") -> Iterator[Problem]:
    """The problem that a rule finds in the values of settings at the root, or at a ``place``."""
    try:
        rule(*values)
    except ArgumentError as error:
        yield Problem(f"{place}{error.argument}", error.text)


def _weights_files(run: Plan) -> Iterator[Problem]:
    teacher = run.tree.get("teacher") or {}
    ready = "pretrained" in (teacher.get("model") or {})  # false is said on purpose: random weights
    ready = ready or (run.control is not None and run.control.own_weights)
    ready = ready or run.misplaced_teacher
    if run.has_teacher and not ready and teacher.get("weights") is None and teacher.get("recipe") is None:
        yield Problem("teacher.weights", f"{teacher['name']} has no recipe to train it by: give teacher.weights=PATH")


def _teacher(run: Plan) -> Iterator[Problem]:
    """Terms that need what the teacher, or the student, lacks."""
    for name, term in run.terms.items():
        wanted = sorted(term.needs - {"hard_target"})
        if wanted and not run.has_teacher:
            yield Problem(f"loss.{name}", no_teacher(name, wanted))
        for need in sorted(term.student_needs):
            if run.student is not None and (lack := run.student.lack(need)):
                yield Problem(f"loss.{name}", f"needs the student's {need}, but {lack}: choose another model=...")
        if wanted and run.teacher is not None:
            lacks = [(need, lack) for need in wanted if (lack := teacher_lack(run, run.teacher, need))]
            for need, lack in lacks:
                yield Problem(f"loss.{name}", f"needs the teacher's {need}, but {lack}, or leave {name} out")


def _terms(run: Plan) -> Iterator[Problem]:
    """The problems that a term itself finds in these networks. ``_teacher`` reports a term that lacks its teacher."""
    if run.student is None or run.data is None:
        return
    teacher = run.teacher.info if run.teacher is not None else None
    for name, term in run.terms.items():
        try:
            require_free_names([name])
        except ArgumentError as error:
            yield refusal(f"loss.{name}", error)
        if teacher is None and term.needs - {"hard_target"}:
            continue
        try:
            with shapes_alone():
                term.build(run.student.info, teacher, run.data)
        except REFUSALS as error:
            yield refusal(f"loss.{name}", error)


def _compared_images(run: Plan) -> Iterator[Problem]:
    """Batches of fewer images than a term compares with one another, or of more than it can."""
    size, processes = run.tree.get("batch_size"), run.processes or 1
    if type(size) is not int or size < 1:
        return
    for name, term in run.terms.items():
        gathers = bool(getattr(term, "gather", False))
        least = term.least_images * (1 if gathers else processes)
        if size < least:
            each = "" if gathers or processes == 1 else f" in each of {processes} processes"
            text = f"loss.{name} compares images and needs {term.least_images} in a batch{each}: use at least {least}"
            yield Problem("batch_size", f"{text}, or leave {name} out")
        seen, most = size if gathers else size // processes, term.most_images
        if most is not None and seen > most:
            text = f"at most {most} images can be compared with one another, and a batch has {seen}"
            yield Problem(f"loss.{name}.over", f"{text}: set image, or lower batch_size")


def _mixing(run: Plan) -> Iterator[Problem]:
    if run.augment is None or not run.augment.mixes:
        return
    for name, term in run.terms.items():
        if term.hard:
            yield Problem(
                f"loss.{name}",
                "needs hard labels, and MixUp or CutMix makes them soft: set augment.mix_probability=0, "
                f"choose augment=light, or leave {name} out",
            )


def _views(run: Plan) -> Iterator[Problem]:
    """Terms that compare places of two images whose geometry differs."""
    if run.augment is None or run.augment.view != "clean":
        return
    refused = [name for name, term in run.terms.items() if term.positional and not term.allow_misaligned]
    if refused:
        allowed = " ".join(f"loss.{name}.allow_misaligned=true" for name in refused)
        yield Problem(
            "augment.view",
            f"clean shows the teacher another crop than the student, and loss=[{','.join(refused)}] compares them "
            f"place by place: set same or photometric, or accept it with {allowed}",
        )


def _dist_token(run: Plan) -> Iterator[Problem]:
    if run.student is None or not run.student.info.has_dist or not _all_terms(run):
        return
    if not any(_trains_dist(term) and _counts(term, run.steps) for term in run.terms.values()):
        yield Problem(
            "model.distilled",
            "the student has a DIST token that no term trains: set model.distilled=false, add a term that reads the "
            "teacher's logits (loss=[ce,kl]), or let the labels train it (loss.ce.dist=true)",
        )


def _dense_answer(run: Plan) -> Iterator[Problem]:
    if run.student is None or run.student.inference != "dense" or not _all_terms(run):
        return
    if not any("dense" in term.student_needs and _counts(term, run.steps) for term in run.terms.values()):
        yield Problem(
            "model.inference",
            "dense takes the DIST head's answers at the patch tokens into the mean, and no term trains them: set mean, "
            "or add such a term (loss=[ce,cskd])",
        )


def _trains_dist(term: LossTerm) -> bool:
    """Whether a term trains the DIST token: its attribute ``dist`` says so; without one, logit terms do."""
    return bool(getattr(term, "dist", "logits" in term.needs))


def _all_terms(run: Plan) -> bool:
    """Whether there are terms and all of them are known."""
    return 0 < len(run.terms) == len(list(selected(run.tree.get("loss") or {})))


def _schedules(run: Plan) -> Iterator[Problem]:
    """Terms whose schedule never leaves 0 because the run is too short; a weight that is always 0 is a choice."""
    for name, term in run.terms.items():
        if run.steps and not _counts(term, run.steps) and _counts(term, None):
            yield Problem(
                f"loss.{name}.weight",
                f"never leaves 0 in the {run.steps} steps of this run: train longer (epochs), or start it earlier",
            )
    if run.steps and _all_terms(run):
        resting = next((p for p in _places(run.steps) if not any(t.schedule(p) for t in run.terms.values())), None)
        if resting is not None:
            yield Problem("loss", f"every weight is 0 at {resting:.1%} of training: give one term a weight there")


def _counts(term: LossTerm, steps: int | None) -> bool:
    """Whether a term has a weight above 0 at some time in a run of ``steps`` steps; None means a long enough run."""
    return any(term.schedule(place) for place in _places(steps or SAMPLES))


def _places(steps: int) -> Iterator[float]:
    """The progress at each step of a run, or at evenly spaced steps of a long run."""
    count = min(steps, SAMPLES)
    return (i * steps // count / steps for i in range(count))


def _optimizer(tree: Mapping[str, Any], known: list[Problem]) -> Iterator[Problem]:
    """The problems that the optimiser and the schedule find in their arguments, tried on one parameter."""
    optim = tree.get("optim") or {}
    key = "optim.optimizer"
    if "optimizer" not in optim or not sound(known, key):
        return
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        optimizer = build(optim["optimizer"], [{"params": [parameter], "weight_decay": 0.0}], group="optimizer")
        key = "optim.schedule"
        if optim.get("schedule") is not None and sound(known, key):
            build(optim["schedule"], optimizer, 100, group="schedule")
    except REFUSALS as error:
        yield refusal(key, error)


def _callbacks(run: Plan, known: list[Problem]) -> Iterator[Problem]:
    """Callbacks that exclude each other, do not fit the student, or refuse their arguments."""
    chosen = [(n, spec) for n, spec in selected(run.tree.get("callback") or {}) if sound(known, f"callback.{n}")]
    averaging = [name for name, spec in chosen if _is(spec, Averaging)]
    if len(averaging) > 1:
        yield Problem(f"callback.{averaging[1]}", f"averages weights as {averaging[0]} does: select one of them")
    for name, spec in chosen:
        refused = list(probe_callback(run, name, spec)) if isinstance(spec.get("probe"), Mapping) else []
        yield from refused
        if not refused:
            yield from _built(f"callback.{name}", spec)


def _built(key: str, spec: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        build(spec, group="callback")
    except REFUSALS as error:
        yield refusal(key, error)


def _is(spec: Mapping[str, Any], kind: type) -> bool:
    found = target(spec)
    return isinstance(found, type) and issubclass(found, kind)
