"""``control=none``: no teacher, the same architecture and recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.checks.plan import Plan
from kdbias.config.build import build, builder, selected
from kdbias.config.errors import Problem
from kdbias.config.spec import Tree
from kdbias.controls.base import Control
from kdbias.losses.base import LossTerm
from kdbias.losses.ce import CE
from kdbias.models.features import NetworkInfo

NO_TEACHER = dict.fromkeys(("name", "model", "weights", "recipe", "epochs", "batch_size")) | {"layers": "all"}


@builder("control")
class NoTeacher(Control):
    """Drops the teacher and the terms that need it; cross-entropy takes weight 1 and trains the DIST head too.

    So an experiment with a DIST token becomes ``baseline_dist``, one without it becomes ``baseline``.

    Args:
        label_smoothing: For an experiment without cross-entropy, that of the cross-entropy that is added.
    """

    kind = "none"
    uses_teacher = False
    needs_terms = True
    answers_kept = False  # there are none

    def __init__(self, *, label_smoothing: float = 0.1) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse runs in which no term would be left to train the classifier."""
        yield from super().refusals(run)
        yield from unlabelled(run, self.kind)

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config of the run without its teacher."""
        terms = dict(selected(tree["loss"]))
        dropped = [name for name, spec in terms.items() if _term(spec).needs - {"hard_target"}]
        self.found = {"matched": ["architecture", "recipe"], "dropped": dropped}
        loss = label_terms(terms, student, self.label_smoothing)
        return {**tree, "teacher": dict(NO_TEACHER), "model": labelled_model(tree["model"]), "loss": loss}


def label_terms(terms: Mapping[str, Any], student: NetworkInfo, label_smoothing: float) -> dict[str, Any]:
    """Give cross-entropy at weight 1 (if it is new, with ``label_smoothing``), then the terms that need no teacher."""
    own = {name: dict(spec) for name, spec in terms.items() if not _term(spec).needs - {"hard_target"}}
    ce = {"_target_": "kdbias.losses.ce.CE", "label_smoothing": label_smoothing, **own.pop("ce", {})}
    return {"ce": {**ce, "weight": 1.0, "dist": student.has_dist}, **own}


def labelled_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Give the node of a student that labels train: they train the answers of its two heads, and none at the places."""
    return {**model, "inference": "mean"} if model.get("inference") == "dense" else dict(model)


def unlabelled(run: Plan, kind: str) -> Iterator[Problem]:
    """Refuse runs without a term that trains the classifier: their images have no labels to learn instead."""
    if run.has_teacher and run.terms and not any(isinstance(t, CE) or "logits" in t.needs for t in run.terms.values()):
        yield Problem(
            "control",
            f"{kind} learns from the labels alone, but no term of this run trains the classifier: compare with the "
            "student at its initialisation, or with control=random",
        )


def _term(spec: Mapping[str, Any]) -> LossTerm:
    term: LossTerm = build(spec, group="loss")
    return term
