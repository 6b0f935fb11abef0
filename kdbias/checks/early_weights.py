"""Weights of another network, told by the names of their tensors, before torch is loaded.

Only what is certain is said here: a network whose tensors these names are sure to be missing in the file. Everything
else is left to the full check, which knows all names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tarfile import is_tarfile
from typing import Any

from kdbias.checks.tensor_names import Shapes, builder_of, content, shapes
from kdbias.config.errors import Problem

# Tensors that every network of these builders has, whatever its arguments.
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"kdbias\.models\.resnet_cifar\.\w+", ("conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight")),
    (r"kdbias\.models\.deit\.\w+", ("blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")),
)
BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}  # in each of three stages
REMEDY = "choose the network that they belong to, with its size and tokens, or other weights"
PLACES = (("teacher.weights", "teacher.model"), ("model.weights", "model"), ("teacher.model.weights", "teacher.model"))


def weights_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problems of files of weights that are certainly of other networks than those that the config names."""
    for key, place in PLACES:
        given, node = _at(tree, key), _at(tree, place)
        if not isinstance(given, str) or not Path(given).is_file() or not isinstance(node, Mapping):
            continue
        if not _may_hold_weights(Path(given)):
            text = "cannot be read as weights: it is no file of torch.save or safetensors: copy or download it again"
            yield Problem(key, f"{given} {text}")
            continue
        builder = str(node.get("_target_"))
        found = content(Path(given))
        own = builder_of(found)
        if own is not None and own != builder:
            name, wanted = own.rpartition(".")[2], builder.rpartition(".")[2]
            text = f"{given} holds a {name}, and the config names a {wanted}: choose {name}, or other weights"
            yield Problem(key, text)
        elif own is None and (reason := misfit(builder, shapes(found))):
            yield Problem(key, f"{given} does not fit {builder.rpartition('.')[2]}: {reason}: {REMEDY}")


def _may_hold_weights(path: Path) -> bool:
    """Whether a file may be one of torch, a zip, a tar or a pickle, or of safetensors, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(9)
    named = 0 < int.from_bytes(head[:8], "little") < path.stat().st_size and head[8:] == b"{"
    return head.startswith((b"PK", b"\x80")) or named or is_tarfile(path)


def misfit(builder: str, found: Shapes) -> str:
    """Say what a file with these tensors lacks, or has too much, for a builder's network; empty if that is not known.

    >>> misfit("kdbias.models.deit.vit", {"conv1.weight": (16, 3, 3, 3)})
    '2 tensors are missing (blocks.0.attn.qkv.weight, blocks.0.mlp.fc1.weight)'
    """
    if not found:
        return ""
    wanted = next((names for pattern, names in MARKS if re.fullmatch(pattern, builder)), ())
    missing = [name for name in wanted if name not in found]
    blocks = BLOCKS.get(builder.rpartition(".")[2])
    if blocks is not None and "resnet_cifar" in builder and not missing:
        known = {f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(blocks)}
        missing = [f"{name}.conv1.weight" for name in sorted(known) if f"{name}.conv1.weight" not in found]
        stray = [name for name in found if name.startswith("layer") and ".".join(name.split(".")[:2]) not in known]
        if stray:
            return f"{len(stray)} tensors are unknown ({_some(stray)})"
    return f"{len(missing)} tensors are missing ({_some(missing)})" if missing else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def _at(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
