"""The rules of the training module: which settings it does not read, and which it cannot train with."""

from __future__ import annotations

from collections.abc import Iterator

from kdbias.callbacks.averaging import Averaging
from kdbias.callbacks.history import History
from kdbias.checks.lacks import teacher_lack
from kdbias.checks.plan import REFUSALS, Plan, refusal, weightless
from kdbias.config.build import build, selected
from kdbias.config.errors import ArgumentError, Problem, sound
from kdbias.data.augment import Augment
from kdbias.data.ssl_views import TwoViews
from kdbias.models.description import shapes_alone
from kdbias.models.patches import patch_side, require_tiled
from kdbias.models.teacher import Teacher
from kdbias.modules.base import StudentModule
from kdbias.modules.choice import module_class
from kdbias.modules.linear_head import LinearHead
from kdbias.modules.manual import ManualSteps
from kdbias.modules.ssl import takes_no_teacher, trains_no_classifier
from kdbias.modules.taught import Taught, takes_a_teacher


def module_rules(run: Plan) -> Iterator[Problem]:
    """Give the settings that a module does not read or cannot train with."""
    kind = module_class(run.tree)
    if issubclass(kind, LinearHead):
        yield from _solved(run, kind.__name__)
    if kind.sums_terms:
        return
    terms = [name for name, _ in selected(run.tree.get("loss") or {})]
    if terms:
        yield Problem("loss", f"{kind.__name__} has a loss of its own and reads no {', '.join(terms)}: set loss=[]")
    if issubclass(kind, ManualSteps) and (run.tree.get("trainer") or {}).get("accumulate", 1) != 1:
        yield Problem("trainer.accumulate", f"{kind.__name__} makes a step with each batch: set it to 1")
    if issubclass(kind, Taught):
        yield from _taught(run, kind)
    else:
        yield from _unlabelled(run, kind)


def _solved(run: Plan, name: str) -> Iterator[Problem]:
    """The problems of a classifier that is solved on the features of a frozen network."""
    if run.has_teacher:
        yield Problem("teacher", f"{name} learns from the labels alone: set teacher=none")
    if (run.tree.get("model") or {}).get("frozen") is not True:
        remedy = "choose model=timm with model.frozen=true"
        yield Problem("model.frozen", f"{name} trains the classifier of a frozen network: {remedy}")
    if run.student is not None and run.student.info.has_dist:
        yield Problem("model", f"{name} solves one classifier, and a DIST token has another: choose another model=...")
    if run.augment is not None and run.augment.mixes:
        yield Problem(
            "augment.mix_probability",
            f"{name} needs one class for each image, and MixUp or CutMix gives two: set it to 0, or choose "
            "augment=none",
        )
    for key, callback in selected(run.tree.get("callback") or {}):
        if str(callback["_target_"]).startswith(f"{Averaging.__module__}."):
            reason = f"would average the solution of {name} with what was before it"
            yield Problem(f"callback.{key}", f"{reason}: leave {key} out of callback=[...]")


def _taught(run: Plan, kind: type[Taught]) -> Iterator[Problem]:
    """The problems of a method that has a teacher, labels and a loss of its own."""
    name = kind.__name__
    if not run.has_teacher:
        yield Problem("teacher", takes_a_teacher(kind))
    if run.teacher is not None:
        for need in sorted(kind.needs - {"hard_target"}):
            if lack := teacher_lack(run, run.teacher, need):
                yield Problem("teacher", f"{name} needs its {need}, but {lack}")
    if run.student is not None:
        for need in sorted(kind.student_needs | {"logits"}):
            if lack := run.student.lack(need):
                yield Problem("model", f"{name} needs the student's {need}, but {lack}: choose another model=...")
    if "hard_target" in kind.needs and run.augment is not None and run.augment.mixes:
        yield Problem(
            "augment.mix_probability",
            f"{name} needs one class for each image, and MixUp or CutMix gives two: set it to 0, or choose "
            f"augment={'none' if kind.makes_views else 'light'}",
        )
    if kind.aligned and run.augment is not None and run.augment.view == "clean":
        yield Problem(
            "augment.view",
            f"clean shows the teacher another crop than the student, and {name} compares them place by place: set same "
            "or photometric",
        )
    if kind.makes_views and run.augment is not None:
        yield from _twice(run.augment, name)
    if kind.makes_views:
        yield from _copies(run, name)


def _twice(augment: Augment, name: str) -> Iterator[Problem]:
    """What the augmentation does to images of which a method makes its own views."""
    moves = [key for key in ("crop", "flip", "rotate", "translate") if getattr(augment, key)]
    if moves:
        yield Problem(
            f"augment.{moves[0]}",
            f"{name} makes its views itself (module.views), and {', '.join(moves)} would come twice: choose "
            "augment=none",
        )
    if augment.view != "same":
        yield Problem("augment.view", f"{name} shows both networks the views that it makes: set it to same")


def _copies(run: Plan, name: str) -> Iterator[Problem]:
    """Copies of an image in a batch of a method that takes all images of a batch for different ones."""
    if run.loader is not None and run.loader.repeats != 1:
        text = f"{name} takes all images of a batch for different ones, copies of one image too: set it to 1"
        yield Problem("loader.repeats", text)


def _unlabelled(run: Plan, kind: type[StudentModule]) -> Iterator[Problem]:
    """The problems of a method that learns without labels from views that it makes itself."""
    if run.has_teacher:
        yield Problem("teacher", takes_no_teacher(kind))
    if run.student is not None and run.student.info.classes is not None:
        classes = "model.classes" if "classes" in run.tree["model"] else "model"
        remedy = "set it to null" if classes != "model" else "choose model=vit or small_cnn with model.classes=null"
        yield Problem(classes, trains_no_classifier(kind, remedy))
    if run.augment is not None and run.augment.mixes:
        yield Problem(
            "augment.mix_probability",
            f"{kind.__name__} makes two views of an image, and MixUp or CutMix would make them of two: set it to 0, "
            "or choose augment=none",
        )
    yield from _copies(run, kind.__name__)
    size, processes = run.tree.get("batch_size"), run.processes or 1
    if type(size) is int and 0 < size < 2 * processes:
        yield Problem(
            "batch_size",
            f"{kind.__name__} compares images, of which each process needs 2: use at least {2 * processes}",
        )
    for name, callback in selected(run.tree.get("callback") or {}):
        if callback["_target_"] == f"{History.__module__}.{History.__name__}":
            yield Problem(
                f"callback.{name}",
                f"names its files by val/accuracy, which {kind.__name__} has not: leave history out of callback=[...]",
            )
    for key in ("views", "collapse"):
        spec, place = (run.tree.get("module") or {}).get(key), f"module.{key}"
        if spec is not None and sound(run.problems, place):
            try:
                part = build(spec, group=key)
            except REFUSALS as error:
                yield refusal(place, error)
                continue
            if isinstance(part, TwoViews):
                yield from _size(run, part)


def module_arguments(run: Plan, known: list[Problem]) -> Iterator[Problem]:
    """Give the problems that a module finds in its arguments and networks, tried on networks without weights."""
    parts = ("module", "model", "data", "teacher")
    if module_class(run.tree).sums_terms or run.data is None or not all(sound(known, part) for part in parts):
        return
    spec = {"model": weightless(run.tree["model"]), "data": run.data.to_dict()}
    teacher = None if run.teacher is None else Teacher(run.teacher, run.tree["teacher"]["name"])
    try:
        with shapes_alone():
            build(run.tree["module"], spec, teacher, group="module")
    except ArgumentError as error:  # a module also refuses networks, which are nodes of their own
        apart = error.argument.partition(".")[0] in ("model", "teacher")
        yield Problem(error.argument, error.text) if apart else refusal("module", error)
    except REFUSALS as error:
        yield refusal("module", error)


def _size(run: Plan, views: TwoViews) -> Iterator[Problem]:
    """Views that the student's patches do not tile."""
    if run.student is None or views.size is None:
        return
    try:
        require_tiled(views.size, patch_side(run.student.network))
    except ArgumentError as error:
        yield refusal("module.views", error)
