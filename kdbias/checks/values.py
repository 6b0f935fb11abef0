"""The rules of single settings: the range of each number, and the names that exist."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import torch
from hydra.core.global_hydra import GlobalHydra

from kdbias.checks.early import above, plain_problems, positive, recipe_problems
from kdbias.checks.early_arguments import OBJECTIVES
from kdbias.checks.plan import Plan, refusal
from kdbias.config.build import selected
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ArgumentError, Problem, sound
from kdbias.modules.choice import logged
from kdbias.modules.trainer import require_device

REMEDIES = {
    "val/knn": "add the callback knn",
    "val/linear": "add the callback knn with callback.knn.linear_every=5",
}
GIB = 2**30
OWN = "kdbias."  # how the builders of this package begin
PROCESSES = 16  # of one CPU, however few cores it has: as many as a test of several devices may want


def settings(run: Plan) -> Iterator[Problem]:
    """Give the problems of settings that no run can use, or that no run should use."""
    for rule in (_plain, _validation, _objective, _watched, _device, _processes, _recipe, _preset, _mirrored, _fits):
        yield from rule(run)


def _plain(run: Plan) -> Iterator[Problem]:
    """The rules that need no network and no library, and are checked before those are loaded as well."""
    for problem in plain_problems(run.tree):
        if problem.key.endswith(".weights") or sound(run.problems, problem.key):
            yield problem


def _validation(run: Plan) -> Iterator[Problem]:
    every, epochs = (run.tree.get("trainer") or {}).get("val_every", 1), run.tree.get("epochs")
    if type(epochs) is int and above(every) and every > epochs >= 1:
        yield Problem("trainer.val_every", f"{every} epochs are more than the run has: use at most {epochs} (epochs)")


def _objective(run: Plan) -> Iterator[Problem]:
    """An objective that is not logged."""
    objective = run.tree.get("objective", "val/accuracy")
    known = isinstance(objective, str) and objective in OBJECTIVES
    if known and objective not in (there := logged(run.tree)):
        yield Problem("objective", f"nothing in this run logs {objective}: {_logged_by(objective, 'objective', there)}")


def _watched(run: Plan) -> Iterator[Problem]:
    """A metric that a callback or the schedule watches, and that is not logged, or whose worst value counts as best."""
    there, objective = logged(run.tree), run.tree.get("objective", "val/accuracy")
    schedule = (run.tree.get("optim") or {}).get("schedule")
    callbacks = [(f"callback.{name}", spec) for name, spec in selected(run.tree.get("callback") or {})]
    builders = [run.tree.get("module") or {}, *(spec for _, spec in callbacks)]
    own = all(str(spec.get("_target_", OWN)).startswith(OWN) for spec in builders)  # others may log what they like
    for path, spec in [*callbacks, *([("optim.schedule", schedule)] if isinstance(schedule, Mapping) else [])]:
        metric = spec.get("monitor")
        mode = spec.get("mode", "max" if str(spec.get("_target_")).startswith(OWN) else None)
        if not isinstance(metric, str):
            continue
        may_be = metric in OBJECTIVES or own
        if metric.startswith("val/") and metric not in there and metric != objective and may_be:
            key = f"{path}.monitor"
            yield Problem(key, f"nothing in this run logs {metric}: {_logged_by(metric, key, there)}")
        better = OBJECTIVES.get(metric, "min" if "loss" in metric.split("/") else None)
        if better and mode not in (better, None):
            key = f"{path}.mode"
            yield Problem(key, f"{mode} takes the worst {metric} for the best: set {key}={better}")


def _logged_by(metric: str, key: str, there: Collection[str]) -> str:
    """Say what makes a run log a metric, or which one of those that it logs could stand at ``key``."""
    near = get_close_matches(metric, sorted(there), 1)
    return REMEDIES.get(metric, f"set {key}={(near or sorted(there) or ['val/knn'])[0]}")


def _device(run: Plan) -> Iterator[Problem]:
    accelerator = (run.tree.get("trainer") or {}).get("accelerator")
    try:
        require_device(accelerator)
    except ArgumentError as error:
        yield refusal("trainer", error)


def _processes(run: Plan) -> Iterator[Problem]:
    """More processes on a CPU than it can run: each is a Python of its own, and all must meet."""
    trainer = run.tree.get("trainer") or {}
    devices = str(trainer.get("devices")).strip()
    cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.device_count()
    most = max(PROCESSES, os.cpu_count() or 1)
    if cpu and devices.isdecimal() and (len(devices) > 9 or int(devices) > most):
        yield Problem("trainer.devices", f"{devices[:9]} processes on one CPU: use at most {most}")


def _recipe(run: Plan) -> Iterator[Problem]:
    """A teacher whose recipe does not exist, among those on Hydra's search path."""
    teacher = run.tree.get("teacher") or {}
    known = _options(PurePosixPath("experiment", str(teacher.get("recipe"))).parent)
    if run.has_teacher:
        yield from recipe_problems(run.tree, known)


def _options(group: PurePosixPath) -> list[str]:
    """The configs of a group: those on Hydra's search path if a Hydra program runs, otherwise this package's."""
    hydra = GlobalHydra.instance()
    if hydra.is_initialized():
        return hydra.config_loader().get_group_options(str(group))
    return [path.stem for path in Path(conf_dir(), group).glob("*.yaml")]


def _preset(run: Plan) -> Iterator[Problem]:
    """A request for settings of an experiment that has none; existing ones set ``preset`` to its name."""
    preset = run.tree.get("preset", "none")
    if preset in ("as_published", "small"):
        home = Path(conf_dir(), "preset", preset)
        known = sorted(path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml"))
        yield Problem("preset", f"this experiment has no {preset} settings: they are there for {', '.join(known)}")


def _mirrored(run: Plan) -> Iterator[Problem]:
    digits = (run.tree.get("data") or {}).get("_target_") == "kdbias.data.mnist.mnist"
    if digits and run.augment is not None and run.augment.flip:
        yield Problem("augment.flip", "digits are not mirror images: choose augment=mnist or set augment.flip=false")
    views = (run.tree.get("module") or {}).get("views")
    if digits and isinstance(views, Mapping) and views.get("flip"):
        yield Problem("module.views.flip", "digits are not mirror images: set module.views.flip=false")


def _fits(run: Plan) -> Iterator[Problem]:
    """Images that do not fit into the memory of the training device. On a CPU, every process holds its own copy."""
    if (
        run.data is None
        or not positive(run.data.size)
        or (run.tree.get("loader") or {}).get("_target_") != "kdbias.data.resident.Resident"
    ):
        return
    trainer, val = run.tree.get("trainer") or {}, (run.tree.get("data") or {}).get("val") or 0
    count = run.data.train + (int(val) if positive(val) else 0)
    cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.device_count()
    processes = int(trainer["devices"]) if cpu and positive(trainer.get("devices")) else 1
    taken = count * run.data.channels * run.data.size**2 * processes
    place = "main memory" if cpu else "the GPU's memory"
    if taken > _memory(cpu) / 2:
        times = f" in {processes} processes" if processes > 1 else ""
        yield Problem(
            "loader",
            f"the training and validation images take {taken / GIB:.1f} GiB{times}, more than half of {place}: use "
            "loader=workers, or keep fewer or smaller ones (data.limit, data.size)",
        )


def _memory(cpu: bool) -> int:
    """The bytes of main memory, or of the memory of the first GPU."""
    if cpu:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(torch.cuda.get_device_properties(0).total_memory)
