"""The two commands: ``kdbias-train`` (``python train.py``) and ``kdbias-analyze`` (``python analyze.py``)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from kdbias.analysis.tasks import TASKS
from kdbias.checks.command import SHOWS, already_done, require_command, require_words
from kdbias.checks.words import names_study, sweeps
from kdbias.config import conf, manual
from kdbias.config.build import allow
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.overrides import key_of
from kdbias.config.quotes import with_quotes
from kdbias.config.renamed import refuse_old_names
from kdbias.files import printable
from kdbias.interrupted import interruptible
from kdbias.late import put_off
from kdbias.runs import failure, launchers, resuming, run_folder, started, sweep

AGAIN = "the same command goes on from here"
PACKAGES = ("site-packages", "dist-packages")
_usual_format = warnings.formatwarning


def register() -> None:
    """Register the resolvers that the configs use; call it before ``hydra.main``."""
    conf.register()
    sweep.register()
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)


def one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Write a warning of this package about the run as one line; those of others have their place in the code."""
    parts = Path(filename).parts
    installed = [part for place, part in pairwise(parts) if place in PACKAGES]
    if category is not UserWarning or installed[-1:] not in ([], ["kdbias"]):
        return _usual_format(message, category, filename, lineno, line)
    return f"warning: {printable(message)}\n"


def _run_dir(resume: str | None, runs: str, name: str, now: str) -> str:
    """Call ``conf.run_dir``; if it, or the folder itself, refuses, the program ends before Hydra writes anything."""
    try:
        if not resume:
            started.require_one_folder()
        found = conf.run_dir(resume, runs, name, now)
        run_folder.require_own(Path(found))
        return found
    except ValueError as error:
        raise SystemExit(f"\n{error}") from None


def _go_on(folder: Path) -> str:
    """How to go on with an interrupted run: from its last checkpoint, or anew where it has none yet."""
    return (
        f"go on with resume={folder}"
        if (folder / run_folder.LAST).is_file()
        else "it has no checkpoint yet: give the same command again"
    )


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the program with the message alone after a mistake in the config or an earlier failure of training.

    A traceback would not help to correct it.
    """
    try:
        yield
    except (ConfigError, RunStopped) as error:
        shown = "\n".join(map(printable, str(error).split("\n")))  # it may name what a stranger's file holds
        raise SystemExit(f"\n{shown}") from error


def allow_packages(overrides: Sequence[str]) -> None:
    """Let configs name builders from the packages that the command line lists in ``allow=[...]``.

    A value of ``allow`` in a file has no effect.

    Raises:
        ConfigError: it names no packages.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group == "allow":
            named = override.value()
            try:
                allow(*(named if isinstance(named, list) else [named]))
            except ValueError as error:
                raise ConfigError(str(error)) from error


def require_own_folder(arguments: Sequence[str]) -> None:
    """Pass a command whose ``hydra.run.dir`` is a run folder without links to places outside, and no other run's.

    Sweeps, studies and teachers name the folder in this way, and Hydra then asks no resolver before it writes.

    Raises:
        ConfigError: as ``kdbias.runs.run_folder.require_own``, or as ``kdbias.runs.resuming.require_unused``.
    """
    shows = {each.partition("=")[0] for each in arguments} & set(SHOWS)
    resumes = any(key_of(each) == "resume" for each in arguments)
    for each in arguments:
        if key_of(each) == "hydra.run.dir":
            value = OverridesParser.create().parse_override(each).value()
            folder = Path(str(value))
            if (folder / run_folder.CONFIG).is_file() or (folder / ".hydra").is_symlink():
                run_folder.require_own(folder)
            if not (resumes or shows or sweeps(arguments)):
                resuming.require_unused(folder)


def train() -> None:
    """Train one run; with ``-m``, train a sweep of runs, each in its own process."""
    with interruptible(lambda: AGAIN):
        _train()


def _train() -> None:
    warnings.formatwarning = one_line
    sys.argv[1:] = with_quotes(conf.with_home(sys.argv[1:]))
    if manual.asked(sys.argv[1:]):
        print(manual.page("train", sys.argv[1:]))
        return
    register()
    with plain_errors():
        refuse_old_names(sys.argv[1:])
        require_own_folder(sys.argv[1:])
        if names_study(sys.argv[1:]):
            from kdbias.analysis import study_train

            require_words(sys.argv[1:], "train")
            study_train.train_study(sys.argv[1:])
            return
        require_command(sys.argv[1:], "train")
        launchers.require_launcher(sys.argv[1:])
        if already_done(sys.argv[1:]):
            return

    @hydra.main(version_base="1.3", config_path=conf_dir(), config_name="train")
    def main(cfg: DictConfig) -> float | None:
        with plain_errors():
            allow_packages(HydraConfig.get().overrides.task)
        conf.expand_paths(cfg)
        if sweep.is_sweep_job():
            return sweep.run_job(cfg)
        if cfg.resume:
            with plain_errors():
                cfg = resuming.resumed(cfg, list(HydraConfig.get().overrides.task))
        run_folder.note_choices(cfg)
        OmegaConf.update(cfg, "paths.run", HydraConfig.get().runtime.output_dir)
        with put_off():
            from kdbias.checks.check import require_valid

        folder = Path(str(cfg.paths.run))
        if not cfg.resume:
            with plain_errors():
                resuming.require_unused(folder)
        with (
            interruptible(lambda: _go_on(folder)),
            plain_errors(),
            run_folder.dropped_if_refused(folder),
            run_folder.trained_by_this_process(folder),
            failure.noted(folder),
        ):
            require_valid(cfg)
            with put_off():
                from kdbias.train import train as run
            return run(cfg)

    main()


def analyze() -> None:
    """Evaluate and probe runs, checkpoints and networks; draw figures and reports."""
    with interruptible(lambda: AGAIN):
        _analyze()


def _analyze() -> None:
    warnings.formatwarning = one_line
    sys.argv[1:] = with_quotes(conf.with_home(sys.argv[1:]))
    if manual.asked(sys.argv[1:]):
        print(manual.page("analyze", sys.argv[1:]))
        return
    register()
    with plain_errors():
        refuse_old_names(sys.argv[1:])
        require_command(sys.argv[1:], "analyze", TASKS)

    @hydra.main(version_base="1.3", config_path=conf_dir(), config_name="analyze")
    def main(cfg: DictConfig) -> None:
        from kdbias.analysis.tasks import run as analyse

        folder = Path(HydraConfig.get().runtime.output_dir)
        with plain_errors(), run_folder.dropped_if_refused(folder):
            allow_packages(HydraConfig.get().overrides.task)
            conf.expand_paths(cfg)
            analyse(cfg)
        run_folder.drop_empty(folder)  # some tasks only print

    main()
