"""A resumed run has the config that it began with: the saved one is held against what the checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdbias.config.errors import ConfigError
from kdbias.config.renamed import now_named
from kdbias.config.spec import flat

DECIDING = ("seed", "model", "module", "loss", "optim", "teacher", "control")
"""The parts of a checkpoint's description that decide the result and that a resumed run may not change."""
_PLACES = ("weights", "root", "download", "recipe", "pretrained")  # a file may have moved; its content is in the hash


def require_unchanged(began: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Pass a run that goes on as it began.

    Args:
        began: The description in its last checkpoint (``hyper_parameters.spec``).
        now: The description that its config gives now, as ``kdbias.train.module_spec`` makes it.
        where: What an error calls the run.

    Raises:
        ConfigError: they differ, so that ``config.yaml`` or the checkpoint was edited; the error names the keys. The
            checkpoint does not hold all of the config (epochs, batch size, augmentation, data); of the rest its hash
            tells only that something is different.
    """
    parts = [part for part in DECIDING if part != "teacher" or now.get("control") is None]  # a control finds its own
    before, after = _deciding(began, parts), _deciding(now, parts)
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    lines = [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys]
    if not lines and began.get("hash") not in (None, now.get("hash")):
        lines = ["a key that the checkpoint does not hold (such as epochs, batch_size, augment, data or trainer)"]
    if lines:
        found = "\n  ".join(lines)
        raise ConfigError(
            f"resume={where}: its config is not the one that it began with. Undo the change, or begin the run anew. "
            f"In the checkpoint -> in config.yaml:\n  {found}"
        )


def _deciding(spec: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """The deciding keys of a description; what is None counts as absent, as in a description of before."""
    values = flat(now_named({key: spec[key] for key in parts if key in spec}))
    kept = {key: value for key, value in values.items() if key.rpartition(".")[2] not in _PLACES}
    return {key: value for key, value in kept.items() if value is not None and value != {}}
