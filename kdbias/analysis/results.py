"""The Results of several networks in a folder; figures and tables are made from them alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from kdbias.analysis.networks import CONTROL, INITIAL, Role, Subject, safe
from kdbias.checks.check import ConfigError
from kdbias.config.conf import is_folder_name
from kdbias.files import write_json
from kdbias.probes.base import Result

INDEX = "networks.json"
ABOUT = ("seed", "experiment", "student", "teacher", "teacher_key", "families", "control", "source", "split")
BUILT = {
    "vit": ("kdbias.models.deit.",),
    "cnn": tuple(f"kdbias.models.{name}." for name in ("resnet_cifar", "convnext", "adaptive_cnn")),
}
TIMM = {"vit": ("vit_", "deit"), "cnn": ("resnet", "resnext", "convnext", "efficientnet", "tf_efficientnet", "regnet")}
"""How builders, and names in timm, of the families begin."""
MOST = 1_000_000  # bytes of a network's Results that are small enough to keep beside a figure


@dataclass(frozen=True)
class Measured:
    """The Results of one network by probe, and what tables say about it.

    ``name``, ``label`` and ``role`` are those of its ``Subject``. ``about`` holds plain types: ``seed``,
    ``experiment``, ``student``, ``teacher`` and ``control`` of its run (None if it has none), ``source``, the config
    node of its images, and the ``split`` that was measured. ``families`` are those of student and teacher, each None
    where it is not known. ``teacher_key`` identifies the run's teacher by its
    weights; for a network with the role ``teacher`` it identifies the network itself.
    """

    name: str
    label: str
    role: Role
    about: Mapping[str, Any]
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder of its Results."""
        return safe(self.name)


def measured_of(subject: Subject, split: str) -> Measured:
    """Describe a network before its first Result."""
    spec = subject.spec
    taught = subject.teacher is not None and (subject.role == "teacher" or (spec.get("teacher") or {}).get("name"))
    key = hashlib.sha256(subject.teacher.identity.encode()).hexdigest()[:16] if taught and subject.teacher else None
    about = {
        "seed": spec.get("seed"),
        "experiment": spec.get("name"),
        "student": (spec.get("model") or {}).get("_target_"),
        "teacher": (spec.get("teacher") or {}).get("name"),
        "teacher_key": key,
        "families": [_family(node.get("model")) for node in (spec, spec.get("teacher") or {})],
        "control": spec.get("control"),
        "source": subject.source,
        "split": split,
    }
    return Measured(subject.name, subject.label, subject.role, about)


def _family(model: Any) -> str | None:
    """The family of the network of a node, by its builder or its name in timm; None where these do not tell it."""
    if not isinstance(model, Mapping):
        return None
    builder, name = str(model.get("_target_", "")), str(model.get("name", "")).lower()
    if builder.startswith("kdbias.models.timm_network."):
        return next((family for family, begin in TIMM.items() if name.startswith(begin)), None)
    return next((family for family, begin in BUILT.items() if builder.startswith(begin)), None)


def save(networks: Sequence[Measured], folder: Path) -> None:
    """Write the list of networks beside their Results, and report Results above 1 MB."""
    entries = [
        {"name": one.name, "label": one.label, "role": one.role, "probes": sorted(one.results), "about": one.about}
        for one in networks
    ]
    write_json(folder / INDEX, {"networks": entries})
    for one in networks:
        size = sum(path.stat().st_size for path in (folder / one.folder).glob("*") if path.is_file())
        if size > MOST:
            print(f"{folder / one.folder}: {size / 1e6:.1f} MB of Results; a figure should need at most 1 MB")


def load(folder: Path) -> list[Measured]:
    """Read the networks and Results that ``save`` and the probes wrote to ``folder``.

    Raises:
        ConfigError: the folder, or a Result that it should hold, is missing or cannot be read.
    """
    index = folder / INDEX
    if not index.is_file():
        raise ConfigError(f"from_results: {index} is not there; name the folder (out) of an earlier analysis")
    found = []
    for one, probes in _entries(index):
        for probe in probes:
            try:
                one.results[probe] = Result.load(folder / one.folder, probe)
            except (OSError, ValueError) as error:
                path = folder / one.folder / f"{probe}.json"
                raise ConfigError(f"from_results: {path} cannot be read ({error}); measure it again") from error
        found.append(one)
    return found


def _entries(index: Path) -> Iterator[tuple[Measured, list[str]]]:
    """The networks of an index, each with the names of its Results, all of which lie beside the index.

    Raises:
        ConfigError: it is damaged, of another program, or names a file elsewhere.
    """
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"from_results: {index} is cut short or damaged ({error}); analyse again") from error
    entries = found.get("networks") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f"from_results: {index} lists no networks; name the folder (out) of an earlier analysis")
    for number, entry in enumerate(entries):
        if problem := _problem(entry):
            raise ConfigError(f"from_results: networks[{number}] of {index} {problem}; analyse again")
        about = {**dict.fromkeys(ABOUT), **entry["about"]}
        yield Measured(entry["name"], entry["label"], entry["role"], about), entry["probes"]


def _problem(entry: Any) -> str:
    """What is wrong with a network in an index; empty if nothing is."""
    kinds = {"name": str, "label": str, "role": str, "probes": list, "about": dict}
    for key, kind in kinds.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
            return f"has no {key}"
    if entry["role"] not in get_args(Role):
        return f"has the role {entry['role']!r}, which is none of {', '.join(get_args(Role))}"
    if safe(entry["name"]) in ("", ".", ".."):
        return f"is called {entry['name']!r}, which is no folder of its own"
    wrong = [name for name in entry["probes"] if not is_folder_name(name)]
    return f"has a probe {wrong[0]!r}, which is no name of a file" if wrong else ""


def unique(networks: Sequence[Measured]) -> dict[str, str]:
    """Give each network's label by its name, and the name itself where several have the same label."""
    count = Counter(network.label for network in networks)
    return {one.name: one.label if count[one.label] == 1 else f"{one.label}: {one.name}" for one in networks}


def by_label(networks: Sequence[Measured], probe: str) -> dict[str, list[Result]]:
    """Give the Results of a probe by label, without the teachers'; the control and the untrained network come last."""
    last = ("control", "initial")
    order = [one for one in networks if one.role not in last] + [one for one in networks if one.role in last]
    found: dict[str, list[Result]] = {}
    for one in order:
        if probe in one.results and one.role != "teacher":
            label = f"{INITIAL} (a run)" if one.label == INITIAL and one.role != "initial" else one.label
            found.setdefault(label, []).append(one.results[probe])
    return found


def marked(results: Mapping[str, Any]) -> dict[str, str | None]:
    """Give the labels of the control and of the untrained network as keyword arguments of a figure."""
    return {"control": CONTROL if CONTROL in results else None, "initial": INITIAL if INITIAL in results else None}
