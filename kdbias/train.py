"""One training run, from a composed config to ``result.json``."""

from __future__ import annotations

import logging
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kdbias.callbacks.checkpoint import LastState
from kdbias.callbacks.knn import FrozenFeatures, epoch_images
from kdbias.callbacks.summary import closing_table
from kdbias.callbacks.termination import Termination
from kdbias.config.build import build, selected
from kdbias.config.errors import RunStopped
from kdbias.config.spec import plain, spec_hash
from kdbias.controls.base import Control, applied
from kdbias.data.base import ImageData
from kdbias.models.checkpoint import load_student
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher, ready_teacher, teacher_from_weights
from kdbias.modules.base import StudentModule
from kdbias.modules.loggers import keep_until
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.base import Probe, Result
from kdbias.runs.pretrained import settled
from kdbias.runs.result import environment, write_result
from kdbias.runs.teacher_recipe import ensure_teacher

JUDGED = ("accuracy", "knn", "linear")  # test scores that TensorBoard compares runs by


def build_data(cfg: DictConfig) -> ImageData:
    """Build the data module that a config names."""
    return ImageData(
        build(plain(cfg.data), group="data"),
        build(plain(cfg.augment), group="augment"),
        batch_size=cfg.batch_size,
        eval_batch_size=cfg.eval_batch_size,
        seed=cfg.seed,
        loader=build(plain(cfg.loader), group="loader") if cfg.get("loader") else None,
    )


def build_teacher(cfg: DictConfig, data: ImageData) -> Teacher | None:
    """Build the teacher that a config names, downloaded or trained first where it is missing; None without one."""
    if cfg.teacher.get("name") is None:
        return None
    spec = {**plain(cfg.teacher.model), "layers": plain(cfg.teacher).get("layers", "all")}
    if cfg.teacher.get("weights") is None and cfg.teacher.get("recipe") is None:
        return ready_teacher(spec, data.info, cfg.teacher.name)
    return teacher_from_weights(spec, data.info, ensure_teacher(cfg, Path(cfg.paths.teachers)), cfg.teacher.name)


def module_spec(cfg: DictConfig, data: ImageData) -> dict[str, Any]:
    """Plain types only: what the checkpoint keeps, and what ``load_student`` and resume need."""
    return {
        "name": cfg.name,
        "model": plain(cfg.model),
        "module": plain(cfg.module),
        "loss": plain(cfg.get("loss") or {}),
        "optim": plain(cfg.optim),
        "teacher": plain(cfg.teacher),
        "data": data.info.to_dict(),
        "seed": int(cfg.seed),
        "compile": bool(cfg.compile),
        "channels_last": cfg.trainer.channels_last in ("auto", True),
        "hash": spec_hash(cfg),
    }


def build_many(name: str, group: DictConfig, **extra: Any) -> list[Any]:
    """Build every entry of the multi-select group ``name`` that has a ``_target_``; ``extra`` goes to each."""
    return [build(node, group=name, **extra) for _, node in selected(plain(group))]


def train(cfg: DictConfig) -> float:
    """Train, test once, write ``result.json`` last; give the objective (best value on the validation split), or NaN."""
    quiet()
    if not cfg.resume:  # a run that goes on keeps what it decided when it began
        cfg, _ = settled(cfg)
    run = Path(cfg.paths.run)
    run.mkdir(parents=True, exist_ok=True)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    data.prepare_data()
    control, used = applied(cfg, data.info)
    teacher = control.teacher(used, data, partial(build_teacher, data=data)) if control else build_teacher(cfg, data)
    L.seed_everything(
        cfg.seed, workers=True, verbose=False
    )  # the student's first weights are the seed's, not the teacher's
    described = {**module_spec(used, data), "hash": spec_hash(cfg), "control": control.kind if control else None}
    module: StudentModule = build(described["module"], described, teacher, group="module")
    last = run / "checkpoints" / "last.ckpt"
    resume = str(last) if cfg.resume and last.is_file() else None
    step = torch.load(resume, weights_only=True, map_location="cpu")["global_step"] if resume else -1
    keep_until(run / "metrics.csv", int(step))  # of an earlier run here; a resumed one goes on with it
    callbacks = [*build_many("callback", cfg.get("callback") or OmegaConf.create()), Termination()]
    loggers = build_many("logger", cfg.get("logger") or OmegaConf.create(), run=str(run))
    trainer: L.Trainer = build(
        plain(cfg.trainer), group="trainer", run=str(run), epochs=cfg.epochs, callbacks=callbacks, loggers=loggers
    )
    if trainer.is_global_zero:
        OmegaConf.save(cfg, run / "config.yaml", resolve=True)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return finish(cfg, trainer, module, data, control)


def finish(
    cfg: DictConfig, trainer: L.Trainer, module: StudentModule, data: ImageData, control: Control | None = None
) -> float:
    """Test the best checkpoint on rank 0, write the result, print the closing table; give the objective.

    Raises:
        RunStopped: training failed in a way that it noticed; the result has the reason, and no hash: it is not done.
    """
    seconds = module.seconds
    checkpoint = best_checkpoint(trainer.callbacks)  # type: ignore[attr-defined]
    score = checkpoint.best_model_score if checkpoint else None
    objective = float("nan") if score is None else float(score)
    if not trainer.is_global_zero:
        _require_whole(module)
        return objective
    run = Path(cfg.paths.run)
    device = trainer.strategy.root_device  # fit has moved the module back to the CPU
    best = checkpoint.best_model_path if checkpoint else ""
    student = load_student(best) if best else module.student.eval()
    frozen = next((c for c in trainer.callbacks if isinstance(c, FrozenFeatures)), None)  # type: ignore[attr-defined]
    limit, epoch = cfg.trainer.limit_test_batches, epoch_images(trainer)
    tested = judged(student.to(device), data, device, limit, frozen, epoch)
    for result in tested:
        result.save(run / "probes")
    scores = {key: value for result in tested for key, value in result.scalars.items()}
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    payload = {
        "name": cfg.name,
        "objective": objective,
        "objective_name": cfg.objective,
        "test": scores,
        "metrics": metrics,
        "best_epoch": best_epoch(checkpoint),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seed": int(cfg.seed),
        "parameters": sum(p.numel() for p in module.student.parameters()),
        "teacher": module.teacher.name if module.teacher else None,
        "control": control.report() if control else None,
        "stopped": module.stopped,
        "spec_hash": None if module.stopped else spec_hash(cfg),
        "spec": module.spec,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
        "seconds": seconds,
        "images_per_second": metrics.get("train/images_per_second"),
        "environment": environment(),
        "folder": str(run),
    }
    log_hparams(trainer, payload)
    write_result(run / "result.json", payload)
    Console().print(closing_table(payload))
    if cfg.aim is not None and scores.get("accuracy", cfg.aim) < cfg.aim:
        print(f"warning: {cfg.name} ends at {scores['accuracy']:.2%} on test, below its aim of {cfg.aim:.0%}")
    _require_whole(module)
    return objective


def _require_whole(module: StudentModule) -> None:
    if module.stopped is not None:
        raise RunStopped(module.stopped)


def judged(
    student: Extractor,
    data: ImageData,
    device: torch.device,
    limit: int | float | None,
    frozen: FrozenFeatures | None = None,
    epoch: int = 0,
) -> list[Result]:
    """Evaluate ``student`` on the test split in fp32, not TF32; on its first ``limit`` batches or part where given.

    A classifier by its accuracy (``test``); where the run watched ``frozen`` features, these by k-NN and a linear probe
    (``test_knn``, ``test_linear``) on images of an epoch, of which there are ``epoch``.
    """
    images = None
    if isinstance(limit, int):
        images = limit * data.eval_batch_size
    elif limit is not None:
        images = round(limit * data.count("test"))
    torch.set_float32_matmul_precision("highest")
    probes: list[Probe] = [] if student.info.classes is None else [AccuracyProbe(name="test")]
    probes += [] if frozen is None else frozen.final(data, epoch, prefix="test_")
    return [probe(student, data.batches("test", device=device, limit=images)) for probe in probes]


def quiet() -> None:
    """Leave Lightning's notices out (devices, tips, an existing log folder); its warnings about the run stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=r"Found .* in eval mode")  # a frozen trunk rests on purpose


def best_checkpoint(callbacks: list[Callback]) -> ModelCheckpoint | None:
    """Give the checkpoint callback that watches a metric, or else keeps the end of training, where there is one."""
    found = [c for c in callbacks if isinstance(c, ModelCheckpoint) and (c.monitor or isinstance(c, LastState))]
    return found[0] if found else None


def best_epoch(checkpoint: ModelCheckpoint | None) -> int | None:
    """The epoch, from 0, whose validation was best; None where none was chosen."""
    if checkpoint is None or not checkpoint.monitor or not checkpoint.best_model_path:
        return None
    return int(torch.load(checkpoint.best_model_path, weights_only=True, map_location="cpu")["epoch"])


def log_hparams(trainer: L.Trainer, payload: dict[str, Any]) -> None:
    """Show the run in TensorBoard's hparams tab: its settings beside validation objective and test accuracy."""
    spec = payload["spec"]
    chosen = {
        "name": payload["name"],
        "seed": payload["seed"],
        "teacher": payload["teacher"] or "none",
        "lr": spec["optim"]["optimizer"]["lr"],
        "weight_decay": spec["optim"]["optimizer"]["weight_decay"],
        "terms": "+".join(name for name, node in spec["loss"].items() if isinstance(node, dict) and "_target_" in node),
        "alpha": str(spec["loss"].get("alpha", "")),
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            scores = {} if math.isnan(payload["objective"]) else {"hp/objective": payload["objective"]}
            scores |= {f"hp/test_{key}": payload["test"][key] for key in JUDGED if key in payload["test"]}
            logger.log_hyperparams(chosen, scores)
