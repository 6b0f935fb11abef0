"""``control=self``: a trained copy of the student teaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdbias.checks.plan import Plan, describe_network
from kdbias.config.build import builder, selected, target
from kdbias.config.errors import Problem
from kdbias.config.spec import plain
from kdbias.controls.accuracy import accuracy
from kdbias.controls.base import Control, Source, missing_file
from kdbias.controls.none import NO_TEACHER, label_terms, unlabelled
from kdbias.data.base import ImageData
from kdbias.models.features import NetworkInfo
from kdbias.models.teacher import Teacher
from kdbias.runs.teacher_recipe import Recipe, child_trainer, override, recipe_of, trained

OWN = r"[+~]*(control|teacher|loss|seed|resume|hydra|trainer=|trainer\.num_nodes)\b"


@builder("control")
class Self(Control):
    """The teacher is the student's own network, trained by the same recipe without a teacher, from another seed.

    It is trained once, as any missing teacher is. Source: Furlanello et al., ICML 2018, arXiv:1805.04770.

    Args:
        weights: Of the copy, a ``.safetensors`` file or a checkpoint; trained where None.
        offset: The copy's seed is the run's plus this.
        label_smoothing: Of the copy's cross-entropy where the experiment has none of its own.
    """

    kind = "self"
    needs_terms = True
    own_weights = True

    def __init__(self, *, weights: str | None = None, offset: int = 1000, label_smoothing: float = 0.1) -> None:
        super().__init__()
        if type(offset) is not int:
            raise ValueError(f"offset: must be a whole number, got {offset!r}")
        if offset == 0:
            raise ValueError("offset: 0 would make the copy from the student's own seed: take another number")
        self.weights, self.offset, self.label_smoothing = weights, offset, label_smoothing

    def refusals(self, run: Plan) -> Iterator[Problem]:
        """Refuse runs without labels, which a copy could not learn, weights that are not there and impossible seeds."""
        yield from super().refusals(run)
        yield from unlabelled(run, self.kind)
        yield from missing_file("control.weights", self.weights)
        seed = run.tree.get("seed")
        if self.weights is None and type(seed) is int and not 0 <= seed + self.offset < 2**32:
            yield Problem(
                "control.offset",
                f"{self.offset} makes the copy's seed {seed + self.offset}, which must be from 0 to 2**32 - 1: take "
                f"another, or another seed than {seed}",
            )

    def changed(self, tree: Mapping[str, Any], student: NetworkInfo) -> dict[str, Any]:
        """Give the config with the student's network as the teacher's; it reads the same layers."""
        model = dict(tree["model"])
        teacher = {**NO_TEACHER, "name": "self", "model": model, "weights": self.weights}
        return {**tree, "teacher": {**teacher, "layers": model.get("layers", "all")}}

    def teacher(self, cfg: DictConfig, data: ImageData, source: Source) -> Teacher | None:
        """Give the copy, trained first where it is missing."""
        seed = int(cfg.seed) + self.offset
        if self.weights is None:
            student = describe_network(plain(cfg.model), data.info).info
            loss = label_terms(dict(selected(plain(cfg.loss))), student, self.label_smoothing)
            found = copy_recipe(cfg, loss, seed, str(HydraConfig.get().job.config_name))
            what = f"a copy of the student on {cfg.chosen.data}"
            cfg.teacher.weights = str(trained(found, what, Path(cfg.paths.teachers)))
        teacher = source(cfg)
        if teacher is not None:
            given = {"weights": self.weights} if self.weights else {"teacher_seed": seed}
            measured = accuracy(teacher, data, cfg, cfg.probe_images)
            self.found = {"matched": ["architecture", "recipe"], **given, "teacher_accuracy": measured}
        return teacher


def copy_recipe(cfg: DictConfig, loss: Mapping[str, Any], seed: int, config_name: str) -> Recipe:
    """Give how the copy is trained: this run's command line, without teacher, with the terms ``loss``, from ``seed``.

    What the terms and the teacher were set to is left out of it, so that runs that differ in these share one copy; so
    are probes that compare with a teacher.
    """
    overrides = [o for o in cfg.chosen.overrides if not re.match(OWN, o)]
    overrides += [
        f"trainer={child_trainer(cfg)}",
        "~control",
        "teacher=none",
        f"loss=[{','.join(loss)}]",
        f"seed={seed}",
    ]
    composed = compose(config_name, overrides)
    for group, wanted in (("loss", loss), ("teacher", NO_TEACHER)):
        present = plain(composed[group])
        overrides += [f"~{group}.{key}" for key in present if key not in wanted]
        overrides += override(group, wanted, present)
    start = {key: value for key, value in plain(cfg.model).items() if key == "pretrained"}  # once decided, of both
    overrides += override("model", start, composed.model)
    for name, spec in selected(plain(composed.get("callback") or {})):
        if "probe" in spec and "teacher" in signature(target(spec["probe"])).parameters:
            overrides.append(f"~callback.{name}")
    return recipe_of(overrides, "self", cfg.chosen.data, Path(cfg.paths.teachers), config_name)
