"""The check of a command before anything is loaded or written: its words, then the config that they compose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import is_zipfile

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdbias import zoo
from kdbias.checks.early import consequences, plain_problems, recipe_problems
from kdbias.checks.early_arguments import argument_problems
from kdbias.checks.early_downloads import data_problems, pretrained_problems
from kdbias.checks.early_folders import empty_paths, unwritable
from kdbias.checks.early_tasks import needs
from kdbias.checks.early_weights import weights_problems
from kdbias.checks.resolved import resolved
from kdbias.checks.words import (
    composes_elsewhere,
    composition_problem,
    nearest,
    options,
    overrides,
    sweeps,
    word_problems,
)
from kdbias.config.conf import conf_dir, expand_paths, expanded
from kdbias.config.errors import ConfigError, Problem
from kdbias.config.overrides import key_of
from kdbias.config.spec import flat, spec_hash
from kdbias.runs import resuming, run_folder

SHOWS = (
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
    "--experimental-rerun",
)
PATHS = ("runs", "control_run", "image", "from_results")
MOST_JOBS = 16  # of a sweep that are composed before it begins
SPLITS = ("train", "val", "test")
MEASURE = ("evaluate", "probe", "forensics", "compare", "predict", "export")
NO_NETWORK = "no network is named: give runs=[RUN_DIR,...], or teacher=NAME teacher.weights=PATH data=..."


def require_command(arguments: Sequence[str], config: str, tasks: Sequence[str] = ()) -> None:
    """Pass a command that can begin. It imports neither torch nor Lightning, and writes nothing.

    Of a sweep it checks a job for each value that is swept, not all combinations; what only some of these show is left
    to the job itself. Configs from other folders than this package's are left to Hydra.

    Args:
        arguments: The words after the program's name.
        config: ``train`` or ``analyze``, the table of contents.
        tasks: The tasks of ``analyze``.

    Raises:
        ConfigError: it has mistakes; the message gives each one line.
    """
    require_words(arguments, config)
    flags = {word.partition("=")[0] for word in arguments}
    if composes_elsewhere(arguments) or flags.intersection(SHOWS):
        return
    if not sweeps(arguments):
        _require_none(_problems(overrides(arguments), config, tasks))
        return
    if config == "analyze":
        raise ConfigError("-m: only train.py has sweeps: name several runs in one call, as in runs=[RUN_DIR,RUN_DIR]")
    if any(key_of(word) == "resume" for word in overrides(arguments)):
        raise ConfigError("resume: goes on with one run: leave -m out; a sweep goes on by the same command as before")
    for words in jobs(overrides(arguments)):
        _require_none(_problems(words, config, tasks))


def jobs(words: Sequence[str]) -> Iterator[list[str]]:
    """Give the overrides of jobs of a sweep that together have each value once, at most ``MOST_JOBS``.

    A value that a sweeper draws on its way is left out.

    >>> list(jobs(["a=1,2", "b=3,4", "c=5"]))
    [['a=1', 'b=3', 'c=5'], ['a=2', 'b=3', 'c=5'], ['a=1', 'b=4', 'c=5']]
    """
    values: list[list[str]] = []
    for word in words:
        override = OverridesParser.create().parse_override(word)
        if not override.is_sweep_override():
            values.append([word])
        elif override.is_choice_sweep() or override.is_range_sweep():
            key = word.partition("=")[0]
            values.append([f"{key}={each}" for each in override.sweep_string_iterator()])
    first = [each[0] for each in values]
    others = [[*first[:place], one, *first[place + 1 :]] for place, each in enumerate(values) for one in each[1:]]
    yield from [first, *others][:MOST_JOBS]


def _problems(words: Sequence[str], config: str, tasks: Sequence[str]) -> list[Problem]:
    """The problems of the command of one run."""
    cfg, problems = composed(words, config)
    expand_paths(cfg)
    tree = resolved(cfg, [])
    if cfg.get("resume"):
        resuming.require_resumable(Path(str(cfg.resume)))
        return problems
    problems += _run_problems(tree) if config == "train" else task_problems(tree, tasks)
    problems += unwritable(words, tree)
    if config == "train" and not problems:  # a host is asked only where nothing else is wrong
        problems += [*data_problems(tree), *pretrained_problems(tree)]
    return problems


def require_words(arguments: Sequence[str], config: str) -> None:
    """Pass a command whose words can be read and name what there is.

    Raises:
        ConfigError: they have mistakes; the message gives each one line.
    """
    _require_none([*word_problems(arguments, config), *empty_paths(overrides(arguments))])


def composed(words: Sequence[str], config: str) -> tuple[DictConfig, list[Problem]]:
    """Compose the config of a command without starting its program.

    Words that set what the config does not have are left out, and are problems.

    Raises:
        ConfigError: Hydra cannot compose it; the message is one line.
    """
    left, texts = list(words), list[str]()
    begun = GlobalHydra.instance().is_initialized()  # a study composes its runs inside
    with nullcontext() if begun else initialize_config_dir(conf_dir(), version_base="1.3"):
        while True:
            try:
                cfg = compose(config, left)
                break
            except (HydraException, OmegaConfBaseException) as error:
                kept = _without(str(error), left)
                if len(kept) == len(left):
                    raise composition_error(error, left, config) from error
                left = kept
                texts.append(str(error))
    keys = flat(OmegaConf.to_container(cfg, resolve=False)) if texts else {}  # type: ignore[arg-type]
    return cfg, [problem for text in texts if (problem := composition_problem(text, keys)) is not None]


def composition_error(error: Exception, words: Sequence[str], config: str) -> ConfigError:
    """Give in one line why Hydra cannot compose a config, from its own error."""
    text = str(error)
    found = None if _without(text, words) == list(words) else composition_problem(text, _keys(words, config))
    reason = " ".join(f"{text} {error.__cause__ or ''}".split("To append to your config")[0].split())
    return ConfigError(str(found) if found else f"the config cannot be composed: {reason}")


def task_problems(tree: Mapping[str, Any], tasks: Sequence[str]) -> Iterator[Problem]:
    """Give the problems of a config of ``analyze`` that show in its names and paths alone."""
    task = tree.get("task")
    if task not in tasks:
        near = nearest(str(task), tasks)
        meant = f"did you mean {near}? " if near else ""
        yield Problem("task", f"there is no task {task!r}: {meant}the tasks are {', '.join(tasks)}")
    if tree.get("split") not in SPLITS:
        yield Problem("split", f"there is no split {tree.get('split')!r}: choose {', '.join(SPLITS)}")
    named = [(key, zoo.file_of(path)) for key in PATHS for path in _texts(tree.get(key))]
    yield from (problem for key, path in named if (problem := _path_problem(key, path)) is not None)
    teacher = tree.get("teacher")
    taught = isinstance(teacher, Mapping) and teacher.get("name") is not None
    if task in MEASURE and not taught and not any(key != "image" for key, _ in named):
        yield Problem("", NO_NETWORK)
    else:
        yield from argument_problems(tree)
        yield from needs(tree)


def already_done(arguments: Sequence[str]) -> bool:
    """Whether a command resumes a run that is done, which it then prints; nothing is written.

    A saved config that cannot be hashed is left to the full check, which names what is wrong with it.

    Raises:
        ConfigError: there is no run to go on from.
        RunStopped: the run has failed; resuming would not help.
    """
    words = overrides(arguments)
    if len(words) != 1 or key_of(words[0]) != "resume" or composes_elsewhere(arguments):
        return False
    folder = Path(expanded(str(OverridesParser.create().parse_override(words[0]).value())))
    resuming.require_resumable(folder)
    try:
        key = spec_hash(run_folder.saved_config(folder))
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError, OmegaConfBaseException):
        return False
    return resuming.ended(folder, key) is not None


def _run_problems(tree: Mapping[str, Any]) -> list[Problem]:
    teacher: Any = tree.get("teacher")
    recipe = str(teacher.get("recipe")) if isinstance(teacher, Mapping) else ""
    folder = PurePosixPath(recipe).parent
    known = [PurePosixPath(one).name for one in options("experiment") if PurePosixPath(one).parent == folder]
    return consequences(tree, [*plain_problems(tree), *recipe_problems(tree, known), *weights_problems(tree)])


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _path_problem(key: str, path: Path) -> Problem | None:
    """The problem of a path that leads nowhere, or to a checkpoint that is none: torch writes it as a zip."""
    if not path.exists():
        return Problem(key, f"{path} is not there: correct the path")
    file = path / run_folder.BEST if path.is_dir() else path
    if file.suffix == ".ckpt" and file.is_file() and not is_zipfile(file):
        text = f"{file} cannot be read as a checkpoint: it is cut short or damaged: copy or download it again"
        return Problem(key, text)
    return None


def _without(text: str, words: Sequence[str]) -> list[str]:
    """The words without the override that a message of Hydra is about; all of them if it is about none."""
    if not text.startswith("Could not override '"):
        return list(words)
    key = text.split("'")[1]
    return [word for word in words if OverridesParser.create().parse_override(word).key_or_group != key]


def _keys(words: Sequence[str], config: str) -> dict[str, object]:
    """The keys of the config without the overrides of what it does not have; none if it cannot be composed."""
    try:
        cfg, _ = composed(words, config)
    except ConfigError:
        return {}
    return flat(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]


def _require_none(problems: Sequence[Problem]) -> None:
    lines = [str(problem) for problem in dict.fromkeys(problems)]
    if len(lines) == 1:
        raise ConfigError(lines[0])
    if lines:
        raise ConfigError("\n  ".join([f"the command has {len(lines)} problems:", *lines]))
