"""From a checkpoint that describes itself to the network in it: neither the configuration nor the teacher is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.models.features import Extractor
from kdbias.models.weights import PREFIXES, load_state


def load_student(path: str | Path) -> Extractor:
    """Give the student of a checkpoint, in eval mode on the CPU, ready for images in [0, 1].

    With weight averaging it is the averaged network.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of this package, or its weights do not fit its own description.
    """
    content = _content(path)
    spec = content["hyper_parameters"]["spec"]
    extractor = _described(spec, path)
    prefix = PREFIXES[0]
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    return load_state(extractor, state, key=str(path)).eval()


def load_teacher(path: str | Path) -> Extractor:
    """Give the network that a teacher's own training left at ``path``: as ``load_student``, and frozen."""
    return load_student(path).requires_grad_(False)


def read_spec(path: str | Path) -> dict[str, Any]:
    """Give the spec with which the run of a checkpoint was built: plain types, with ``model``, ``data``, ``loss``...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of this package.
    """
    spec: dict[str, Any] = _content(path)["hyper_parameters"]["spec"]
    return spec


def architecture(model: Mapping[str, Any]) -> dict[str, Any]:
    """Give a model's spec without the weights that it would start from, so that building it reads and loads nothing."""
    without = {"pretrained": False, "weights": None}
    return {**model, **{k: v for k, v in without.items() if k in model}}


def _described(spec: Mapping[str, Any], path: str | Path) -> Extractor:
    """The network that a checkpoint's description names, with fresh weights."""
    try:
        network: Extractor = build(architecture(spec["model"]), DataInfo.from_dict(spec["data"]), group="model")
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(f"{path}: its description builds no network of this package: {error}") from error
    return network


def _content(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint {file.resolve()}")
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, EOFError, IndexError, KeyError, RuntimeError) as error:  # whatever a broken file meets
        raise ValueError(
            f"{file} cannot be read as a checkpoint ({error}): it is another file, or cut short"
        ) from error
    spec = content.get("hyper_parameters", {}).get("spec", {}) if isinstance(content, dict) else {}
    if not {"model", "data"} <= spec.keys():
        raise ValueError(
            f"{file} is no checkpoint of kdbias: it holds no hyper_parameters.spec with model and data; "
            "give bare weights as teacher.weights or model.weights"
        )
    return content  # type: ignore[no-any-return]
