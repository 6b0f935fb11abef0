"""The rules of a config that need no network and no library: ranges of numbers, names and paths.

The commands check them before torch, timm and Lightning are loaded, which takes most of the seconds before a mistake
is answered; ``kdbias.checks.check`` reports them together with all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from kdbias.checks.early_arguments import argument_problems, objective_problems, term_problems
from kdbias.checks.early_images import few_images
from kdbias.checks.early_loggers import logger_problems
from kdbias.checks.words import known_keys
from kdbias.config.conf import FOLDER_NAME, is_folder_name
from kdbias.config.errors import Problem
from kdbias.config.kept import EPOCHS, KINDS, LAYERS
from kdbias.data.part import MEANING, is_part
from kdbias.data.seeds import SEEDS, is_seed
from kdbias.runs.started import problems

PRECISIONS = ("auto", "32-true", "bf16-mixed", "64-true")
ACCELERATORS = ("auto", "gpu", "cpu", "cuda", "mps", "tpu")
STRATEGIES = (
    *("auto", "ddp", "ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "fsdp_cpu_offload", "single_device"),
    *(
        f"ddp_{how}find_unused_parameters_{which}"
        for how in ("", "spawn_", "fork_", "notebook_")
        for which in ("false", "true")
    ),
    *("deepspeed", "deepspeed_stage_1", "deepspeed_stage_2", "deepspeed_stage_2_offload", "deepspeed_stage_3"),
    *("deepspeed_stage_3_offload", "deepspeed_stage_3_offload_nvme", "single_xla", "xla_debug", "xla", "single_tpu"),
)
"""Strategies of Lightning by name."""


def positive(value: Any) -> bool:
    """Whether a value is a whole number of at least 1; true is none."""
    return type(value) is int and value >= 1


def above(value: Any) -> bool:
    """Whether a value is a finite number above 0; true is none."""
    return type(value) in (int, float) and 0 < value < math.inf


def _limit(value: Any) -> bool:
    return value is None or positive(value) or (type(value) is float and 0 < value <= 1)


def _devices(value: Any) -> bool:
    """Whether a value gives devices: a number, -1 for all, auto, a list of indices, or a text like 0,1."""
    if isinstance(value, list):
        return len(value) > 0 and all(type(one) is int and one >= 0 for one in value)
    if isinstance(value, str):
        return value in ("auto", "-1") or all(one.strip().isdigit() for one in value.removesuffix(",").split(","))
    return value == -1 or positive(value)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _part(value: Any) -> bool:
    return value is None or is_part(value)


RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name", is_folder_name, FOLDER_NAME),
    ("epochs", positive, "must be a whole number of at least 1"),
    ("batch_size", positive, "must be a whole number of at least 1"),
    ("teacher.batch_size", lambda value: value is None or positive(value), "must be at least 1, or null"),
    (
        "teacher.cache",
        lambda value: value is None or value == EPOCHS or positive(value),
        "must be a number of draws, at least 1, or epochs, or null for none",
    ),
    ("teacher.cache_dtype", lambda value: value in KINDS, f"must be one of {', '.join(KINDS)}"),
    (
        "teacher.cache_seed",
        lambda value: value is None or is_seed(value),
        f"must be {SEEDS}, or null for the run's seed",
    ),
    ("teacher.cache_layers", lambda value: value in LAYERS, f"must be one of {', '.join(LAYERS)}"),
    ("eval_batch_size", positive, "must be a whole number of at least 1"),
    ("trainer.accumulate", positive, "must be a whole number of at least 1"),
    ("seed", is_seed, f"must be {SEEDS}"),
    ("trainer.val_every", above, "must be above 0: it counts epochs, or below 1 is a part of one"),
    ("trainer.limit_train_batches", _limit, "must be at least one batch, a part in (0, 1], or null for all of them"),
    ("trainer.limit_val_batches", _limit, "must be at least one batch, a part in (0, 1], or null for all of them"),
    ("trainer.limit_test_batches", _limit, "must be at least one batch, a part in (0, 1], or null for all of them"),
    ("trainer.accelerator", lambda value: value in ACCELERATORS, f"must be one of {', '.join(ACCELERATORS)}"),
    ("trainer.strategy", lambda value: value in STRATEGIES, "must be auto, ddp, fsdp or another strategy of Lightning"),
    ("trainer.devices", _devices, "must be a number of devices, -1 for all, auto, or which of them, as in [0,1]"),
    ("trainer.num_nodes", positive, "must be a whole number of at least 1"),
    ("trainer.log_every", positive, "must be a whole number of steps, at least 1"),
    ("trainer.timeout", lambda value: above(value) and value >= 5, "must be seconds, at least 5"),
    ("trainer.sync_batchnorm", _flag, "must be true or false"),
    ("trainer.tf32", _flag, "must be true or false"),
    ("trainer.deterministic", lambda value: _flag(value) or value == "warn", "must be true, false or warn"),
    ("trainer.channels_last", lambda value: _flag(value) or value == "auto", "must be true, false or auto"),
    ("compile", lambda value: _flag(value) or value == "auto", "must be true, false or auto"),
    ("probe_images", positive, "must be a whole number of at least 1"),
    ("aim", lambda value: value is None or (above(value) and value <= 1), "must be an accuracy in (0, 1], or null"),
    ("optim.optimizer.lr", lambda value: above(value) or value == 0, "must be a number of at least 0"),
    ("optim.clip", lambda value: value is None or above(value) or value == 0, "must be at least 0, or null for none"),
    ("data.val", positive, "must be at least 1 image: the best checkpoint is chosen by the validation split"),
    ("data.part", _part, f"must be {MEANING}, or null for all training images"),
    ("teacher.data.part", _part, f"must be {MEANING}, or null for all training images"),
)


def plain_problems(tree: Mapping[str, Any]) -> list[Problem]:
    """Give the problems of a config, plain types, that show in its values alone; a value that is missing has none."""
    rules = (
        _known,
        _ranges,
        _precision,
        _alpha,
        objective_problems,
        term_problems,
        _weights_files,
        _image_folder,
        _parts,
        logger_problems,
        problems,
    )
    found = [problem for rule in rules for problem in rule(tree)]
    keys = {problem.key for problem in found}
    return [*found, *(problem for problem in argument_problems(tree) if problem.key not in keys)]


def recipe_problems(tree: Mapping[str, Any], known: Sequence[str]) -> Iterator[Problem]:
    """Give the problem of a teacher without weights whose recipe, the experiment that trains it, does not exist.

    ``known`` has the experiments that lie in the recipe's folder, without it.
    """
    teacher: Any = tree.get("teacher")
    if not isinstance(teacher, Mapping) or teacher.get("name") is None or teacher.get("weights") is not None:
        return
    name = teacher.get("recipe")
    if name is None:
        return
    group = PurePosixPath("experiment", str(name))
    if group.name not in known:
        near = get_close_matches(group.name, known, 1)
        meant = f"did you mean {near[0]}? or " if near else ""
        yield Problem("teacher.recipe", f"there is no conf/{group}.yaml: {meant}give teacher.weights=PATH")


def consequences(tree: Mapping[str, Any], problems: list[Problem]) -> list[Problem]:
    """Leave out the problems of weights that only follow from a refused ``loss.alpha``."""
    loss: Any = tree.get("loss")
    alpha = _share(loss)
    if alpha is None or not any(problem.key == "loss.alpha" for problem in problems):
        return problems
    terms = [f"loss.{name}" for name, term in loss.items() if _weight(term) in (alpha, 1 - alpha)]
    return [one for one in problems if not one.key.startswith(tuple(terms)) or "weight" not in one.text]


def _known(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys at the root that nothing reads."""
    known = [*known_keys("train"), "chosen"]
    for key in tree:
        if key not in known and key != "hydra":
            near = get_close_matches(key, known, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield Problem(key, f"nothing reads it: {meant}the settings are {', '.join(sorted(known))}")


def _ranges(tree: Mapping[str, Any]) -> Iterator[Problem]:
    for key, holds, rule in RANGES:
        *outer, last = key.split(".")
        node: Any = tree
        for part in outer:
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and last in node and not holds(node[last]):  # a group has no number either
            yield Problem(key, f"{rule}, got {node[last]!r}")


def _precision(tree: Mapping[str, Any]) -> Iterator[Problem]:
    trainer = tree.get("trainer")
    precision = trainer.get("precision", "auto") if isinstance(trainer, Mapping) else "auto"
    if precision in ("16-mixed", "16", 16):
        reason = "scales the loss, and optim.clip would clip the scaled gradients: use bf16-mixed or 32-true"
        yield Problem("trainer.precision", f"{precision} {reason}")
    elif precision not in PRECISIONS:
        yield Problem("trainer.precision", f"there is no {precision!r}: choose one of {', '.join(PRECISIONS)}")


def _alpha(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """A share of distillation that leaves cross-entropy, or the term itself, a weight below 0."""
    loss: Any = tree.get("loss")
    alpha = _share(loss)
    if alpha is None:
        return
    weights = [_weight(term) for term in loss.values()]
    if (alpha > 1 and 1 - alpha in weights) or (alpha < 0 and alpha in weights):
        rest = "cross-entropy has the weight 1 - loss.alpha, and " if alpha > 1 else ""
        yield Problem("loss.alpha", f"{rest}no weight may be below 0: give a number from 0 to 1, got {alpha}")


def _share(loss: Any) -> float | None:
    """The number at ``loss.alpha``; None if there is none."""
    alpha: Any = loss.get("alpha") if isinstance(loss, Mapping) else None
    return alpha if type(alpha) in (int, float) and math.isfinite(alpha) else None


def _weight(term: Any) -> Any:
    return term.get("weight") if isinstance(term, Mapping) and "_target_" in term else None


def _weights_files(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Files of weights that do not exist."""
    start = tree.get("init")
    if start is not None and not Path(str(start)).is_file():
        yield Problem("init", f"there is no file {start}: give a checkpoint, as RUN/checkpoints/best.ckpt, or weights")
    for place in ("model", "teacher", "teacher.model", "module.head"):
        node: Any = tree
        for part in place.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        weights = node.get("weights") if isinstance(node, Mapping) else None
        if isinstance(weights, str) and not Path(weights).is_file():
            yield Problem(f"{place}.weights", f"there is no file {weights}: correct the path")


def _image_folder(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Images of somebody's own in a folder that does not exist."""
    data = tree.get("data")
    if not isinstance(data, Mapping) or data.get("_target_") != "kdbias.data.image_folder.image_folder":
        return
    root = data.get("root")
    if isinstance(root, str) and not Path(root).is_dir():
        parts = "train/ and val/ or test/, each with one folder of images per class"
        yield Problem("data.root", f"there is no folder {root}: name one that holds {parts}")
    elif isinstance(root, str):
        yield from few_images(Path(root), data, tree.get("batch_size"))


def _parts(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Parts of the training images that are cut in two ways, and so share images that they should not."""
    data, teacher = tree.get("data"), tree.get("teacher")
    other = teacher.get("data") if isinstance(teacher, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(other, Mapping):
        return
    seed, both = data.get("split_seed", 0), data.get("part") is not None and other.get("part") is not None
    if both and other.get("split_seed", seed) != seed:
        text = f"must be {seed}, that of data.split_seed: parts that two seeds cut have images in common"
        yield Problem("teacher.data.split_seed", text)
