"""The folder of the configs, their paths, and the OmegaConf resolvers that they may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdbias.files import network_in

FOLDER_NAME = "must be the name of a folder: letters, digits and _ - . + = , or blanks, at most 100"
PATHS = (  # keys whose values are paths; a key that others interpolate comes before them
    *(
        "paths.runs",
        "paths.teachers",
        "resume",
        "init",
        "out",
        "from_results",
        "runs",
        "control_run",
        "reference",
        "image",
        "folder",
    ),
    *("data.root", "teacher.data.root", "model.weights", "teacher.weights", "teacher.model.weights", "control.weights"),
    *("init", "loss.c2vkd.linguistic.weights", "loss.vlfkd.linguistic.weights"),
)
GRADED = "control.graded"  # teachers by name, each with its weights
MANY = (rf"{re.escape(GRADED)}\.\w+\.weights", r"study\.\w+_weights")  # patterns of further keys of paths


def conf_dir() -> str:
    """Give the folder of the configs: in the package if installed from a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def complement(weight: float | Mapping[str, Any]) -> float | dict[str, Any]:
    """Give 1 - weight: a number for a number, and for a schedule the same schedule with ``complement`` flipped.

    In a config, ``${complement:${loss.alpha}}`` gives cross-entropy the weight that the distillation term leaves.

    Raises:
        ValueError: the weight is neither a number nor a mapping.

    >>> complement(0.25), complement({"kind": "cosine", "start": 0.0, "end": 0.6})
    (0.75, {'kind': 'cosine', 'start': 0.0, 'end': 0.6, 'complement': True})
    """
    if isinstance(weight, Mapping):
        return {**{str(k): v for k, v in weight.items()}, "complement": not weight.get("complement", False)}
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"complement takes a number or a schedule, got {weight!r}")
    return 1 - weight


def is_folder_name(name: Any) -> bool:
    """Whether a name can name a folder: 1 to 100 letters, digits and ``_-.+=, ``, and the first is not a dot."""
    return isinstance(name, str) and re.fullmatch(r"[\w+=,\- ][\w.+=,\- ]{0,99}", name) is not None


def is_option(name: Any) -> bool:
    """Whether a name can name a yaml in a group's folder, such as ``resnet18`` or ``cnn_to_vit/lm``.

    Hydra follows ``..`` and absolute paths, so any other name could load somebody else's yaml.
    """
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*", name) is not None


def run_dir(resume: str | None, runs: str, name: str, now: str) -> str:
    """Give the folder of a run: the folder of the run to resume, or a new one.

    Raises:
        ValueError: the name of the run is not the name of a folder.
    """
    if resume:
        return expanded(resume)
    if not is_folder_name(name):
        raise ValueError(f"name: {FOLDER_NAME}, got {name!r}")
    return f"{expanded(runs)}/{name}/{now}"


def expanded(path: str) -> str:
    """Expand a typed path: a leading ``~`` becomes the home folder, ``$NAME`` and ``${NAME}`` become their values.

    A variable that is not set stays as it is. The paths of a saved config are data and are not expanded.
    """
    return os.path.expanduser(os.path.expandvars(path))


def expand_paths(cfg: DictConfig) -> None:
    """Expand every path of a composed config, in place; weights that are an exported folder become the file in it.

    A path that does not resolve stays as it is; the check of the config reports it.
    """
    for parent, key in _places(cfg):
        try:
            value: Any = parent[key]
        except OmegaConfBaseException:
            continue
        found = [_text(v) for v in value] if isinstance(value, ListConfig) else _text(value)
        if isinstance(found, str) and key in ("weights", "init") and (inside := network_in(Path(found))) is not None:
            found = str(inside)
        if found != value:
            parent[key] = found


def with_home(arguments: Sequence[str]) -> list[str]:
    """Replace ``~`` by the home folder in overrides of paths, because Hydra's grammar has no bare ``~`` in values.

    >>> with_home(["seed=1", "name=~/x"])
    ['seed=1', 'name=~/x']
    """
    named = re.compile(rf"\+{{0,2}}({'|'.join([*map(re.escape, PATHS), *MANY])})=")
    home = os.path.expanduser("~")
    return [
        re.sub(r"(?<=[=\[,])~(?=[/,\]]|$)", lambda _: home, each) if named.match(each) else each for each in arguments
    ]


def _places(cfg: DictConfig) -> Iterator[tuple[DictConfig, str]]:
    """The places of a config that hold a path: each is a mapping and a key in it."""
    graded = OmegaConf.select(cfg, GRADED)
    for path in (*PATHS, *(f"{GRADED}.{name}.weights" for name in graded or ())):
        place, _, key = path.rpartition(".")
        parent = OmegaConf.select(cfg, place) if place else cfg
        if isinstance(parent, DictConfig) and key in parent:
            yield parent, key


def _text(value: Any) -> Any:
    found = expanded(value) if isinstance(value, str) else value
    return value if isinstance(found, str) and "${" in found else found  # it would be an interpolation


def register() -> None:
    """Make the resolvers known to OmegaConf; calling it again changes nothing."""
    OmegaConf.register_new_resolver("complement", complement, replace=True)
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("expanded", expanded, replace=True)
