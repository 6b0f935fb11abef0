"""Malformed files of every kind that the package reads: each is refused by an error that is meant, or changes nothing.

A trial is lost if a reader raises something else (a traceback without a remedy), or accepts a file whose content it
should have told from a good one. What no reader can tell (another digit in a number, another letter in a name) is
counted apart, as "accepted, changed".
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kills import same
from PIL import Image
from safetensors.torch import save_file
from tally import Clock, Tally

REFUSED = (ValueError, FileNotFoundError)
"""What the readers document: ``ConfigError`` and ``WeightsError`` are ValueErrors."""
VALUES: list[Any] = [
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\u202e${a}", "\ud800", [], [1], {}, {"a": []},
]  # fmt: skip
SUMMED = (".ckpt", ".npz")
"""Archives with checksums: no change of their content may be accepted."""


@dataclass(frozen=True)
class Reader:
    """A kind of file: how a good one is made under a folder (its path is given), and how it is read."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    least: int = 30


def malformed(folder: Path, clock: Clock, seed: int = 0, rounds: int = 1) -> list[Tally]:
    """Read every mutation of every kind of file."""
    draw = random.Random(seed)
    found = []
    for reader in readers():
        tally = Tally(f"malformed: {reader.name}")
        began = time.monotonic()
        place = folder / "malformed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        path = reader.make(place)
        good, expected = path.read_bytes(), reader.read(path)
        for what, content in mutations(good, path.suffix, draw, reader.least * rounds):
            if clock.left() < 0:
                break
            _put(path, content)
            tally.count(what, *_tried(reader, path, expected, what))
        tally.seconds = time.monotonic() - began
        found.append(tally)
    return found


def _tried(reader: Reader, path: Path, expected: Any, what: str) -> tuple[str | None, str]:
    """Read a malformed file; give what is wrong, and how it ended."""
    try:
        got = reader.read(path)
    except REFUSED as error:
        lines = str(error).strip().splitlines()
        return (None if lines and len(lines[0]) > 5 else f"an error that says nothing: {error!r}"), "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:160]}", "traceback"
    if got is None or (isinstance(got, dict | list) and not got):
        return None, "taken as not there"
    if same(expected, got):
        return None, "accepted, the same content"
    if path.suffix in SUMMED:
        return "accepted with another content", "accepted, changed"
    return _unsound(got), "accepted, changed"


def _unsound(got: Any) -> str | None:
    """Say what is of the wrong type in what a reader gave; None if nothing is."""
    from kdbias.probes.base import Result
    from kdbias.runs.progress import Progress

    if isinstance(got, Result):
        plain = isinstance(got.name, str) and isinstance(got.meta, dict)
        plain = plain and all(type(value) is float for value in got.scalars.values())
        return None if plain else "accepted: a Result with another type of value"
    if isinstance(got, Progress):
        sound = type(got.done) is int and type(got.epochs) is int and isinstance(got.accuracy, float | int | None)
        return None if sound and type(got.accuracy) is not bool else f"accepted: {got}"
    return None


def mutations(good: bytes, suffix: str, draw: random.Random, least: int) -> Iterator[tuple[str, bytes | str]]:
    """Give malformed contents by what was done; a text says what stands in the place of the file."""
    yield from (("empty", b""), ("zeros", b"\0" * len(good)), ("noise", draw.randbytes(200)), ("folder", "folder"))
    yield from (("link to nothing", "link"), ("page", b"<html>not found</html>"), ("blanks", b" \n" * 9))
    yield from (("twice", good + good), ("text", "ä€😀\u202e".encode()), ("utf-16", "a: 1".encode("utf-16")))
    yield "mark", b"\xef\xbb\xbf" + good
    count = 11
    if suffix == ".json":
        for what, text in json_mutations(json.loads(good)):
            yield what, text.encode("utf-8", "surrogatepass")
            count += 1
    if suffix in (".yaml", ".csv"):
        for what, content in text_mutations(good.decode(), suffix, draw):
            yield what, content
            count += 1
    while count < least or count < 25:
        at, kind = draw.randrange(len(good)), draw.choice(["cut", "flip", "flip", "drop", "repeat", "swap"])
        end = min(len(good), at + draw.randrange(1, 64))
        if kind == "cut":
            yield f"cut at {at}", good[:at]
        elif kind == "flip":
            changed = bytearray(good)
            changed[at] ^= 1 << draw.randrange(8)
            yield f"bit of byte {at}", bytes(changed)
        elif kind == "drop":
            yield f"without {at} to {end}", good[:at] + good[end:]
        elif kind == "repeat":
            yield f"{at} to {end} twice", good[:end] + good[at:]
        else:
            yield f"{at} to {end} random", good[:at] + draw.randbytes(end - at) + good[end:]
        count += 1


def json_mutations(tree: Any) -> Iterator[tuple[str, str]]:
    """Put every strange value in every place (of each list its first), drop every key, and break the grammar."""
    for number, place in enumerate(_places(tree)):
        for value in (VALUES[number % len(VALUES) :] + VALUES[: number % len(VALUES)])[:3]:
            changed = copy.deepcopy(tree)
            node = changed
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
            yield f"{'.'.join(map(str, place))} = {str(value)[:20]!r}", json.dumps(changed)
        changed = copy.deepcopy(tree)
        node = changed
        for key in place[:-1]:
            node = node[key]
        del node[place[-1]]
        yield f"without {'.'.join(map(str, place))}", json.dumps(changed)
    text = json.dumps(tree)
    yield "keys twice", text[:-1] + ", " + text[1:]
    yield "deep", "[" * 100_000
    yield "deep in a key", '{"a":' * 5_000 + "1" + "}" * 5_000
    yield from (("a list", "[1]"), ("a number", "3"), ("null", "null"), ("a text", '"x"'), ("comma", text[:-1] + ",}"))


def text_mutations(good: str, suffix: str, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Change lines of a text: drop, double, indent, strange values."""
    lines = good.splitlines()
    for number in range(len(lines)):
        at = draw.randrange(len(lines))
        value = str(draw.choice(VALUES))[:400].encode("utf-8", "replace").decode()
        kept = [*lines]
        if number % 4 == 0:
            del kept[at]
        elif number % 4 == 1:
            kept.insert(at, kept[at])
        elif suffix == ".csv":
            cells = kept[at].split(",")
            cells[draw.randrange(len(cells))] = value
            kept[at] = ",".join(cells)
        else:
            kept[at] = f"{kept[at].split(':')[0]}: {value}"
        yield f"line {at} changed ({number % 4}, {value[:12]!r})", "\n".join(kept).encode()


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _put(path: Path, content: bytes | str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content == "link":
        os.symlink(path.parent / "nothing", path)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)


def readers() -> list[Reader]:
    """Give every kind of file that the package reads."""
    from kdbias.analysis import results
    from kdbias.config.spec import plain
    from kdbias.data.image_file import FORMATS, open_image
    from kdbias.models.checkpoint import Checkpoint
    from kdbias.models.weights import read_weights
    from kdbias.modules.loggers import keep_until
    from kdbias.probes.base import Result
    from kdbias.probes.cache import Cache
    from kdbias.report.curves import read_metrics
    from kdbias.runs import progress, run_folder

    def kept(path: Path) -> Any:
        keep_until(path, 3)
        return read_metrics(path)

    def cached(path: Path) -> Any:
        return Cache(path.parent.parent).load("key", "result")

    def table(path: Path) -> Path:
        path = path / "metrics.csv"
        path.write_text("step,epoch,train/loss\n" + "".join(f"{step},{step // 2},{step / 7}\n" for step in range(8)))
        return path

    images = [Reader(f"image, {kind}", _image(kind), lambda path: np.asarray(open_image(path)), 25) for kind in FORMATS]
    return [
        Reader("config.yaml", _config, lambda path: plain(run_folder.saved_config(path.parent)), 80),
        Reader("result.json", _result, lambda path: run_folder.result(path.parent, "0123456789abcdef"), 60),
        Reader("result.json, stopped", _result, lambda path: run_folder.stopped(path.parent, "0123456789abcdef"), 60),
        Reader("progress.json", _progress, lambda path: progress.read(path.parent), 25),
        Reader("metrics.csv", table, kept, 40),
        Reader("networks.json", _networks, lambda path: [_about(one) for one in results.load(path.parent)], 40),
        Reader("a probe's .json", _measured(".json"), lambda path: Result.load(path.parent, "result"), 40),
        Reader("a probe's .npz", _measured(".npz"), lambda path: Result.load(path.parent, "result").arrays, 40),
        Reader("a cached .json", _measured(".json"), cached, 40),
        Reader("a cached .npz", _measured(".npz"), cached, 40),
        Reader("checkpoint", _checkpoint, lambda path: Checkpoint(path).student().state_dict(), 60),
        Reader("safetensors", _tensors, lambda path: read_weights(path, "weights"), 40),
        *images,
    ]


def _about(one: Any) -> Any:
    return [one.name, one.label, one.role, dict(one.about), sorted(one.results)]


def _config(folder: Path) -> Path:
    from configs import BASES, composed
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    tree = composed(BASES[0])
    tree |= {"hydra": None, "paths": {"run": "x"}, "module": tree["module"]}
    del tree["hydra"]
    resolved: Any = OmegaConf.to_container(OmegaConf.create(tree), resolve=False)
    path.write_text(
        "\n".join(line for line in OmegaConf.to_yaml(OmegaConf.create(resolved)).splitlines() if "$" not in line)
    )
    return path


def _result(folder: Path) -> Path:
    path = folder / "result.json"
    key = "0123456789abcdef"
    test = {"accuracy": 0.5, "loss": 1.2}
    spec = {"hash": key, "data": {"train": 9}}
    tree = {"name": "a", "objective": 0.5, "test": test, "spec_hash": key, "spec": spec, "stopped": "collapse"}
    path.write_text(json.dumps({**tree, "epochs": 3, "best_epoch": None, "refused": {}}))
    return path


def _progress(folder: Path) -> Path:
    from kdbias.runs.progress import PROGRESS, Progress

    Progress(2, 5, 0.25).write(folder)
    return folder / PROGRESS


def _networks(folder: Path) -> Path:
    from kdbias.analysis import results
    from kdbias.probes.base import Result

    one = results.Measured("a", "A", "network", {"seed": 0, "split": "test"}, {"p": Result("p", {"x": 1.0})})
    one.results["p"].save(folder / one.folder)
    results.save([one], folder)
    return folder / results.INDEX


def _measured(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from kdbias.probes.base import Result

        arrays = {"map": np.random.default_rng(0).random((8, 8)), "layers": np.array(["a", "b"])}
        meta = {"n": 40, "layers": ["a", "b"]}
        return (
            Result("result", {"distance": 0.5, "gap": float("inf")}, arrays, meta)
            .save(folder / "key")
            .with_suffix(suffix)
        )

    return make


def _checkpoint(folder: Path) -> Path:
    from kdbias.batch import DataInfo
    from kdbias.models.resnet_cifar import small_cnn

    info = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3)
    model = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [2, 4, 4]}
    torch.manual_seed(0)
    state = {f"student.{k}": v for k, v in small_cnn(info, widths=(2, 4, 4)).state_dict().items()}
    path = folder / "best.ckpt"
    torch.save({"hyper_parameters": {"spec": {"model": model, "data": info.to_dict()}}, "state_dict": state}, path)
    return path


def _tensors(folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20)}, path)
    return path


def _image(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"image.{kind.lower()}"
        values = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
        Image.fromarray(values).save(path, kind)
        return path

    return make
