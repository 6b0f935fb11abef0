"""What a finished run says of its cost, and what must be equal for two costs to be compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbias.analysis.finished import control_kind, finished
from kdbias.analysis.recipe import recipe
from kdbias.config.build import selected
from kdbias.config.control import teacher_use
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree, flat, plain
from kdbias.modules.distill import Distill
from kdbias.runs import run_folder

CE, KL = "kdbias.losses.ce.CE", "kdbias.losses.kl.KL"
UNLIKE = {"layers", "weights", "pretrained", "inference"}  # settings of a network that do not change what it costs
HARDWARE = ("cpu", "threads", "gpu")


@dataclass(frozen=True)
class CostRun:
    """A run's cost: ``seconds`` of its last epoch without validation, ``rate`` in images/s, ``memory`` in GiB.

    Each is None if the run did not record it. ``memory_of`` is ``gpu`` or ``process``, as in
    ``kdbias.runs.memory.peak_memory``. ``kl`` says that soft KL is its only distillation term. ``student``,
    ``teacher`` (empty without one) and ``setting`` (data, batch, precision, hardware) must be equal for two runs to
    be compared; ``rest`` is all that decides its result, as ``recipe`` gives it, ``seed`` excepted.
    """

    folder: Path
    label: str
    seconds: float | None
    rate: float | None
    memory: float | None
    memory_of: str
    kl: bool
    student: Mapping[str, Any]
    teacher: Mapping[str, Any]
    setting: Mapping[str, Any]
    rest: Mapping[str, Any]
    seed: int | None

    def unlike(self, other: CostRun) -> str:
        """Name the first thing in which networks and setting differ, with both values; empty if nothing does.

        Without a teacher on one side, teachers are not compared.
        """
        pairs = [(self.student, other.student), (self.setting, other.setting)]
        pairs += [(self.teacher, other.teacher)] if self.teacher and other.teacher else []
        for mine, theirs in pairs:
            for key in sorted({*mine, *theirs}):
                if mine.get(key) != theirs.get(key):
                    return f"{key} ({mine.get(key)!r} and {theirs.get(key)!r})"
        return ""


def read_cost(folder: Path, label: str | None = None) -> CostRun:
    """Read a finished run; ``label`` in place of its own name.

    Raises:
        ConfigError: its ``result.json`` is damaged, of another config or says that training failed, or its config is
            damaged.
    """
    tree, found = plain(run_folder.saved_config(folder)), _result(folder)
    _, _, lack = finished(folder)
    if lack:
        raise ConfigError(f"runs: {folder} {lack}: leave it out")
    _require_parts(folder, tree)
    metrics = found.get("metrics") or {}
    memory = found.get("peak_memory") or {"gib": metrics.get("train/peak_memory"), "of": "gpu"}
    seconds = _positive(folder, "epoch_seconds", found.get("epoch_seconds", metrics.get("train/seconds")))
    control = control_kind(tree, found)
    return CostRun(
        folder,
        label or f"{tree['name']}{f', control {control}' if control else ''}",
        seconds,
        rate=_positive(folder, "images_per_second", found.get("images_per_second")),
        memory=_positive(folder, "peak_memory", memory["gib"]),
        memory_of=memory["of"],
        kl=not control and by_kl(tree),
        student=_network("model", tree["model"]),
        teacher=_teacher(tree["teacher"]) if _taught(tree) else {},
        setting=_setting(tree, found),
        rest=recipe(tree),
        seed=tree.get("seed"),
    )


def by_kl(tree: Tree) -> bool:
    """Whether soft KL is a run's only distillation term."""
    terms = {node["_target_"] for _, node in selected(tree.get("loss") or {})}
    return tree["module"]["_target_"] == f"{Distill.__module__}.{Distill.__name__}" and terms - {CE} == {KL}


def _require_parts(folder: Path, tree: Tree) -> None:
    """Pass a config with what a cost is read of.

    Raises:
        ConfigError: a part is missing, or is no mapping, or a builder in it has no name.
    """
    nodes: dict[str, Any] = {key: tree.get(key) for key in ("model", "module", "data", "trainer", "teacher")}
    nodes |= {f"loss.{name}": node for name, node in (tree.get("loss") or {}).items()} if _is_node(tree, "loss") else {}
    built = [key for key, node in nodes.items() if isinstance(node, dict) and "_target_" in node]
    named = all(isinstance(nodes[key]["_target_"], str) for key in built)
    mappings = all(isinstance(nodes[key], dict) for key in ("model", "module", "data", "trainer", "teacher"))
    whole = mappings and {"model", "module", "data"} <= {*built} and {"name", "batch_size", "compile"} <= tree.keys()
    control = tree.get("control")
    taught = whole and isinstance(nodes["teacher"].get("model"), dict | None)
    if not (taught and named and _is_node(tree, "loss") and isinstance(control, dict | None)):
        path = folder / run_folder.CONFIG
        raise ConfigError(f"runs: {path} is no whole config of a run: leave the run out, or train it again")


def _is_node(tree: Tree, key: str) -> bool:
    return isinstance(tree.get(key), dict | None)


def _taught(tree: Tree) -> bool:
    return tree["teacher"].get("model") is not None and teacher_use(tree).uses_teacher


def _teacher(node: Mapping[str, Any]) -> dict[str, Any]:
    """Its network, and whether it answers in every step or once for all epochs."""
    return {**_network("teacher.model", node["model"]), "teacher.cache": node.get("cache")}


def _network(key: str, node: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{key}.{name}": value for name, value in flat(node).items() if name not in UNLIKE}


def _setting(tree: Tree, found: Mapping[str, Any]) -> dict[str, Any]:
    """The images and the machine: what an epoch's time depends on beside the method."""
    data = {f"data.{key}": value for key, value in tree["data"].items() if key not in ("root", "download")}
    trainer = {f"trainer.{key}": tree["trainer"].get(key) for key in ("accumulate", "limit_train_batches")}
    machine = {key: (found.get("environment") or {}).get(key) for key in HARDWARE}
    own = {"batch_size": tree["batch_size"], "compile": tree["compile"]}
    loading = {"repeats": 1, **(tree.get("loader") or {})}  # as before there was such a setting
    loader = {f"loader.{key}": loading.get(key) for key in ("_target_", "repeats", "num_workers")}
    return {
        **data,
        **trainer,
        **own,
        **loader,
        **machine,
        **{key: found.get(key) for key in ("precision", "processes")},
    }


def _result(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / run_folder.RESULT).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    parts = ("metrics", "peak_memory", "environment")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict | None) for key in parts):
        raise _damaged(folder, "it does not hold what a run writes")
    memory = found.get("peak_memory")
    if memory is not None and not ({"gib", "of"} <= memory.keys() and memory["of"] in ("gpu", "process")):
        raise _damaged(folder, "peak_memory has no gib and of")
    return dict(found)


def _positive(folder: Path, key: str, value: Any) -> float | None:
    """Pass a number above 0, or None where nothing was recorded."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise _damaged(folder, f"{key} is {value!r}")
    return float(value)


def _damaged(folder: Path, why: str) -> ConfigError:
    path = folder / run_folder.RESULT
    return ConfigError(f"runs: {path} is cut short or damaged ({why}): leave the run out, or train it again")
