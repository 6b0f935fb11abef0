"""How a run goes on: from which folder, with which config, and whether there is anything left to do."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.overrides import key_of
from kdbias.config.spec import differences, spec_hash
from kdbias.files import held_or_none
from kdbias.runs.pretrained import as_saved
from kdbias.runs.process import JOB
from kdbias.runs.run_folder import CONFIG, LAST, LOCK, RESULT, require_own, result, saved_config, stopped
from kdbias.runs.started import by, first


def requeued(folder: Path) -> Path | None:
    """Give the newest checkpoint of a run that Slurm or ``torchrun`` started again; None for any other run.

    Lightning leaves one when the time of a Slurm job is up. A job that was preempted, or whose node failed, and the
    processes that ``torchrun --max-restarts`` starts again on one node, have the last epoch's. On several nodes each
    counts its own starts, so the processes of one run would not agree.
    """
    slurm, alone = "SLURM_JOB_ID" in os.environ, os.environ.get("GROUP_WORLD_SIZE") == "1"
    saved = list(folder.glob("hpc_ckpt_*.ckpt")) if slurm else []
    counts = [*(["TORCHELASTIC_RESTART_COUNT"] if alone else []), *(["SLURM_RESTART_COUNT"] if slurm else [])]
    again = bool(saved) or any(os.environ.get(count, "0") != "0" for count in counts)
    if again and (folder / LAST).is_file():
        saved.append(folder / LAST)
    return max(saved, key=lambda path: path.stat().st_mtime, default=None)


def require_unused(folder: Path) -> None:
    """Pass the folder of a new run that holds no other run, whose checkpoints and result it would replace.

    A job may be begun anew by the process that started it, and one that was ``requeued`` goes on.

    Raises:
        ConfigError: a run was begun or finished there.
    """
    child = not first() and by() is None  # which the first process of a run starts
    if JOB in os.environ or child or requeued(folder) is not None:
        return
    if first() and held_or_none(folder / LOCK):  # the lock of a run of several processes is the first one's
        raise ConfigError(f"hydra.run.dir: another process trains a run in {folder}: choose another folder")
    remedy = "choose another folder, or remove that one"
    if (folder / RESULT).is_file():
        raise ConfigError(f"hydra.run.dir: a run has ended in {folder}: {remedy}")
    if (folder / LAST).is_file():
        raise ConfigError(f"hydra.run.dir: a run was begun in {folder}: go on with it by resume={folder}, {remedy}")


def resumable(folder: Path, key: str) -> bool:
    """Tell whether a run with the spec hash ``key`` left a checkpoint to resume from."""
    if not (folder / LAST).is_file() or not (folder / CONFIG).is_file():
        return False
    try:
        return spec_hash(saved_config(folder)) == key
    except ValueError as error:
        print(f"{error}; taken as not there", flush=True)
        return False


def resumed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Give the config with which ``resume=RUN_DIR`` continues; ``overrides`` are those of the command line.

    Without other overrides it is the config that the run saved. With other overrides, the composed config must have
    the same spec as the saved one; it may differ in paths, logging and hardware. ``pretrained: auto`` keeps the value
    that the run decided.

    Raises:
        ConfigError: the folder has no saved config or no checkpoint; or its config is damaged, or writes outside
            the folder; or the specs differ, and the error lists the keys.
    """
    folder = Path(str(cfg.resume))
    require_resumable(folder)
    try:
        saved = _own_places(saved_config(folder), folder, cfg)
    except ValueError as error:
        raise ConfigError(f"resume={folder}: {error}") from error
    if all(key_of(override) in ("resume", "allow") for override in overrides):
        saved.resume = str(folder)
        return saved
    decided = as_saved(cfg, saved)
    cfg = cfg.copy() if decided else cfg
    for key, value in decided.items():
        OmegaConf.update(cfg, key, value)
    different = differences(saved, cfg)
    if different:
        raise ConfigError(_another_config(folder, different, overrides))
    return cfg


def ended(run: Path, key: str) -> float | None:
    """Print that a run with the spec hash ``key`` is done and give its objective; None if it has no result.

    Raises:
        RunStopped: the run has failed; resuming would not help.
    """
    failed = stopped(run, key)
    if failed is not None:
        raise RunStopped(f"resume={run}: training had failed ({failed}): change what led to it, and start anew")
    found = result(run, key)
    if found is None:
        return None
    print(f"done already: {run / RESULT}")
    return math.nan if found.get("objective") is None else float(found["objective"])


def require_resumable(folder: Path) -> None:
    """Pass a folder with a saved config and a last checkpoint.

    Raises:
        ConfigError: one of them is not there.
    """
    if not folder.is_dir():
        known = folder.is_file() and (folder.parent.parent / CONFIG).is_file()
        remedy = f"resume={folder.parent.parent}" if known else "`python analyze.py task=list` lists the runs"
        what = "is a file" if folder.is_file() else "is not there"
        raise ConfigError(f"resume={folder}: {what}: name the folder of a run ({remedy})")
    for path in (folder / CONFIG, folder / LAST):
        if path.is_file():
            continue
        inside = sorted(one.parent for one in folder.glob(f"*/{CONFIG}"))
        several = f": it holds {len(inside)} runs, name one, as in resume={inside[0]}" if inside else ""
        begun = "; it was interrupted before its first checkpoint, so begin it anew" if path == folder / LAST else ""
        text = f"{path} is not there, so there is no run to go on from{begun or several}"
        raise ConfigError(f"resume={folder}: {text}")


def _another_config(folder: Path, different: Sequence[str], overrides: Sequence[str]) -> str:
    """Say that the command composes another config than the run had, by the ``different`` keys that were typed.

    A command that repeats a run's settings without its experiment differs in keys that nobody typed. The experiment is
    then the remedy, and these keys say nothing.
    """
    again = f"Give resume={folder} alone to go on with the saved config, or leave resume out to start anew"
    if any(key_of(override) in ("experiment", "preset") for override in overrides):
        typed = list(different)
    else:
        typed = [line for line in different if any(_sets(override, line.split(":")[0]) for override in overrides)]
    if not typed:
        return (
            f"resume={folder}: the command composes another config, which differs in {len(different)} settings that "
            f"it does not name: name the experiment of the run as well. {again}"
        )
    lines = "\n  ".join(typed)
    return f"resume={folder}: the run was of another config. {again}. Saved -> now:\n  {lines}"


def _sets(override: str, key: str) -> bool:
    """Whether an override is of a key of a config, or of a part above it."""
    found = (key_of(override) or "").replace("/", ".")
    return bool(found) and (key == found or key.startswith(f"{found}."))


def _own_places(saved: DictConfig, folder: Path, cfg: DictConfig) -> DictConfig:
    """A saved config that writes only into its run folder, at the folder's present place.

    A run folder may have been moved or received from somebody else. The run therefore writes to this folder, and the
    folders of runs and teachers are those of the present command.

    Raises:
        ValueError: as ``require_own``, or a callback writes elsewhere.
    """
    require_own(folder)
    home = folder.resolve()
    made = Path(str(_mapping(saved, "paths").get("run") or folder))
    for name, node in _mapping(saved, "callback").items():
        place = node.get("folder") if isinstance(node, DictConfig) else None
        if place is None:
            continue
        inside = Path(str(place))
        inside = folder / inside.relative_to(made) if inside.is_relative_to(made) else inside
        if not inside.resolve().is_relative_to(home):
            raise ValueError(f"callback.{name}.folder is {place}, out of the run folder: begin the run anew")
        node.folder = str(inside)
    if "paths" in saved:
        present = OmegaConf.to_container(cfg.paths) if "paths" in cfg else {}
        saved.paths = {**present, "run": str(folder), "checkpoints": str(folder / LAST.parent)}  # type: ignore[dict-item]
    return saved


def _mapping(saved: DictConfig, key: str) -> dict[str, Any]:
    """The mapping at a key of a saved config; empty if something else is there, which the check of configs names."""
    found = saved.get(key)
    return {str(name): node for name, node in found.items()} if isinstance(found, DictConfig) else {}
