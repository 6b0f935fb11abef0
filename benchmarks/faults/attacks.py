"""Files that somebody made to do harm: none runs code, writes outside, reads the environment, or takes too much.

Too much is over 1 GiB or 5 s. Each is read in a forked process, in an empty folder beside a canary. What it left and
what it said decides.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import warm
from attack_folders import folders
from attack_texts import Attack, configs, names_of_things, results, text
from tally import Clock, Tally

SECRET = "the-secret-of-the-environment"
GIB = 2**30
SECONDS = 5.0


class Runs:
    """Writes the canary when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch canary",))


def attacks(folder: Path, clock: Clock, every: int = 1) -> list[Tally]:
    """Try every attack, or one of ``every`` many."""
    tally = Tally("attack files")
    began = time.monotonic()
    for name, make, read in _all()[::every]:
        if clock.left() < SECONDS:
            break
        tally.count(name, *_tried(folder / "attack", make, read))
    tally.seconds = time.monotonic() - began
    return [tally]


def _tried(place: Path, make: Callable[[Path], None], read: Callable[[Path], Any]) -> tuple[str | None, str]:
    shutil.rmtree(place, ignore_errors=True)
    outside, inside = place / "outside", place / "inside"
    outside.mkdir(parents=True)
    inside.mkdir()
    (outside / "kept").write_text("kept")
    make(inside)
    before = _state(place, inside)

    def act() -> None:
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        try:
            print("GOT", repr(read(inside))[:20_000])
        except (ValueError, FileNotFoundError) as error:
            print("REFUSED", str(error)[:20_000])
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
        print("TOOK", more, time.monotonic() - began)
        raise SystemExit(0)

    log = place / "log"
    process = warm.start("train.py", [], inside, log, act, KDBIAS_SECRET=SECRET)
    status, said = warm.finish(process, log, 4 * SECONDS)
    note = "refused" if "REFUSED" in said else "read as harmless" if "GOT" in said else "ended otherwise"
    if status != 0:
        return f"status {status}: {said[-250:]!r}", note
    more, seconds = map(float, said.rpartition("TOOK")[2].split()[:2])
    faults = {
        "ran code": any(place.rglob("canary")),
        "changed something outside": _state(place, inside) != before,
        "read the environment": SECRET in said,
        "steers the terminal": "\x1b" in said,
        f"took {more / GIB:.1f} GiB": more > GIB,
        f"took {seconds:.1f} s": seconds > SECONDS,
    }
    return "; ".join(name for name, true in faults.items() if true) or None, note


def _state(place: Path, inside: Path) -> dict[str, bytes]:
    found = {}
    for path in place.rglob("*"):
        if path.is_file() and not path.is_relative_to(inside) and path.name != "log":
            found[str(path)] = path.read_bytes()
    return found


def _all() -> list[Attack]:
    return [*configs(), *_checkpoints(), *_arrays(), *_images(), *folders(), *names_of_things(), *results()]


def _checkpoints() -> list[Attack]:
    from good_files import checkpoint

    from kdbias.batch import DataInfo
    from kdbias.models.checkpoint import load_student
    from kdbias.models.weights import read_weights

    info = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3).to_dict()

    def saved(value: Any, **settings: Any) -> Callable[[Path], None]:
        return lambda folder: torch.save(value, folder / "best.ckpt", **settings)

    def spec(model: Any, **more: Any) -> Callable[[Path], None]:
        return saved({"hyper_parameters": {"spec": {"model": model, "data": {**info, **more}}}, "state_dict": {}})

    def bomb(folder: Path) -> None:
        with zipfile.ZipFile(folder / "best.ckpt", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/data.pkl", b"\0" * (600 * 2**20))

    def overlapping(folder: Path) -> None:
        content = (checkpoint(folder)).read_bytes()
        at = content.rindex(b"PK\x01\x02")
        (folder / "best.ckpt").write_bytes(content[: at + 20] + struct.pack("<II", 2**31, 2**31) + content[at + 28 :])

    def read(folder: Path) -> Any:
        return load_student(folder / "best.ckpt")

    def weights(folder: Path) -> Any:
        return read_weights(folder / "best.ckpt", "teacher.weights")

    command = {"command": ["touch", "canary"], "log": None}
    small = {"_target_": "kdbias.models.resnet_cifar.small_cnn"}
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return [
        ("checkpoint: pickle that runs", saved({"a": Runs()}), read),
        ("checkpoint: pickle in the old format", saved({"a": Runs()}, _use_new_zipfile_serialization=False), read),
        ("checkpoint: bare pickle", text("best.ckpt", pickle.dumps(Runs())), read),
        ("checkpoint: pickle of protocol 0", text("best.ckpt", b"cos\nsystem\n(S'touch canary'\ntR."), read),
        ("weights: pickle that runs", saved({"a": Runs()}), weights),
        ("weights: bare pickle", text("best.ckpt", pickle.dumps(Runs())), weights),
        ("checkpoint: target os.system", spec({"_target_": "os.system", **command}), read),
        ("checkpoint: target of the package that runs", spec({"_target_": "kdbias.runs.process.run", **command}), read),
        ("checkpoint: target in a list", spec({**small, "layers": [{"_target_": "os.system"}]}), read),
        ("checkpoint: target private", spec({"_target_": "kdbias.models.deit.__builtins__.eval"}), read),
        ("checkpoint: network of 10^12 values", spec({**small, "widths": [10**6, 10**6]}), read),
        ("checkpoint: 10^9 blocks", spec({**small, "blocks": 10**9}), read),
        ("checkpoint: images of 10^7 px", spec(small, size=10**7), read),
        ("checkpoint: weights from a path", spec({**small, "weights": "/etc/passwd"}), read),
        ("checkpoint: zip bomb", bomb, read),
        ("checkpoint: sizes that lie", overlapping, read),
        ("checkpoint: tensor of 2^50 values", saved({"a": torch.zeros(1).expand(2**25, 2**25)}), weights),
        ("safetensors: claims terabytes", text("best.ckpt", struct.pack("<Q", len(header)) + header), weights),
        ("safetensors: header of 2^60 bytes", text("best.ckpt", struct.pack("<Q", 2**60) + b"{"), weights),
        ("safetensors: deep header", text("best.ckpt", struct.pack("<Q", 90_001) + b"{" + b"[" * 90_000), weights),
        ("checkpoint: deep pickle", text("best.ckpt", b"\x80\x02" + b"]" * 200_000 + b"." ), read),
        ("checkpoint: nested mappings", saved(_nested(200)), read),
    ]  # fmt: skip


def _nested(levels: int) -> Any:
    value: Any = torch.ones(1)
    for _ in range(levels):
        value = {"hyper_parameters": value}
    return value


def _arrays() -> list[Attack]:
    from kdbias.probes.base import Result
    from kdbias.probes.cache import Cache

    plain = json.dumps({"name": "result", "scalars": {}, "meta": {"n": 1}})

    def archive(entry: bytes, name: str = "a.npy", kind: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            (folder / "key").mkdir()
            (folder / "key" / "result.json").write_text(plain)
            with zipfile.ZipFile(folder / "key" / "result.npz", "w", kind) as file:
                file.writestr(name, entry)

        return make

    def npy(header: str, data: bytes = b"") -> bytes:
        text = header.encode().ljust(118) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data

    def objects(folder: Path) -> None:
        archive(b"")(folder)
        np.savez(folder / "key" / "result.npz", a=np.array([Runs()], dtype=object))

    makes = {
        "header of 2^50 values": archive(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2**50,), }")),
        "header of tebibytes": archive(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,), }")),
        "negative shape": archive(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")),
        "zero times infinity": archive(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999), }")),
        "header that is code": archive(npy("__import__('os').system('touch canary')")),
        "objects": objects,
        "object dtype": archive(
            npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([Runs()]))
        ),
        "zeros of 300 MiB": archive(b"\0" * (300 * 2**20)),
        "name with ..": archive(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }"), "../../outside/kept"),
        "wide text": archive(npy("{'descr': '<U2000000000', 'fortran_order': False, 'shape': (1,), }")),
    }
    found: list[Attack] = []
    for name, make in makes.items():
        found.append((f"npz: {name}", make, lambda folder: Result.load(folder / "key", "result")))
    found.append(("cache: objects", objects, lambda folder: Cache(folder).load("key", "result")))
    return found


def _images() -> list[Attack]:
    from kdbias.data.image_file import open_image
    from kdbias.data.image_folder import image_folder

    def png(width: int, height: int, data: bytes = b"") -> bytes:
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    def text_bomb(folder: Path) -> None:
        from PIL import Image, PngImagePlugin

        info = PngImagePlugin.PngInfo()
        info.add_text("a", "x" * (100 * 2**20), zip=True)
        Image.new("RGB", (4, 4)).save(folder / "a.png", pnginfo=info)

    def linked(folder: Path) -> None:
        for split in ("train", "val"):
            for name in "ab":
                (folder / split / name).mkdir(parents=True)
        os.symlink("/", folder / "train" / "a" / "root")
        os.symlink(folder, folder / "train" / "b" / "loop")

    contents = {
        "png of 10^18 px": png(2**31 - 1, 2**31 - 1), "png, wide": png(50_000, 50_000, zlib.compress(bytes(10**6))),
        "png bomb of zeros": png(9_000, 9_000, zlib.compress(bytes(9_000 * 27_001), 9)), "png, long": png(10**6, 1),
        "ppm that claims": b"P6 100000 100000 255\n", "eps that runs": b"%!PS-Adobe-3.0 EPSF\n(touch canary) system\n",
        "gif of many frames": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0\0\0", "svg": b"<svg onload='x'/>",
        "bmp that claims": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    }  # fmt: skip

    def read(folder: Path) -> Any:
        return open_image(folder / "a.png").size

    found: list[Attack] = [(f"image: {name}", text("a.png", content), read) for name, content in contents.items()]
    found.append(("image: text bomb", text_bomb, read))
    found.append(("image: a pipe", lambda folder: os.mkfifo(folder / "a.png"), read))
    found.append(("image: a device", lambda folder: os.symlink("/dev/zero", folder / "a.png"), read))
    found.append(("image folder: links to / and itself", linked, lambda folder: image_folder(root=str(folder)).info))
    return found
