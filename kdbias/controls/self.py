"""``control=self``: a trained copy of the student teaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from kdbias.checks.plan import Plan, describe_network
from kdbias.config.build import builder, selected, target
from kdbias.config.errors import ArgumentError, Problem
from kdbias.config.overrides import key_of, sets
from kdbias.config.spec import Tree, plain
from kdbias.controls.accuracy import accuracy
from kdbias.controls.base import Control, Source, missing_file
from kdbias.controls.none import NO_TEACHER, label_terms, labelled_model, unlabelled
from kdbias.data.base import ImageData
from kdbias.data.seeds import SEEDS, is_seed
from kdbias.models.features import NetworkInfo
from kdbias.models.teacher import Teacher
from kdbias.runs.teacher_recipe import Recipe, child_trainer, override, recipe_of, trained

OWN = (  # what a copy is given apart, or has none of
    *("control", "teacher", "loss", "seed", "resume", "hydra", "trainer.num_nodes"),
    *("augment.teacher_stress", "augment.teacher_strength"),
)


@builder("control")
class Self(Control):
    """The teacher is the student's own network, trained by the same recipe without a teacher, from another seed.

    It is trained once, as any missing teacher is. Source: Furlanello et al., ICML 2018, arXiv:1805.04770.

    Args:
        weights: Those of the copy, a ``.safetensors`` file or a checkpoint; None trains the copy.
        offset: The copy's seed is the run's plus this.
        label_smoothing: For an experiment without cross-entropy, that of the copy's cross-entropy.
    """

    kind = "self"
    uses_teacher = False
    needs_terms = True
    own_weights = True

    def __init__(self, *, weights: str | None = None, offset: int = 1000, label_smoothing: float = 0.1) -> None:
        super().__init__()
        if type(offset) is not int:
            raise ArgumentError("offset", f"must be a whole number, got {offset!r}")
        if offset == 0:
            raise ArgumentError("offset", "0 would give the copy the student's own seed: choose another number")
        self.weights, self.offset, self.label_smoothing = weights, offset, label_smoothing

    @classmethod
    def weights_by_seed(cls, control: Mapping[str, Any]) -> bool:
        """Each seed trains a copy of its own, unless there are weights."""
        return control.get("weights") is None

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse runs without labels, from which a copy could not learn, missing weights and impossible seeds."""
        yield from super().refusals(run)
        yield from unlabelled(run, self.kind)
        yield from missing_file("control.weights", self.weights)
        seed = run.tree.get("seed")
        if self.weights is None and type(seed) is int and not is_seed(seed + self.offset):
            yield Problem(
                "control.offset",
                f"{self.offset} makes the copy's seed {seed + self.offset}, which must be {SEEDS}: choose "
                f"another offset, or another seed than {seed}",
            )

    def changed(self, tree: Tree, student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the student's network as the teacher, read at the same layers."""
        model = labelled_model(tree["model"])
        teacher = {**NO_TEACHER, "name": "self", "model": model, "weights": self.weights}
        return {**tree, "teacher": {**teacher, "layers": model.get("layers", "all")}}

    def teacher(self, tree: dict[str, Any], data: ImageData, source: Source) -> Teacher | None:
        """Give the copy; train it first if it is missing."""
        seed = int(tree["seed"]) + self.offset
        if self.weights is None:
            student = describe_network(tree["model"], data.info).info
            loss = label_terms(dict(selected(tree["loss"])), student, self.label_smoothing)
            found = copy_recipe(tree, loss, seed, str(HydraConfig.get().job.config_name))
            what = f"a copy of the student on {tree['chosen']['data']}"
            weights = str(trained(found, what, Path(tree["paths"]["teachers"])))
            tree["teacher"] = {**tree["teacher"], "weights": weights}
        teacher = source(tree)
        if teacher is not None:
            given = {"weights": self.weights} if self.weights else {"teacher_seed": seed}
            measured = accuracy(teacher, data, tree, tree["probe_images"])
            self.found = {"matched": ["architecture", "recipe"], **given, "teacher_accuracy": measured}
        return teacher


def copy_recipe(tree: Tree, loss: Mapping[str, Any], seed: int, config_name: str) -> Recipe:
    """Give the overrides that train the copy: this run's without a teacher, with the terms ``loss``, from ``seed``.

    Settings of terms and teacher are left out, so that runs which differ only in these share one copy. Probes that
    compare with a teacher are left out too.
    """
    chosen = tree["chosen"]
    overrides = [o for o in chosen["overrides"] if not sets(o, *OWN) and key_of(o) != "trainer"]
    overrides += [
        f"trainer={child_trainer(tree)}",
        "~control",
        "teacher=none",
        f"loss=[{','.join(loss)}]",
        f"seed={seed}",
    ]
    composed = plain(compose(config_name, overrides))
    if (composed.get("augment") or {}).get("teacher_stress") is not None:
        overrides.append("augment.teacher_stress=null")
    for group, wanted in (("loss", loss), ("teacher", NO_TEACHER)):
        present = composed[group]
        # Hydra deletes no key whose value is null; a null says nothing
        overrides += [f"~{group}.{key}" for key, value in present.items() if key not in wanted and value is not None]
        overrides += override(group, wanted, present)
    start = {key: value for key, value in tree["model"].items() if key == "pretrained"}  # once decided, of both
    changed = {key: value for key, value in labelled_model(tree["model"]).items() if value != tree["model"][key]}
    overrides += override("model", start | changed, composed["model"])
    for name, spec in selected(composed.get("callback") or {}):
        if "probe" in spec and "teacher" in signature(target(spec["probe"], "probe")).parameters:
            overrides.append(f"~callback.{name}")
    return recipe_of(overrides, "self", chosen["data"], Path(tree["paths"]["teachers"]), config_name)
