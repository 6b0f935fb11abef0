"""Commands that are killed at random moments, and given again until they end: the result is bit-equal to that of one
that nobody killed.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import warm
from tally import Clock, Tally

SMALL = ["trainer=cpu", "trainer.precision=32-true", "trainer.log_every=1", "data.val=40", "data.test=40"]
SMALL += ["data.train=120", "batch_size=20", "epochs=3", "callback=[checkpoint,ema,progress]", "logger=[csv]"]
VIT = ["model.depth=1", "model.width=24", "model.heads=2"]
CHANGING = (
    "seconds",
    "epoch_seconds",
    "peak_memory",
    "images_per_second",
    "folder",
    "environment",
    "spec",
    "metrics.train/images_per_second",
)
CNN = ["teacher.epochs=2", "teacher.model.widths=[4,8]"]


@dataclass(frozen=True)
class Scene:
    """A command, and where its result lies: ``needs`` are the arguments of a run that must exist before."""

    name: str
    program: str
    arguments: list[str]
    resumes: Path | None = None


SCENES = [
    Scene(
        "single run", "train.py", ["experiment=demo_control", *SMALL, *VIT, "hydra.run.dir=runs/one"], Path("runs/one")
    ),
    Scene("sweep", "train.py", ["-m", "experiment=demo_control", *SMALL, *VIT, "seed=0,1"]),
    Scene(
        "teacher on demand", "train.py",
        ["-m", "experiment=demo_kl", *SMALL, *VIT, *CNN, "seed=0"],
    ),
    Scene(
        "task=demo", "analyze.py",
        ["task=demo", "study=demo", "study.seeds=[0]", "study.lanes=2", "study.conflict_images=60",
         "study.images=20",
         'study.overrides=["epochs=2","data.train=120","data.val=40","data.test=40","batch_size=20"]'],
    ),
    Scene(
        "study", "train.py",
        ["-m", "study=demo", "study.seeds=[0]", "study.lanes=2", "model.depth=1", "model.width=24", "model.heads=2",
         'study.overrides=["epochs=2","data.train=120","data.val=40","data.test=40","batch_size=20"]'],
    ),
    Scene(
        "task=probe", "analyze.py",
        ["task=probe", "runs=[../run]", "trainer=cpu", "probe=[attention,shuffle,features]", "images=40",
         "eval_batch_size=20", "out=out"],
    ),
    Scene(
        "task=build_stress", "analyze.py",
        ["task=build_stress", "data=cues", "data.train=120", "data.val=40", "data.test=600",
         "stress=[scramble,superpixel]"],
    ),
    Scene("task=evaluate", "analyze.py", ["task=evaluate", "runs=[../run]", "trainer=cpu", "images=40", "out=out"]),
]  # fmt: skip


def kills(folder: Path, clock: Clock, seed: int = 0, scenes: list[Scene] | None = None, most: int = 40) -> list[Tally]:
    """Try every scene up to ``most`` times, in turns, until the clock has run out."""
    chosen = SCENES if scenes is None else scenes
    draw = random.Random(seed)
    given = folder / "given"
    if any("../run" in word for scene in chosen for word in scene.arguments):
        status, said = _once(Scene("", "train.py", SCENES[0].arguments), given, {})
        assert status == 0, said
    tallies, references = {}, {}
    for scene in chosen:
        tallies[scene.name] = Tally(f"killed: {scene.name}")
        references[scene.name] = reference(scene, folder, given)
    for _ in range(most):
        for scene in chosen:
            expected, seconds = references[scene.name]
            if clock.left() < 4 * seconds:
                continue
            began = time.monotonic()
            wrong, note = trial(scene, folder / "trial", given, expected, seconds, draw)
            tallies[scene.name].count(note, wrong, note.split(" at ")[0])
            tallies[scene.name].seconds += time.monotonic() - began
    return list(tallies.values())


def reference(scene: Scene, folder: Path, given: Path) -> tuple[dict[str, Any], float]:
    """Run a scene's command to its end; give what it leaves, and its seconds."""
    place = _placed(folder / "reference", given)
    began = time.monotonic()
    status, said = _once(scene, place, {})
    assert status == 0, said
    return content(place), time.monotonic() - began


def trial(
    scene: Scene, folder: Path, given: Path, expected: dict[str, Any], seconds: float, draw: random.Random
) -> tuple[str | None, str]:
    """Kill the command once or twice, then let it end; give what is wrong, and how it was killed."""
    place = _placed(folder, given)
    number = draw.choice([signal.SIGKILL, signal.SIGTERM])
    elsewhere = {"TMPDIR": "/dev/shm"} if draw.random() < 0.5 and Path("/dev/shm").is_dir() else {}
    moments = [draw.uniform(0.05, 0.95) * seconds for _ in range(draw.choice([1, 1, 2]))]
    note = (
        f"{number.name}{' twice' if len(moments) == 2 else ''} at {', '.join(f'{moment:.2f} s' for moment in moments)}"
    )
    for moment in moments:
        process = warm.start(scene.program, _arguments(scene, place), place, place / "log", **elsewhere)
        time.sleep(moment)
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.end()
            return "it does not end within 30 s of the signal", note
        if number == signal.SIGTERM and process.returncode == 0 and not (place / "log").read_text().strip():
            return "ended with status 0 and nothing said", note
    time.sleep(0.1)
    status, said = _once(scene, place, elsewhere)
    if status != 0:
        return f"the command that was given again ends with status {status}: {said[-400:]!r}", note
    return different(expected, content(place)), note


def _arguments(scene: Scene, place: Path) -> list[str]:
    resumes = scene.resumes and (place / scene.resumes / "checkpoints" / "last.ckpt").is_file()
    return [*scene.arguments, *([f"resume={scene.resumes}"] if resumes else [])]


def _once(scene: Scene, place: Path, env: dict[str, str]) -> tuple[int, str]:
    place.mkdir(parents=True, exist_ok=True)
    return warm.finish(warm.start(scene.program, _arguments(scene, place), place, place / "log", **env), place / "log")


def _placed(place: Path, given: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(place.parent / "run", ignore_errors=True)
    place.mkdir(parents=True)
    if (given / "runs" / "one").is_dir():
        shutil.copytree(given / "runs" / "one", place.parent / "run")
    return place


def content(place: Path) -> dict[str, Any]:
    """Give all that a command left that does not depend on time: by path within the folder, hashes of specs kept."""
    readers: dict[str, Callable[[Path], Any]] = {".ckpt": _checkpoint, ".json": _json, ".csv": _csv, ".npz": _arrays}
    readers[".npy"] = np.load
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.suffix in readers and path.is_file() and ".hydra" not in name and "tensorboard" not in name:
            found[name] = readers[path.suffix](path)
    return found


def different(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """Say in what two contents differ; None if in nothing. Half-written files of a killed process do not count."""
    if missing := sorted(one.keys() ^ other.keys()):
        return f"files differ: {missing}"
    return next(
        (f"{name} differs{_where(one[name], other[name])}" for name in one if not same(one[name], other[name])), None
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal bit by bit; NaN equals NaN."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if is_dataclass(one):
        return type(one) is type(other) and same(vars(one), vars(other))
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def _where(one: Any, other: Any) -> str:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return ""
    keys = [key for key in {**one, **other} if key not in one or key not in other or not same(one[key], other[key])]
    return f" at {keys[:4]}: {str(one.get(keys[0]))[:80]} and {str(other.get(keys[0]))[:80]}"


def _checkpoint(path: Path) -> Any:
    found = torch.load(path, map_location="cpu", weights_only=True)
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "current_model_state", "epoch", "global_step")
    return {key: found[key] for key in keys if key in found}  # best.ckpt holds weights alone


def _json(path: Path) -> Any:
    found = json.loads(path.read_text())
    if isinstance(found, dict):
        found = {key: value for key, value in found.items() if key not in CHANGING}
        if isinstance(found.get("metrics"), dict):
            found["metrics"] = {k: v for k, v in found["metrics"].items() if "second" not in k and "memory" not in k}
    return found


def _csv(path: Path) -> Any:
    import csv

    rows = list(csv.DictReader(path.open(newline="")))
    return [{k: v for k, v in row.items() if v and "second" not in k and "memory" not in k} for row in rows]


def _arrays(path: Path) -> Any:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
