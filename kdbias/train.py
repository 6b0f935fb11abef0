"""One training run, from a composed config to ``result.json``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from kdbias.batch import DataInfo
from kdbias.callbacks.header import Header
from kdbias.callbacks.progress import SaysProgress
from kdbias.callbacks.termination import Termination
from kdbias.config.build import build, selected
from kdbias.config.errors import ConfigError
from kdbias.config.kept import draws_seed, keeps, kept_draws, unkept
from kdbias.config.spec import Tree, plain, spec_hash
from kdbias.controls.accuracy import device_of
from kdbias.controls.base import applied
from kdbias.data.base import ImageData
from kdbias.data.stress_views import slow_views
from kdbias.files import sweep_up, write_text
from kdbias.finish import Trained, diverged, finish
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.teacher import Teacher, ready_teacher, teacher_from_weights
from kdbias.models.weights import read_weights
from kdbias.modules.base import StudentModule
from kdbias.modules.choice import module_class
from kdbias.modules.distill import Distill
from kdbias.modules.keep_answers import keep_answers
from kdbias.modules.loggers import keep_until
from kdbias.modules.quiet import quiet
from kdbias.modules.tracked import Described
from kdbias.runs import resuming, run_folder
from kdbias.runs.pretrained import settled
from kdbias.runs.teacher_recipe import ensure_teacher
from kdbias.runs.unchanged import require_unchanged

ROOTS = (
    "name",
    "seed",
    "epochs",
    "batch_size",
    "eval_batch_size",
    "objective",
    "aim",
    "compile",
    "resume",
    "trainer",
    "module",
)
"""Settings that every run has; ``~KEY`` on the command line takes them away."""


def train(cfg: DictConfig) -> float:
    """Train, test once, write ``result.json`` last; give the objective (best value on the validation split), or NaN.

    Raises:
        ConfigError: the config lacks a setting that every run has.
        RunStopped: training detected its own failure, now or before the run was resumed.
    """
    quiet()
    tree: Tree = plain(cfg)
    if missing := [key for key in ROOTS if key not in tree]:
        raise ConfigError(f"{missing[0]}: is missing: set {missing[0]}=VALUE")
    if not tree["resume"]:  # a resumed run keeps what it decided when it began
        tree, _ = settled(tree)
    key = spec_hash(tree)
    run = Path(tree["paths"]["run"])
    if tree["resume"] and (known := resuming.ended(run, key)) is not None:
        return known
    run.mkdir(parents=True, exist_ok=True)
    L.seed_everything(tree["seed"], workers=True, verbose=False)
    data = build_data(tree)
    try:
        data.prepare_data()
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    for line in slow_views(data.augment.stress, data.info):
        rank_zero_warn(line)
    control, used = applied(tree, data.info)
    kind = control.kind if control else None
    resume = begin(run, bool(tree["resume"]), module_spec(used, data.info, key, kind))
    teacher = control.teacher(used, data, partial(build_teacher, data=data)) if control else build_teacher(used, data)
    used = dict(module_class(used).prepared(used, teacher, data, device_of(used)))
    L.seed_everything(  # the seed decides the student's first weights; the teacher does not
        tree["seed"], workers=True, verbose=False
    )
    spec = module_spec(used, data.info, key, kind)  # anew: a control puts the teacher that it found into ``used``
    module: StudentModule = build(spec["module"], spec, teacher, group="module")
    if used.get("init") is not None and resume is None:
        module.start_from(read_weights(used["init"], "init"), "init")
    trainer = build_trainer(tree, run)
    kept = keeps(tree) and (control is None or control.answers_kept)
    if kept and isinstance(module, Distill) and module.teacher is not None:
        module.teacher = keep_answers(module, trainer, tree, data)
    if trainer.is_global_zero:
        sweep_up(run)
        write_text(run / run_folder.CONFIG, OmegaConf.to_yaml(tree))
    for logger in trainer.loggers:
        if isinstance(logger, Described):
            logger.begin(tree)
    trained = Trained(tree, key, trainer, module, data, control)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except FloatingPointError as error:  # the process that has seen it says so; it may be any of several
        diverged(trained, str(error))
    return finish(trained)


def begin(run: Path, resume: bool, spec: Mapping[str, Any]) -> Path | None:
    """Give the checkpoint that a run resumes from, None for a new run; drop metrics that will be logged again.

    A job that Slurm requeued, or that ``torchrun`` started again, goes on in its folder, from its newest checkpoint.

    Raises:
        ConfigError: the checkpoint is of another config than ``spec``, which describes the run now, or holds the
            weights alone.
    """
    last = run / run_folder.LAST if resume else resuming.requeued(run)
    found = Checkpoint(last) if last is not None and last.is_file() else None
    if found is not None:
        require_unchanged(found.spec, spec, str(run))
        if "optimizer_states" not in found.content:
            text = "holds weights to evaluate, as best.ckpt does, and no state to resume from"
            raise ConfigError(
                f"resume={run}: {found.path} {text}: begin a run of its own from them by init={found.path}"
            )
    keep_until(run / "metrics.csv", found.global_step if found else -1)
    return found.path if found else None


def build_data(tree: Tree) -> ImageData:
    """Build the data module that a config names."""
    return ImageData(
        build(tree["data"], group="data"),
        build(tree["augment"], group="augment"),
        batch_size=tree["batch_size"],
        eval_batch_size=tree["eval_batch_size"],
        seed=tree["seed"],
        loader=build(tree["loader"], group="loader") if tree.get("loader") else None,
        draws=kept_draws(tree),
        draws_seed=draws_seed(tree),
    )


def build_teacher(tree: Tree, data: ImageData) -> Teacher | None:
    """Build the teacher that a config names, None without one; a missing teacher is downloaded or trained first."""
    teacher = tree["teacher"]
    if teacher.get("name") is None:
        return None
    spec = {**teacher["model"], "layers": teacher.get("layers", "all")}
    if teacher.get("weights") is None and teacher.get("recipe") is None:
        return ready_teacher(spec, data.info, teacher["name"])
    weights = ensure_teacher(tree, Path(tree["paths"]["teachers"]))
    return teacher_from_weights(spec, data.info, weights, teacher["name"])


def build_trainer(tree: Tree, run: Path) -> L.Trainer:
    """Build the trainer that a config names, with its callbacks and loggers, for a run in the folder ``run``."""
    callbacks = [Header(tree), *build_many("callback", tree.get("callback")), SaysProgress(run), Termination()]
    loggers = build_many("logger", tree.get("logger"), run=str(run))
    trainer: L.Trainer = build(
        tree["trainer"], group="trainer", run=str(run), epochs=tree["epochs"], callbacks=callbacks, loggers=loggers
    )
    return trainer


def build_many(name: str, group: Tree | None, **extra: Any) -> list[Any]:
    """Build every entry of the multi-select group ``name`` that has a ``_target_``; ``extra`` goes to each."""
    return [build(node, group=name, **extra) for _, node in selected(group or {})]


def module_spec(tree: Tree, data: DataInfo, key: str, control: str | None) -> dict[str, Any]:
    """Give the description that the checkpoint keeps, in plain types; ``load_student`` and resume need it.

    Args:
        tree: The config after its control has changed it.
        data: The images.
        key: The spec hash of the config before its control changes it.
        control: The kind of control, None without one.
    """
    return {
        "name": tree["name"],
        "model": tree["model"],
        "module": tree["module"],
        "loss": tree.get("loss") or {},
        "optim": tree["optim"],
        "teacher": unkept(tree["teacher"]),
        "data": data.to_dict(),
        "seed": int(tree["seed"]),
        "compile": tree["compile"] if tree["compile"] == "auto" else bool(tree["compile"]),
        "channels_last": tree["trainer"]["channels_last"] in ("auto", True),
        "hash": key,
        "control": control,
    }
