"""Attacks by texts: saved configs, results, names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Attack = tuple[str, Callable[[Path], None], Callable[[Path], Any]]
"""Its name, what makes the file in a folder, and what reads it there."""


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Give what writes a file."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def configs() -> list[Attack]:
    """Saved configs."""
    from kdbias.checks.check import check
    from kdbias.config.spec import plain
    from kdbias.runs.run_folder import saved_config

    def read(folder: Path) -> Any:
        cfg = saved_config(folder)
        return plain(cfg), check(cfg)

    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
    )
    run = "_target_: os.system, command: touch canary"
    texts = {
        "bomb of aliases": bomb,
        "alias": "a: &a 1\nb: *a\n",
        "merge key": "a: &a {x: 1}\nb: {<<: *a}\n",
        "recursive alias": "a: &a [*a]\n",
        "tag python": "a: !!python/object/apply:os.system ['touch canary']\n",
        "tag own": "a: !x 1\n",
        "environment": "seed: 1\nname: ${oc.env:KDBIAS_SECRET}\n",
        "environment in a key": "seed: 1\n${oc.env:KDBIAS_SECRET}: 1\n",
        "environment in pieces": "seed: 1\na: '$'\nname: $\\{oc.env:KDBIAS_SECRET}\n",
        "decoded": "name: ${oc.decode:'${oc.env:KDBIAS_SECRET}'}\n",
        "deep lists": "a: " + "[" * 20_000 + "]" * 20_000,
        "deep mappings": "".join(" " * i + "a:\n" for i in range(900)) + " " * 900 + "a: 1\n",
        "many keys": "".join(f"k{i}: 1\n" for i in range(90_000)),
        "long text": "a: '" + "x" * 50_000_000 + "'\n",
        "huge number": "seed: " + "9" * 400_000 + "\n",
        "sexagesimal": "seed: " + ":".join(["59"] * 50_000) + "\n",
        "many documents": "--- \na: 1\n" * 50_000,
        "target in the model": f"model: {{{run}}}\n",
        "target in the data": f"data: {{{run}}}\n",
        "target in a callback": f"callback: {{x: {{{run}}}}}\n",
        "target of hydra": "model: {_target_: hydra.utils.get_method, path: os.system}\n",
        "recipe elsewhere": "teacher: {name: a, recipe: ../../evil}\n",
        "override of hydra": "chosen: {data: cues, overrides: ['hydra.run.dir=../outside']}\n",
        "searchpath": "hydra: {searchpath: ['file://../outside']}\nchosen: {overrides: ['hydra.searchpath=[x]']}\n",
        "allow": "allow: [os]\nmodel: {_target_: os.system, command: touch canary}\n",
        "name that is markdown": "name: '<script>alert(1)</script>'\nmodel: {_target_: 'kdbias.x](http://x)'}\n",
        "null bytes": 'a: "\\0\\0"\n\0',
        "number of networks": "model: {_target_: kdbias.models.deit.vit, depth: 1000000000, width: 1000000}\n",
        "size of the data": "data: {_target_: kdbias.data.cues.cues, train: 1000000000000}\n",
    }
    return [(f"config: {name}", text("config.yaml", content), read) for name, content in texts.items()]


def names_of_things() -> list[Attack]:
    """Names of networks and runs."""
    from kdbias.analysis import results
    from kdbias.config.conf import run_dir
    from kdbias.files import write_json
    from kdbias.probes.base import Result

    names = ("../../outside/kept", "/tmp/evil", "..", "a/../../outside", "$(touch canary)", "<img src=x>", "a\0b")

    def index(name: str) -> Callable[[Path], None]:
        entry = {"name": name, "label": name, "role": "network", "probes": [name], "about": {}}
        return lambda folder: write_json(folder / results.INDEX, {"networks": [entry]})

    def load(folder: Path) -> Any:
        return [one.folder for one in results.load(folder)]

    found: list[Attack] = [(f"networks.json: the name {name[:20]!r}", index(name), load) for name in names]
    for name in names[:5]:
        found.append((f"run name {name!r}", text("x", ""), lambda _, name=name: run_dir(None, "runs", name, "now")))
    about = {"_target_": "os.system", "command": "touch canary"}
    evil = {"networks": [{"name": "a", "label": "a", "role": "network", "probes": ["p"], "about": about}]}

    def described(folder: Path) -> None:
        write_json(folder / results.INDEX, evil)
        Result("p", {}, {}, {"_target_": "os.system", "n": 1}).save(folder / "a")

    found.append(("networks.json: a target", described, lambda folder: results.load(folder)))
    return found


def results() -> list[Attack]:
    """Results and progress."""
    from kdbias.probes.base import Result
    from kdbias.runs import progress, run_folder

    contents = {
        "deep": "[" * 200_000,
        "a long number": '{"spec_hash": ' + "9" * 5_000_000 + "}",
        "many keys": "{" + ",".join(f'"{i}": 0' for i in range(600_000)) + "}",
    }
    found: list[Attack] = []
    for name, content in contents.items():
        found.append((f"result.json: {name}", text("result.json", content), lambda at: run_folder.result(at, "k")))
        found.append((f"progress.json: {name}", text("progress.json", content), lambda at: progress.read(at)))
        found.append((f"a probe's json: {name}", text("p.json", content), lambda at: Result.load(at, "p")))
    return found
