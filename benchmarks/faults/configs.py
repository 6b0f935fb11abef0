"""Random configs: the check never raises, and what it lets through trains for two steps or refuses in one line."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import one_config
import warm
from omegaconf import OmegaConf
from tally import Clock, Tally

STRANGE: list[Any] = [
    None, 5, -3, 0, 1, 2, 1.5, 0.1, 10**30, float("nan"), float("inf"), True, False, "x", "", "???", "${no.such}", [],
    [1], ["a", None], {}, {"a": 1}, {"_target_": 5}, {"_target_": "kdbias.losses.ce.CE"}, {"_target_": "kdbias.no.S"},
    "auto", "val/loss", -1, 64, "ä\n", "../x", [[]], 1e-300,
]  # fmt: skip
BASES = (
    ["experiment=demo_control", "trainer=smoke"],
    ["experiment=exp1_resnet_kl", "trainer=smoke", "teacher.recipe=null", "model=vit"],
    ["experiment=exp3_ssl", "trainer=smoke", "model=vit"],
    ["experiment=demo_control", "trainer=smoke", "callback=[checkpoint,ema,early_stopping,probe_attention,knn]"],
)
TINY = ["data.train=60", "data.val=20", "data.test=20", "batch_size=4", "eval_batch_size=10", "probe_images=8"]
HIGHEST = 4_000  # a count above it is no tiny training; such a config is checked, and not trained
DEVICES = (2, 4)  # processes, among them more than there are cores
PATIENCE = 90  # seconds of a training of two steps


def configs(folder: Path, clock: Clock, seed: int = 0, count: int = 600, trained: int = 24) -> list[Tally]:
    """Check ``count`` random configs; train ``trained`` of those without problems for two steps."""
    from kdbias.checks.check import check

    draw = random.Random(seed)
    checked, built = Tally("random configs through the check"), Tally("configs that pass the check, two steps")
    bases = [composed([*base, *TINY]) for base in BASES]
    valid: list[tuple[str, dict[str, Any]]] = []
    began = time.monotonic()
    for _ in range(count):
        if clock.left() < 20:
            break
        tree, change = mutated(copy.deepcopy(draw.choice(bases)), draw)
        try:
            problems = check(OmegaConf.create(tree))
        except Exception as error:
            checked.count(change, f"{type(error).__name__}: {str(error)[:200]}")
            continue
        checked.count(change, None, "refused" if problems else "valid")
        if not problems and _small(tree):
            valid.append((change, tree))
    checked.seconds = time.monotonic() - began
    sample = draw.sample(valid, min(trained, len(valid)))
    sample += [several(bases[0], devices) for devices in DEVICES] if trained else []
    for change, tree in sample:
        if clock.left() < 20:
            break
        began = time.monotonic()
        wrong, note = train(tree, folder / "config")
        built.count(change, wrong, note)
        built.seconds += time.monotonic() - began
    return [checked, built]


def several(tree: dict[str, Any], devices: int) -> tuple[str, dict[str, Any]]:
    """Give a config of several processes on this machine, with what was changed."""
    changed = copy.deepcopy(tree)
    changed["trainer"]["devices"] = devices
    return f"trainer.devices near {devices}", changed


def composed(overrides: list[str]) -> dict[str, Any]:
    """Compose a config of ``train.py`` as plain types, unresolved."""
    from hydra import compose, initialize_config_dir

    from kdbias import cli

    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        found: Any = OmegaConf.to_container(compose("train", overrides))
    return {str(key): value for key, value in found.items()}


def mutated(tree: dict[str, Any], draw: random.Random) -> tuple[dict[str, Any], str]:
    """Drop, replace or wrap one to three places of a config; say which."""
    said = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        place = draw.choice(list(places(tree)))
        node = tree
        for key in place[:-1]:
            node = node[key]
        how, value = draw.choice(["drop", "replace", "replace", "replace", "near", "nest"]), draw.choice(STRANGE)
        old = node[place[-1]]
        if how == "drop":
            del node[place[-1]]
        elif how == "nest":
            node[place[-1]] = draw.choice([[old], {"x": old}])
        elif how == "near" and type(old) in (int, float):
            node[place[-1]] = draw.choice([old + 1, old * 2, -old, old / 2, type(old)(0)])
        else:
            node[place[-1]] = copy.deepcopy(value)
        said.append(f"{'.'.join(place)} {how} {node.get(place[-1])!r}"[:90])
    return tree, "; ".join(said)


def places(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the place of every value in nested dicts."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def train(tree: dict[str, Any], folder: Path) -> tuple[str | None, str]:
    """Train a config in a process of its own; give what is wrong, and how it ended."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given = folder / "given.json"
    given.write_text(json.dumps(tree))

    def one() -> None:
        sys.argv = [str(Path(one_config.__file__)), str(given)]  # the command of the other processes of the run
        one_config.main(given)
        raise SystemExit(0)

    began = time.monotonic()
    status, said = warm.finish(warm.start("train.py", [], folder, folder / "log", one), folder / "log", PATIENCE)
    if status == 0:
        return None, "trained"
    if "refused: " in said and "Traceback" not in said:
        return None, "refused later, in a line"
    if time.monotonic() - began > PATIENCE:
        return f"takes more than {PATIENCE} s", "too slow"
    return f"status {status}: {said.strip()[-300:]}", "traceback"


def _small(tree: dict[str, Any]) -> bool:
    def counts(node: Any) -> Iterator[float]:
        if isinstance(node, dict | list):
            for one in node.values() if isinstance(node, dict) else node:
                yield from counts(one)
        elif type(node) in (int, float):
            yield node

    limits = tree.get("trainer") or {}
    bounded = all(limits.get(f"limit_{name}_batches") for name in ("train", "val", "test"))
    own = (tree.get("paths") or {}, tree.get("callback"))
    return bounded and tree.get("epochs") == 1 and "../x" not in str(own) and all(
        one <= HIGHEST for key in ("data", "model", "batch_size", "trainer") for one in counts(tree.get(key))
    )  # fmt: skip
