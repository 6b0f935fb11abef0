"""What an exported network says of itself: a description in the format of ``kdbias.zoo``, without places on a disk."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbias import zoo
from kdbias.config.conf import PATHS
from kdbias.config.overrides import key_of
from kdbias.config.spec import plain, spec_hash
from kdbias.models.checkpoint import Checkpoint, architecture
from kdbias.models.features import Extractor
from kdbias.probes.base import Result
from kdbias.runs import run_folder
from kdbias.stats import accuracy

TEST = "test"  # the Result that a run makes at its end


def described(path: Path, checkpoint: Checkpoint, network: Extractor, licence: str | None) -> dict[str, Any]:
    """Give the description of the network that ``path`` named; what is not known of it is None.

    Raises:
        ValueError: the run's config is damaged.
    """
    spec = _without_places(checkpoint.spec)
    spec["model"] = _without_places(architecture(checkpoint.spec["model"]))
    shipped = zoo.entry(checkpoint.path)
    of_run = _again(shipped, licence) if shipped else _of_run(checkpoint)
    folder = path if path.is_dir() else checkpoint.path.parent.parent
    name = zoo.name_of(checkpoint.path) if shipped else str(spec.get("name") or folder.name)
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "family": network.info.family,
        "licence": licence,
        **of_run,
        "epoch": checkpoint.epoch,
        "global_step": checkpoint.global_step,
        "spec": spec,
    }


def _again(shipped: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    """What a network that was described before says of its run; a licence that is given now counts."""
    keys = ("accuracy", "teacher", "control", "images", "data", "made")
    found = {key: shipped.get(key) for key in keys}
    images = found["images"] or str((found["data"] or {}).get("_target_", "")).rpartition(".")[2] or None
    return {**found, "images": images, "licence": licence or shipped.get("licence")}


def _of_run(checkpoint: Checkpoint) -> dict[str, Any]:
    folder = checkpoint.path.parent.parent
    if not (folder / run_folder.CONFIG).is_file():
        unknown = dict.fromkeys(("accuracy", "images", "data", "made"))
        teacher = (checkpoint.spec.get("teacher") or {}).get("name")
        return {**unknown, "teacher": teacher, "control": checkpoint.spec.get("control")}
    saved = run_folder.saved_config(folder)
    tree, result = plain(saved), run_folder.result(folder, spec_hash(saved)) or {}
    spec = checkpoint.spec  # a control may have put another teacher, or none, in the place of the config's
    control = str((tree.get("control") or {}).get("_target_") or "").rpartition(".")[2]
    machine: Mapping[str, Any] = result.get("environment") or {}
    return {
        "accuracy": _accuracy(folder) if checkpoint.path.name == run_folder.BEST.name else None,
        "teacher": (spec.get("teacher") or {}).get("name"),
        "control": spec.get("control") or control or None,
        "images": (tree.get("chosen") or {}).get("data"),
        "data": None if "root" in tree["data"] else _without_places(tree["data"]),
        "made": {
            "command": command((tree.get("chosen") or {}).get("overrides") or []),
            "experiment": tree["name"],
            "seed": tree["seed"],
            "epochs": tree.get("epochs"),
            "revision": machine.get("git"),
            "changed": machine.get("dirty"),
            "torch": machine.get("torch"),
            "weights": "as trained",
        },
    }


def command(overrides: list[str]) -> str:
    """Give the command of a run without the places of its machine.

    >>> command(["experiment=exp1_kl", "paths.runs=/home/a", "teacher.weights=/home/a/b.ckpt"])
    'python train.py experiment=exp1_kl teacher.weights=b.ckpt'
    """
    words = []
    for word in overrides:
        key, _, value = word.partition("=")
        if (key_of(word) or "").startswith("paths.") or key.endswith("data.root"):
            continue
        named = key_of(word) in PATHS or os.path.isabs(value)
        words.append(f"{key}={Path(value.strip(chr(39))).name}" if named else word)
    return " ".join(
        ["python train.py", *(f"'{word}'" if set(word) & set(" []{}()'\"$*&|;<>") else word for word in words)]
    )


def _accuracy(folder: Path) -> dict[str, Any] | None:
    """The accuracy on the run's test images with its 95 % interval; None where the run has none that can be read."""
    try:
        right = Result.load(folder / "probes", TEST).arrays["right"]
    except (OSError, ValueError, LookupError):
        return None
    found = accuracy(right)
    return {"test": found.value, "low": found.low, "high": found.high, "images": len(right)}


def _without_places(node: Any) -> Any:
    """A tree of plain values, with the last name of every path that leads from the root of a disk.

    NaN and infinities become None, as in JSON.
    """
    if isinstance(node, Mapping):
        return {str(key): _without_places(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_without_places(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return None
    return Path(node).name if isinstance(node, str) and os.path.isabs(node) else node
