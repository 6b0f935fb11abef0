"""Sweeps: Hydra plans the jobs, and each job runs in its own process, exactly like a single run.

Each job therefore has its own devices and process group, and crashes alone. A job may itself use several processes, and
all launchers run the same program. A job that is done is not run again. A job that fails does not stop the sweep.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdbias.config.control import teacher_use
from kdbias.config.errors import ConfigError
from kdbias.config.overrides import key_of, separate, sets
from kdbias.config.spec import deciding, spec_hash
from kdbias.runs import failure, launchers, process, resuming, run_folder
from kdbias.runs.clock import rounded
from kdbias.runs.cores import cores
from kdbias.runs.pretrained import settled
from kdbias.runs.sweep_progress import JOBS, job_count, of_job

LOG = "job.log"
WIDTH = 12  # of the column of the objective, which its metric heads
_RECORD = "KDBIAS_SWEEP"
PROGRAM = "KDBIAS_PROGRAM"
_SWEPT = "KDBIAS_SWEPT"
# Hydra's own settings that decide how the config of a single run is composed; the other settings belong to the sweep.
_HYDRA_KEPT = ("hydra.searchpath", "hydra.job.env_set", "hydra.verbose")


@dataclass(frozen=True)
class Job:
    """How one job of a sweep ended: ``state`` is done, done already or failed; ``metric`` is its objective's name."""

    state: str
    objective: float | None
    seconds: float
    folder: str
    metric: str | None = None


def register() -> None:
    """Register the resolver ``job_name`` and connect this process to its sweep; call it before ``hydra.main``."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    process.end_with_parent()


def job_name(overrides: str, *, _root_: Container) -> str:
    """Give the folder name of a job: at most 80 safe characters of what is swept, and 8 of a hash.

    The hash covers all overrides and the spec. A repeated sweep finds its folders, and a folder never holds the run
    of another config with the same name. The hash leaves out overrides of a teacher that the control does not use, so
    a sweep over teachers runs such a job once. A folder of before, which was named by all overrides, is taken again.
    """
    if isinstance(_root_, DictConfig) and not teacher_use(_root_).uses_teacher:
        overrides = ",".join(each for each in separate(overrides) if not sets(each, "teacher"))
    digest = hashlib.sha256(f"{overrides}\n{_settled(_root_)[0]}".encode()).hexdigest()[:8]
    before, now = f"{_safe(overrides)}-{digest}", f"{_safe(_swept(overrides))}-{digest}"
    parent = OmegaConf.select(_root_, "hydra.sweep.dir") if before != now else None
    return before if parent is not None and Path(str(parent), before).is_dir() else now


def _safe(overrides: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", overrides.replace("=", "-"))[:80].strip("._-") or "job"


def _swept(overrides: str) -> str:
    """Those of a job's overrides whose values its sweep varies; all where the sweep does not say, or varies none."""
    keys = json.loads(os.environ.get(_SWEPT, "[]"))
    kept = [each for each in separate(overrides) if key_of(each) in keys]
    return ",".join(kept) or overrides


def is_sweep_job() -> bool:
    """Tell whether this is a job of this process's sweep; ``run_job`` runs such a job."""
    return process.JOB not in os.environ and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def run_job(cfg: DictConfig) -> float | None:
    """Run a sweep's job in its own process, unless it already has its result; give its objective.

    The objective is NaN if the job failed (an optimising sweeper tells NaN from a value), and None if the job has no
    objective. If a job fails, its last lines are shown and the sweep continues; ``SweepSummary`` lists it at the end.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    key, decided = _settled(cfg)
    start = time.monotonic()
    found, state = None, "failed"
    try:
        with run_folder.alone(folder):
            found, state = run_folder.result(folder, key), "done already"
            if found is None:
                found = _trained(hydra, folder, key, decided)
                state = "done"
    except ConfigError as error:  # the folder has links; the other jobs go on
        print(error, flush=True)
    objective = found.get("objective") if found is not None else math.nan
    metric = found.get("objective_name") if found is not None else None
    job = Job(state if found is not None else "failed", objective, time.monotonic() - start, str(folder), metric)
    print(_line(job), flush=True)
    _record(job)
    return objective


def _trained(hydra: Any, folder: Path, key: str, decided: Sequence[str]) -> dict[str, Any] | None:
    """Run a job when it has its place among those of its launcher, and show how far it is."""
    launcher, turns = hydra.runtime.choices["hydra/launcher"], Path(str(hydra.sweep.dir))
    watch = of_job(folder, int(hydra.job.num), os.environ.get(_RECORD))

    def look() -> None:
        launchers.end_with_launcher()
        watch.look()

    with launchers.place(launcher, turns, max(2, cores())) as variables, watch:
        print(f"running, log in {folder / LOG}", flush=True)
        overrides = [*hydra.overrides.task, *decided]
        return single_run(overrides, folder, key, log=folder / LOG, meanwhile=look, variables=variables)


def single_run(
    overrides: Sequence[str],
    folder: Path,
    key: str,
    *,
    log: Path | None,
    meanwhile: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Run this program again as one run in ``folder`` and give its result; None if it failed.

    It resumes from the last checkpoint with the same spec hash ``key``. ``log``, ``meanwhile`` and ``variables`` are
    those of ``kdbias.runs.process.run``.
    """
    extra = [f"resume={quoted(str(folder))}"] if resuming.resumable(folder, key) else []
    begin = log.stat().st_size if log is not None and log.is_file() else 0
    command = _command([*overrides, *extra], folder)
    failure.forget(folder)
    status = process.run(command, log=log, meanwhile=meanwhile, variables=variables)
    found = run_folder.result(folder, key) if status == 0 else None
    if found is None:
        reason = f"exit status {status}" if status else f"no {run_folder.RESULT} of spec {key} in {folder}"
        print(f"{process.last_lines(log, begin) if log else ''}\nfailed: {folder.name} ({reason})", flush=True)
    return found


def quoted(value: str) -> str:
    """Quote a text for Hydra's override grammar."""
    if re.fullmatch(r"[A-Za-z0-9_./-]+", value):
        return value
    return "'" + value.replace("'", "\\'") + "'"


class SweepSummary(Callback):
    """Lists all jobs at the end of a sweep, and ends with status 1 if one failed.

    It is a Hydra callback (``hydra.callbacks``). The jobs may be processes on other machines, so they report through a
    file in the sweep's folder. An environment variable names the file, and another passes the program to run.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Put the file of this sweep's jobs and the program into the environment of the jobs.

        Raises:
            SystemExit: a job's ``.hydra``, into which Hydra writes before the job begins, leads elsewhere.
        """
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for part in (*folder.glob("*/.hydra"), *folder.glob("*/.hydra/*")):
            if part.is_symlink():
                raise SystemExit(f"\n{part} is a link, and Hydra would write through it: remove it")
        os.environ[_RECORD] = str(folder / f".jobs-{uuid.uuid4().hex[:8]}.jsonl")
        words = [*config.hydra.overrides.task, *_params(config)]
        os.environ[_SWEPT] = json.dumps(varied(words))
        count = job_count(words)
        if count is not None:
            os.environ[JOBS] = str(count)
        os.environ[PROGRAM] = json.dumps(program())
        own = launchers.environment(config.hydra.overrides.hydra)
        os.environ.update(own)
        if own:
            process.heed_termination()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the list of jobs."""
        record = Path(os.environ.pop(_RECORD))
        jobs = [Job(**json.loads(line)) for line in record.read_text().splitlines()] if record.is_file() else []
        record.unlink(missing_ok=True)
        failed = sum(job.state == "failed" for job in jobs)
        for name in (_SWEPT, JOBS, launchers.STARTED_BY):
            os.environ.pop(name, None)
        named = {job.metric for job in jobs if job.metric is not None}
        metric = named.pop() if len(named) == 1 else "objective"
        head = f"{'state':<14}{metric:>{WIDTH}}  {'time':>10}  folder; of a failed job its log"
        print("\n".join([f"\nsweep: {len(jobs)} jobs, {failed} failed", head, *map(_line, jobs)]), flush=True)
        if failed:
            raise SystemExit(1)


def _line(job: Job) -> str:
    value = "-" if job.objective is None or math.isnan(job.objective) else f"{job.objective:.4f}"
    where = str(Path(job.folder, LOG)) if job.state == "failed" else job.folder
    return f"{job.state + ':':<14}{value:>{WIDTH}}  {rounded(job.seconds):>10}  {where}"


def varied(words: Sequence[str]) -> list[str]:
    """Give the keys to which a sweep's overrides give several values.

    >>> varied(["experiment=baseline", "seed=0,1", "+loss.kl.weight=choice(1,2)"])
    ['seed', 'loss.kl.weight']
    """
    found = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:
            continue
        if override.is_sweep_override():
            found.append(str(override.key_or_group))
    return found


def _params(config: DictConfig) -> list[str]:
    """The overrides that a sweep's own config gives, as the yamls in ``conf/sweep`` do."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    return [f"{key}={value}" for key, value in params.items()]


def _record(job: Job) -> None:
    if _RECORD in os.environ:
        with Path(os.environ[_RECORD]).open("a") as file:
            file.write(json.dumps(asdict(job)) + "\n")


def _settled(cfg: Any) -> tuple[str, list[str]]:
    """The spec hash of a job, and the overrides with which its process computes the same hash."""
    try:
        tree, decided = settled(deciding(cfg))
        return spec_hash(tree), decided
    except (OmegaConfBaseException, HydraException, ImportError, ValueError):
        return "unresolved", []  # the job names the mistake in its own log, and the other jobs continue


def _command(overrides: Sequence[str], folder: Path) -> list[str]:
    """Give the command line of a single run; options come first, because launchers append overrides to it."""
    hydra = HydraConfig.get()
    start = json.loads(os.environ[PROGRAM]) if PROGRAM in os.environ else program()
    sources = {source.provider: source for source in hydra.runtime.config_sources}
    options = ["--config-name", hydra.job.config_name]
    if sources["main"].schema == "file":
        options += ["--config-path", sources["main"].path]
    if "command-line" in sources:
        options += ["--config-dir", sources["command-line"].path]
    kept = [o for o in hydra.overrides.hydra if sets(o, *_HYDRA_KEPT)]
    own = [f"hydra.run.dir={quoted(str(folder))}", "hydra.mode=RUN"]
    return [sys.executable, *start, *options, *overrides, *kept, *own]


def program() -> list[str]:
    """Give Python's arguments for this program: a script (such as a console command) or ``-m module``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [str(Path(sys.argv[0]).absolute())] if spec is None else ["-m", spec.name]
