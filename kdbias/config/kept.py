"""What a config says of a teacher's kept answers: how many draws of an image there are, and how they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdbias.config.control import teacher_use

KEYS = ("cache", "cache_dtype", "cache_layers", "cache_seed")
EPOCHS = "epochs"
KINDS = ("auto", "exact", "fp16", "bf16")
"""Values of ``teacher.cache_dtype``."""
LAYERS = ("read", "all")
"""Values of ``teacher.cache_layers``."""


def keeps(tree: Mapping[str, Any]) -> bool:
    """Whether a run keeps the answers of its teacher; a control of such a run sees the same draws."""
    return _teacher(tree).get("cache") is not None


def kept_draws(tree: Mapping[str, Any]) -> int | None:
    """Give the number of draws of each image in a resolved config; None without ``teacher.cache``."""
    cache = _teacher(tree).get("cache")
    if cache is None:
        return None
    return int(tree["epochs"]) if cache == EPOCHS else int(cache)


def draws_seed(tree: Mapping[str, Any]) -> int | None:
    """Give the seed of the draws where it is not the run's: ``teacher.cache_seed`` of a run with ``teacher.cache``.

    A value that is no seed is given as it is written; the check of a config refuses it.
    """
    seed: int | None = _teacher(tree).get("cache_seed")
    return seed if keeps(tree) and seed != tree.get("seed") else None


def shared_answers(tree: Mapping[str, Any]) -> str:
    """Give what runs that may share kept answers have in common, as 16 hex digits; empty for a run that keeps none.

    Two runs of different digits make answers of their own. Two of the same do not always share theirs. A control may
    keep none, and may give each seed a teacher of its own.
    """
    use = teacher_use(tree)
    if not keeps(tree) or not use.answers_kept:
        return ""
    own, draws = tree.get("seed"), draws_seed(tree)
    seeds = own if draws is None else draws, own if use.weights_by_seed(tree.get("control") or {}) else None
    teacher = {key: value for key, value in _teacher(tree).items() if key not in ("cache", "cache_seed")}
    loss = None if teacher.get("cache_layers") == "all" else tree.get("loss")
    parts = [teacher, loss, *seeds, *(tree.get(key) for key in ("control", "data", "augment", "batch_size"))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def kept_as(teacher: Mapping[str, Any]) -> str:
    """Give ``exact``, ``fp16`` or ``bf16``: how the answers of a teacher with these settings are kept.

    By default they are fp16, but exact with ``cache=epochs``, which thereby is the same run as one without, unless
    ``cache_seed`` names another seed than the run's.
    """
    asked = teacher.get("cache_dtype") or "auto"
    if asked == "auto":
        return "exact" if teacher.get("cache") == EPOCHS else "fp16"
    return str(asked)


def kept_layers(teacher: Mapping[str, Any], read: Sequence[int], count: int) -> tuple[int, ...]:
    """Give the positions, of ``count`` layers, whose tokens are kept; ``read`` are those that the loss reads."""
    return tuple(range(count)) if teacher.get("cache_layers") == "all" else tuple(read)


def unkept(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Give a teacher's settings without those of its kept answers."""
    return {key: value for key, value in teacher.items() if key not in KEYS}


def put_kept(teacher: dict[str, Any], seed: int | None = None) -> None:
    """Leave in a teacher's settings what of its kept answers decides a result, for the spec of a run with ``seed``.

    Exact answers for a draw of every epoch change no result, nor do tokens that the loss does not read, nor does the
    run's own seed as that of the draws.
    """
    cache, kind, other = teacher.get("cache"), kept_as(teacher), draws_seed({"teacher": teacher, "seed": seed})
    for key in KEYS:
        teacher.pop(key, None)
    if cache is not None and ((cache, kind) != (EPOCHS, "exact") or other is not None):
        teacher |= {"cache": cache, "cache_dtype": kind}
    if other is not None:
        teacher["cache_seed"] = other


def _teacher(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    node = tree.get("teacher")
    return node if isinstance(node, Mapping) else {}
