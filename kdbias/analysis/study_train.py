"""``python train.py -m study=NAME``: trains the runs of a study that are missing, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdbias.analysis import study as studies
from kdbias.analysis.study import Study, shell
from kdbias.analysis.study_check import DECIDED, require_own_name
from kdbias.analysis.study_launch import launch
from kdbias.checks.command import composition_error
from kdbias.checks.early_downloads import data_problems, pretrained_problems
from kdbias.checks.words import composes_elsewhere, overrides, study_words, sweeps
from kdbias.config.conf import conf_dir, expanded
from kdbias.config.errors import ConfigError
from kdbias.config.overrides import key_of
from kdbias.config.spec import plain
from kdbias.runs import launchers, ordered, parallel
from kdbias.runs.board import board
from kdbias.runs.launchers import chosen
from kdbias.runs.parallel import Run

REFUSED = (*DECIDED, "name")  # words for all runs that no study takes


def train_study(arguments: Sequence[str]) -> None:
    """Train what is missing of the study that the words of a command name; print how many runs are done.

    A run that fails does not stop the others. The same command goes on after a failure, an interrupt or a kill.

    Raises:
        ConfigError: the words or the study have mistakes.
        SystemExit: a run failed (status 1).
    """
    typed = overrides(arguments)
    if not sweeps(arguments):
        raise ConfigError("study: a study is several runs: give -m as well, python train.py -m study=NAME")
    if composes_elsewhere(arguments):
        raise ConfigError("study: its yaml and those of its runs lie in conf/ of this package: leave --config-dir out")
    words = [word for word in typed if word not in set(study_words(typed))]
    launcher = [word for word in words if launchers.of_launcher(word)]
    launchers.require_launcher(launcher)
    words = [word for word in words if word not in launcher]
    for word in words:
        key = (key_of(word) or word).split(".")[0].split("/")[0]
        if key == "hydra":
            text = "the runs of a study are trained in lanes of this machine (study.lanes=2) or by hydra/launcher=NAME"
            raise ConfigError(f"{word}: {text}")
        if key in REFUSED:
            raise ConfigError(f"{word}: a study decides this for each run: study.seeds=[0,1], study.overrides=[...]")
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        found = composed(list(study_words(typed)), words)
    studies.save(found)
    train(found, launcher)


def composed(of_study: Sequence[str], words: Sequence[str]) -> Study:
    """Plan a study from the words that name it and the words for each of its runs; inside Hydra's initialisation."""
    named = [*of_study, *(word for word in words if key_of(word) == "paths.runs")]
    try:
        cfg = compose("train", named)
    except (HydraException, OmegaConfBaseException) as error:
        raise composition_error(error, named, "train") from error
    node = OmegaConf.select(cfg, "study")
    root = Path(expanded(str(cfg.paths.runs))).absolute()
    kept = [word for word in words if key_of(word) != "paths.runs"]
    chosen = [word for word in of_study if key_of(word) != "study"]
    asked = plain(OmegaConf.create({"study": node}))["study"] if node is not None else {}
    for word in of_study:
        if key_of(word) == "study":
            require_own_name(asked, word.partition("=")[2])
    return studies.plan(asked, kept, root, chosen)


def train(found: Study, launcher: Sequence[str] = (), *, again: str = "") -> None:
    """Train what is missing of a planned study, in lanes of this machine or by the ``launcher`` that words choose.

    ``again`` is what to give to go on after an interrupt, where that is not the study's own command.

    Raises:
        SystemExit: a run failed (status 1), or Ctrl-C was pressed (status 130).
    """
    began, runs = time.monotonic(), found.order
    done = sum(run.done for run in runs)
    print(f"study {found.name}: {len(runs)} runs with their teachers, {done} done already", flush=True)
    try:
        failed = launch(found, launcher) if chosen(launcher) not in (None, "basic") else _in_lanes(found)
    except KeyboardInterrupt:
        print(f"\ninterrupted; go on with: {again or ' '.join([found.again, *launcher])}", flush=True)
        raise SystemExit(130) from None
    for run, reason in failed.items():
        print(f"failed: {run.label}: {reason}\n        {run.log}")
    print(f"study {found.name}: {len(runs) - len(failed)} of {len(runs)} runs done, {time.monotonic() - began:.0f} s")
    if failed:
        raise SystemExit(1)
    if not again:
        print(shell(["python analyze.py task=report", f"study={found.name}", *found.place]))


def _in_lanes(found: Study) -> dict[Run, str]:
    _require_downloads(found)
    with board(f"study {found.name}", sum(run.epochs for run in found.order)) as shown:
        return ordered.train(found.order, found.needs, lanes=parallel.lanes(found.node.get("lanes")), board=shown)


def _require_downloads(found: Study) -> None:
    """Pass a study whose missing runs find their data and weights on this machine: without them, all would fail.

    Raises:
        ConfigError: a data set or pretrained weights are neither here nor to be downloaded.
    """
    missing = [group for group, runs in found.groups.items() if not all(one.run.done for one in runs)]
    trees = [found.configs[group] for group in missing if group in found.configs]
    problems = [one for tree in trees for one in (*data_problems(tree), *pretrained_problems(tree))]
    if problems:
        places = ", ".join(f"study.{name}=PATH" for name in found.node if name.endswith("_weights"))
        own = [f"study {found.name} takes files of weights as {places}"] if places else []
        raise ConfigError("\n".join([*dict.fromkeys(map(str, problems)), *own]))
