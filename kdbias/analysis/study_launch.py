"""The runs of a study as jobs of one of Hydra's launchers: ``python train.py -m study=NAME hydra/launcher=joblib``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdbias.analysis import study as studies
from kdbias.analysis.study import Study
from kdbias.config.errors import ConfigError
from kdbias.runs import failure, launchers, ordered, parallel, process, run_folder
from kdbias.runs.parallel import Run
from kdbias.runs.sweep import PROGRAM, program, quoted

JOBS = "jobs"  # below the study's folder: what Hydra and the launcher write


def launch(found: Study, words: Sequence[str]) -> dict[Run, str]:
    """Train what is missing of a saved study by the launcher that ``words`` choose; give the runs that failed, and why.

    The missing teachers are jobs of a first wave, the runs whose teachers are done those of a second. What is done is
    not a job, and what another process trains is waited for.

    Raises:
        SystemExit: the launcher ended by itself, and none of its jobs is done.
    """
    runs, needs = found.order, {run.folder: need for run, need in found.needs.items()}
    needed = {need.folder for need in needs.values()}
    failed: dict[Run, str] = {}
    for wave in ([run for run in runs if run.folder in needed], [run for run in runs if run.folder not in needed]):
        blocked = {run: need for run in wave if (need := needs.get(run.folder)) is not None and not need.done}
        failed |= {run: f"{need.label}, which it needs, failed" for run, need in blocked.items()}
        waiting = [run for run in wave if not run.done and run not in blocked]
        if waiting:
            _wave(found.folder, waiting, words)
        failed |= {run: _why(run) for run in waiting if not run.done}
    return failed


def _wave(folder: Path, waiting: Sequence[Run], words: Sequence[str]) -> None:
    names = ",".join(quoted(run.folder.name) for run in waiting)
    own = {PROGRAM: json.dumps(program()), **launchers.environment(words)}
    before, arguments = {name: os.environ.get(name) for name in own}, sys.argv[1:]
    os.environ.update(own)
    sys.argv[1:] = [
        *("-m", *words, f"+folder={quoted(str(folder))}", f"+run={names}"),
        *(f"hydra.sweep.dir={quoted(str(folder / JOBS))}", "hydra.sweep.subdir=${run}"),
        *("hydra.output_subdir=null", "hydra/job_logging=disabled"),
    ]
    try:
        with process.terminable():
            hydra.main(version_base="1.3", config_path=None)(job)()
    except SystemExit as error:  # one of the jobs, or the launcher itself; Hydra has said why
        if error.code != 1 or not any(run.done for run in waiting):
            raise
    finally:
        sys.argv[1:] = arguments
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def job(cfg: DictConfig) -> None:
    """Train one run of a study, in the process or allocation that a launcher has started for it.

    Raises:
        ConfigError: the study has been started with other words since, and has no such run.
    """
    found = studies.load(Path(str(cfg.folder)))
    run = next((one for one in found.order if one.folder.name == str(cfg.run)), None) if found else None
    if found is None or run is None:
        raise ConfigError(f"study: {cfg.folder} has no run {cfg.run} any more: give the command of the study again")
    # the record has no folder of runs, because that may move; without it the run looks for its teacher elsewhere
    run = replace(run, overrides=(*run.overrides, studies.runs_in(found.folder.parents[1])))
    launcher, lanes = HydraConfig.get().runtime.choices["hydra/launcher"], parallel.lanes(found.node.get("lanes"))
    with run_folder.alone(run.folder):
        if run.done:
            print(f"done already: {run.label}", flush=True)
            return
        failure.forget(run.folder)
        with launchers.place(launcher, found.folder / JOBS, lanes) as variables:
            print(f"running: {run.label}, log in {run.log}", flush=True)
            command, watch = run.command(), launchers.end_with_launcher
            status = process.run(command, log=run.log, meanwhile=watch, variables=variables)
        print(f"done: {run.label}" if run.done else f"failed: {run.label}: {ordered.why(run, status)}", flush=True)


def _why(run: Run) -> str:
    return failure.reason(run.folder) or "its job has ended without a result"
