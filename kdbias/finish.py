"""The end of a run: test the best checkpoint once, then write, log and print the result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from rich.console import Console

from kdbias.callbacks.checkpoint import LastState
from kdbias.callbacks.knn import FrozenFeatures, epoch_images
from kdbias.callbacks.probe import ProbeCallback
from kdbias.callbacks.summary import closing_table
from kdbias.config.errors import RunStopped
from kdbias.controls.base import Control
from kdbias.data.base import ImageData
from kdbias.files import write_json
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.features import Extractor
from kdbias.modules.base import REMEDY, StudentModule
from kdbias.modules.tracked import Described
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.base import Probe, Result, refused
from kdbias.probes.reasons import why
from kdbias.runs.memory import peak_memory
from kdbias.runs.result import environment
from kdbias.runs.run_folder import RESULT

JUDGED = ("accuracy", "knn", "linear")  # test scores that TensorBoard and other trackers compare runs by


@dataclass(frozen=True)
class Trained:
    """A run whose training is over: its resolved config as plain types, its spec hash, and what trained it."""

    tree: Mapping[str, Any]
    key: str
    trainer: L.Trainer
    module: StudentModule
    data: ImageData
    control: Control | None = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.tree["paths"]["run"])

    @property
    def callbacks(self) -> list[Callback]:
        """The trainer's callbacks."""
        found: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return found

    @property
    def objective(self) -> float:
        """The best value on the validation split; NaN if no metric chose a checkpoint."""
        keeper = best_checkpoint(self.callbacks)
        score = keeper.best_model_score if keeper else None
        return math.nan if score is None else float(score)


def finish(run: Trained) -> float:
    """Test the best checkpoint on rank 0, write the result, print the closing table; give the objective.

    Raises:
        RunStopped: training detected its own failure, or its last step left weights that are not finite. The result has
            the reason but no hash, so the run is not done. A failure that training detected is raised on rank 0 alone:
            a process that ends with an error has Lightning kill rank 0 before its result is written.
    """
    if broken := not_finite(run.module.student):
        diverged(run, f"the last step left weights that are not finite ({broken}): {REMEDY}")
    if run.trainer.is_global_zero:
        seconds, memory = run.module.seconds, peak_memory(run.trainer.strategy.root_device)
        keeper = best_checkpoint(run.callbacks)
        best = Checkpoint(Path(keeper.best_model_path)) if keeper and keeper.best_model_path else None
        student = best.student(any_values=run.module.stopped is not None) if best else run.module.student.eval()
        scores = tested(run, student)
        chosen = best.epoch if best and keeper and keeper.monitor else None
        payload = result(run, scores, chosen, seconds, memory)
        log_scores(run.trainer, payload)
        write_json(run.folder / RESULT, payload)
        show(run.tree, payload)
        if run.module.stopped is not None:
            raise RunStopped(run.module.stopped)
    return run.objective


def diverged(run: Trained, reason: str) -> NoReturn:
    """Write the result of a run whose numbers are no longer finite, without a test: there is nothing to judge.

    Raises:
        RunStopped: always, with the ``reason``.
    """
    run.module.stopped = reason
    payload = result(run, {}, None, run.module.seconds, peak_memory(run.trainer.strategy.root_device))
    _end_loggers(run.trainer, {}, success=False)
    write_json(run.folder / RESULT, payload)
    show(run.tree, payload)
    raise RunStopped(reason)


def not_finite(network: torch.nn.Module) -> str:
    """Name the first tensors of a network that have NaN or infinite values; empty if none has."""
    bad = [name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())]
    return ", ".join(bad[:3]) + f" and {len(bad) - 3} more" * (len(bad) > 3)


def tested(run: Trained, student: Extractor) -> dict[str, float]:
    """Give the scores of a run's student on the test split; save the Results in ``<run>/probes``."""
    device = run.trainer.strategy.root_device  # fit has moved the module back to the CPU
    frozen = next((callback for callback in run.callbacks if isinstance(callback, FrozenFeatures)), None)
    limit = run.tree["trainer"]["limit_test_batches"]
    found = judged(student.to(device), run.data, device, limit, frozen, epoch_images(run.trainer))
    for one in found:
        one.save(run.folder / "probes")
    return {key: value for one in found for key, value in one.scalars.items()}


def judged(
    student: Extractor,
    data: ImageData,
    device: torch.device,
    limit: int | float | None,
    frozen: FrozenFeatures | None = None,
    epoch: int = 0,
) -> list[Result]:
    """Evaluate ``student`` on the test split in fp32, not TF32; ``limit`` keeps the first batches (number or share).

    A classifier is evaluated by its accuracy (``test``). If the run watched ``frozen`` features, k-NN and a linear
    probe evaluate these (``test_knn``, ``test_linear``) on the ``epoch`` images of an epoch.
    """
    images = None
    if isinstance(limit, int):
        images = limit * data.eval_batch_size
    elif limit is not None:
        images = round(limit * data.count("test"))
    torch.set_float32_matmul_precision("highest")

    def shown(probe: Probe) -> Result:
        return probe(student, data.batches("test", device=device, limit=images))

    done = [] if student.info.classes is None else [shown(AccuracyProbe(name="test"))]
    for probe in [] if frozen is None else frozen.final(data, epoch, prefix="test_"):
        try:
            done.append(shown(probe))
        except Exception as error:  # the run is still judged by its accuracy
            done.append(refused(probe.name, why(error)))
    return done


def refusals(callbacks: list[Callback], folder: Path) -> dict[str, str]:
    """Give what a run could not measure during and after training, with reasons; ``folder`` is the run's."""
    found: dict[str, str] = {}
    for path in sorted((folder / "probes").glob("test_*.json")):
        try:
            one = Result.load(path.parent, path.stem)
        except (OSError, ValueError) as error:
            print(f"{path} is damaged ({error}): left out", flush=True)
            continue
        if one.refused:
            found[one.name] = one.refused
    for callback in callbacks:
        if isinstance(callback, ProbeCallback | FrozenFeatures):
            found |= callback.refusals(folder)
    return found


def result(
    run: Trained, scores: Mapping[str, float], best_epoch: int | None, seconds: float, memory: Mapping[str, Any]
) -> dict[str, Any]:
    """Assemble the content of ``result.json`` for a run.

    Args:
        run: What was trained.
        scores: The scores on the test split.
        best_epoch: The epoch, from 0, with the best validation; None if none was chosen.
        seconds: Seconds of training and validation.
        memory: The most that training took, as ``peak_memory`` gives it.
    """
    tree, trainer, module = run.tree, run.trainer, run.module
    metrics = module.logged
    return {
        "name": tree["name"],
        "objective": run.objective,
        "objective_name": tree["objective"],
        "test": dict(scores),
        "metrics": metrics,
        "best_epoch": best_epoch,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seed": int(tree["seed"]),
        "parameters": sum(p.numel() for p in module.student.parameters()),
        "teacher": module.teacher.name if module.teacher else None,
        "control": run.control.report() if run.control else None,
        "stopped": module.stopped,
        "refused": refusals(run.callbacks, run.folder),
        "spec_hash": None if module.stopped else run.key,
        "spec": module.spec,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
        "seconds": seconds,
        "epoch_seconds": metrics.get("train/seconds"),
        "images_per_second": metrics.get("train/images_per_second"),
        "peak_memory": dict(memory),
        "environment": environment(),
        "folder": str(run.folder),
    }


def show(tree: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
    """Print the closing table, and a warning if the test accuracy is below the config's aim."""
    Console().print(closing_table(payload))
    aim, accuracy = tree["aim"], payload["test"].get("accuracy")
    if aim is not None and accuracy is not None and accuracy < aim:
        print(f"warning: {payload['name']} ends at {accuracy:.2%} on test, below its aim of {aim:.0%}")


def best_checkpoint(callbacks: list[Callback]) -> ModelCheckpoint | None:
    """Give the checkpoint callback that watches a metric, else the one that keeps the end of training; None if none."""
    found = [c for c in callbacks if isinstance(c, ModelCheckpoint) and (c.monitor or isinstance(c, LastState))]
    return found[0] if found else None


def log_scores(trainer: L.Trainer, payload: Mapping[str, Any]) -> None:
    """Show validation objective and test scores in TensorBoard and other trackers, which compare runs by them."""
    scores = {} if math.isnan(payload["objective"]) else {"objective": payload["objective"]}
    scores |= {f"test/{key}": payload["test"][key] for key in JUDGED if key in payload["test"]}
    _end_loggers(trainer, scores, success=payload["stopped"] is None)


def _end_loggers(trainer: L.Trainer, scores: Mapping[str, float], *, success: bool) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, Described):
            logger.end(scores, trainer.global_step, success=success)
