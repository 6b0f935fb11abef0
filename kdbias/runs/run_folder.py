"""The state of a run folder: whether its run is done, whether it can resume, and with which config."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.overrides import key_of
from kdbias.config.renamed import now_named
from kdbias.config.saved import read_saved, require_known_choices
from kdbias.config.spec import differences, spec_hash
from kdbias.files import holding
from kdbias.runs.pretrained import as_saved
from kdbias.runs.process import JOB

CONFIG = "config.yaml"
RESULT = "result.json"
LOCK = ".lock"
BEST = Path("checkpoints", "best.ckpt")
LAST = Path("checkpoints", "last.ckpt")
LOG_OF_WANDB = "wandb/*/logs/debug-core.log"
"""A link to a log in the user's cache, which wandb makes in each of its folders. Each start has a new folder, so
nothing is written through a link that is there."""


def result(folder: Path, key: str) -> dict[str, Any] | None:
    """Give the content of a run's ``result.json``; None if it has none with the spec hash ``key``."""
    found = _read_result(folder)
    return found if found.get("spec_hash") == key else None


def stopped(folder: Path, key: str) -> str | None:
    """Give why training of a run with the spec hash ``key`` ended early; None if it did not."""
    found = _read_result(folder)
    return found.get("stopped") if isinstance(found.get("spec"), dict) and found["spec"].get("hash") == key else None


def own_or_inside(folder: Path) -> list[Path]:
    """Give a run folder itself, or those directly below a folder of runs.

    Raises:
        ConfigError: it is neither.
    """
    inside = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    found = [folder] if (folder / CONFIG).is_file() else inside
    if not found:
        raise ConfigError(f"runs: {folder} is neither a run folder nor a folder of them")
    return found


def saved_config(folder: Path) -> DictConfig:
    """Give the config that a run saved, with renamed keys under their present names.

    Raises:
        FileNotFoundError: the run saved none.
        ConfigError: the config is damaged, has values that are not plain, or names unknown options.
    """
    tree = now_named(read_saved(folder / CONFIG))
    require_known_choices(tree, folder / CONFIG)
    for node in (
        tree.get("data"),
        (tree.get("teacher") or {}).get("data") if isinstance(tree.get("teacher"), dict) else None,
    ):
        if isinstance(node, dict) and "download" in node:
            node["download"] = False  # a file must not decide where this machine writes data
    found: DictConfig = OmegaConf.create(tree)
    return found


def requeued(folder: Path) -> Path | None:
    """Give the newest checkpoint that Lightning left in a run folder when it requeued the Slurm job, if it did."""
    saved = sorted(folder.glob("hpc_ckpt_*.ckpt"), key=lambda path: path.stat().st_mtime)
    return saved[-1] if saved and "SLURM_JOB_ID" in os.environ else None


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


def require_own(folder: Path) -> None:
    """Pass a folder that can be written into without writing elsewhere, or that is not there yet.

    Call it before anything writes into the folder of an earlier run: somebody else may have sent it.

    Raises:
        ConfigError: a part of it is a link to a place outside, its lock is a link, or its folders lie too deep.
    """
    home = folder.resolve()
    try:
        parts = list(folder.rglob("*"))
    except RecursionError as error:
        raise ConfigError(f"{folder} is no run folder: its folders lie too deep in one another") from error
    logs = set(folder.glob(LOG_OF_WANDB))
    for part in parts:
        if part.is_symlink() and part not in logs and not Path(os.path.realpath(part)).is_relative_to(home):
            raise ConfigError(f"{part} is a link to {os.path.realpath(part)}, out of the run folder: remove it")
    if (folder / LOCK).is_symlink():
        raise ConfigError(f"{folder / LOCK} is a link, and taking the lock would empty the file behind it: remove it")


@contextmanager
def dropped_if_refused(folder: Path) -> Iterator[None]:
    """Remove the folder of a command that is refused, or whose teacher fails, if it is empty; the error goes on.

    The folder of a job stays, because the process that waits for it reads there why it failed.
    """
    try:
        yield
    except (ConfigError, RunStopped):
        if JOB not in os.environ:
            drop_empty(folder)
        raise


def drop_empty(folder: Path) -> None:
    """Remove a folder, and those above it that are then empty, if Hydra's files and empty logs are all that it has."""
    if not folder.is_dir():
        return
    logs = [path for path in folder.glob("*.log") if path.is_file() and not path.stat().st_size]
    config = folder / ".hydra"
    if folder.is_symlink() or config.is_symlink() or set(folder.iterdir()) - {*logs, config}:
        return
    written = [config / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    if config.is_dir() and set(config.iterdir()) - set(written):
        return
    for path in (*logs, *written):
        path.unlink(missing_ok=True)
    for place in (config, folder, *folder.parents[:2]):  # runs/NAME and runs as well, if nothing else is in them
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _mapping(saved: DictConfig, key: str) -> dict[str, Any]:
    """The mapping at a key of a saved config; empty if something else is there, which the check of configs names."""
    found = saved.get(key)
    return {str(name): node for name, node in found.items()} if isinstance(found, DictConfig) else {}


def _read_result(folder: Path) -> dict[str, Any]:
    """The content of ``result.json``; empty if there is none. For a damaged file, also empty, with a message."""
    path = folder / RESULT
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        print(f"{path} is cut short or damaged ({error}): taken as not there", flush=True)
        return {}
    return found if isinstance(found, dict) else {}


def note_choices(cfg: DictConfig) -> None:
    """Put the choices that the config was composed from under ``chosen``; a resumed run keeps its first choices.

    A run's teacher is found or trained with the same choices. Call it inside ``hydra.main``.
    """
    if "chosen" not in cfg:
        hydra = HydraConfig.get()
        choices = {group: hydra.runtime.choices[group] for group in ("data", "trainer")}
        with open_dict(cfg):
            cfg.chosen = {**choices, "overrides": list(hydra.overrides.task)}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, so that its writers take turns; print a message before waiting.

    Raises:
        ConfigError: as ``require_own``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    require_own(folder)
    with holding(folder / LOCK, f"another process is at work in {folder}: waiting for it"):
        yield
