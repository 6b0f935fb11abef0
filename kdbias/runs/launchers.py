"""Hydra's launchers, which start the jobs of a sweep or a study: joblib, submitit here or on Slurm, ray.

They are plugins of their own. Each job is a process or an allocation, in which the run is a child process as in any
sweep; what the lanes of this machine take care of is done here for them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import sleep

from filelock import FileLock, Timeout

from kdbias.config.errors import ConfigError
from kdbias.config.overrides import key_of
from kdbias.files import lock
from kdbias.runs.cores import cores, threads

PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher",
    "ray": "hydra_ray_launcher",
    "ray_aws": "hydra_ray_launcher",
}
AT_ONCE = "submitit_local"  # starts all jobs at once, on this machine
HERE = ("joblib", AT_ONCE)
STARTED_BY = "KDBIAS_LAUNCHED_BY"
"""Has the process number of the sweep whose jobs run on its own machine; they end when it is gone."""
POLL = 0.5  # seconds


def chosen(words: Sequence[str]) -> str | None:
    """Give the launcher that a command names; None if it leaves the choice to Hydra.

    >>> chosen(["seed=0,1", "hydra/launcher=joblib"]), chosen(["seed=0,1"])
    ('joblib', None)
    """
    named = [word.partition("=")[2].strip("'\"") for word in words if word.lstrip("+").startswith("hydra/launcher=")]
    return named[-1] if named else None


def environment(words: Sequence[str]) -> dict[str, str]:
    """Give what the jobs of the launcher that ``words`` choose must find in their environment.

    Neither joblib's workers nor submitit's local jobs end with the process that started them.
    """
    return {STARTED_BY: str(os.getpid())} if chosen(words) in HERE else {}


def of_launcher(word: str) -> bool:
    """Whether a word chooses the launcher or sets it up."""
    return (key_of(word) or "").startswith(("hydra/launcher", "hydra.launcher"))


def require_launcher(words: Sequence[str]) -> None:
    """Pass a command whose launcher is there and can start its jobs.

    Raises:
        ConfigError: its plugin is not installed, there is no Slurm here, or a job would have several tasks.
    """
    name = chosen(words)
    plugin = PLUGINS.get(name or "")
    if plugin is None:
        return
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{plugin}") is None:
        install = "hydra-ray-launcher" if plugin.startswith("hydra_ray") else "'kdbias[launchers]'"
        raise ConfigError(f"hydra/launcher={name}: its plugin is not installed: pip install {install}")
    if name == "submitit_slurm" and shutil.which("sbatch") is None:
        text = "there is no sbatch here: give the command on a login node of the cluster"
        raise ConfigError(f"hydra/launcher={name}: {text}, or take hydra/launcher=submitit_local")
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "hydra.launcher.tasks_per_node" and value != "1":
            text = "a job starts its processes itself: leave it out, and take trainer=ddp trainer.devices="
            raise ConfigError(f"{word}: {text}{value} hydra.launcher.gpus_per_node={value}")


@contextmanager
def place(name: str | None, turns: Path, lanes: int) -> Iterator[dict[str, str]]:
    """Wait until a job of the launcher ``name`` may begin; give the variables of its process, its threads.

    Where the launcher starts all jobs at once, ``lanes`` of them share this machine at a time, by locks in the folder
    ``turns``, each with its part of the cores. On Slurm a job has the cores of its allocation.

    Raises:
        SystemExit: the sweep that started the job is gone.
    """
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if name == AT_ONCE:
        with _turn(turns, lanes):
            yield threads(max(1, cores() // lanes))
    else:
        yield threads(int(allocated)) if allocated.isdigit() else {}


def end_with_launcher() -> None:
    """End a job whose sweep, on the same machine, is gone: interrupted, terminated or killed.

    Raises:
        SystemExit: it is gone.
    """
    pid = os.environ.get(STARTED_BY, "")
    if pid.isdigit() and not _alive(int(pid)):
        raise SystemExit(f"the sweep that started this job (process {pid}) is gone: the same command goes on from here")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = Path("/proc", str(pid), "stat")
    with suppress(OSError):
        return state.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


@contextmanager
def _turn(folder: Path, lanes: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    held = _free(folder, lanes)
    while held is None:
        end_with_launcher()
        sleep(POLL)
        held = _free(folder, lanes)
    try:
        yield
    finally:
        held.release()


def _free(folder: Path, lanes: int) -> FileLock | None:
    for number in range(lanes):
        held = lock(folder / f".lane-{number}")
        with suppress(Timeout):
            held.acquire(timeout=0)
            return held
    return None
