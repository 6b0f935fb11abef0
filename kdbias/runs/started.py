"""Processes that ``torchrun`` or ``srun`` has started as one run: how many, and what their config must say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from kdbias.config.errors import Problem

SRUN = "srun --nodes=N --ntasks-per-node=M python train.py trainer=slurm trainer.num_nodes=N trainer.devices=M"

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Variables that number the processes of a run."""


def by() -> tuple[str, int] | None:
    """Give who has started this process as one of a run, and how many there are; None if nobody has.

    A process that a run starts itself, for one of its devices, is not meant.
    """
    world, tasks = os.environ.get("WORLD_SIZE", ""), os.environ.get("SLURM_NTASKS", "")
    if "TORCHELASTIC_RUN_ID" in os.environ and world.isdigit():
        return "torchrun", int(world)
    if "SLURM_STEP_ID" in os.environ and tasks.isdigit():
        return "srun", int(tasks)
    return None


def first() -> bool:
    """Whether this process is the first of its run, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def require_one_folder() -> None:
    """Pass a process that is the only one of its run; several would name their folder by different times.

    Raises:
        ValueError: it is one of several.
    """
    found = by()
    if found is not None and found[1] > 1:
        raise ValueError(
            f"hydra.run.dir: {found[0]} has started {found[1]} processes of this run, and each would make a folder of "
            "its own: give hydra.run.dir=runs/NAME"
        )


def problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of a config whose processes are started by others."""
    found, trainer = by(), tree.get("trainer")
    slurm = (tree.get("chosen") or {}).get("trainer") == "slurm"
    if slurm and "SLURM_JOB_ID" not in os.environ:
        text = f"slurm is for a task of an allocation, and this is none: {SRUN}, or take trainer=ddp on one machine"
        yield Problem("trainer", text)
        return
    if found is None or not isinstance(trainer, Mapping):
        return
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else devices
    if type(count) is int and count >= 1 and type(nodes) is int and count * nodes != found[1]:
        text = f"{count} on each of {nodes} nodes (trainer.num_nodes) are {count * nodes} processes, but {found[0]} has"
        yield Problem("trainer.devices", f"{text} started {found[1]}: set both to what {found[0]} was given")
