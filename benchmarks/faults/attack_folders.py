"""Attacks by data sets: folders of images, stress images, files of MNIST beside those that are checked."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attack_texts import Attack
from PIL import Image

STEERS = "\x1b[2J\x1b]0;owned\x07"  # clears a terminal and names its window
Plant = Callable[[Path], object]


def _folder(plant: Plant) -> Callable[[Path], None]:
    """Lay a small folder of images down, and plant something in it."""

    def make(folder: Path) -> None:
        for split in ("train", "val"):
            for name in "ab":
                (folder / split / name).mkdir(parents=True)
                Image.new("RGB", (8, 8)).save(folder / split / name / "good.png")
        plant(folder / "train" / "a")

    return make


def _huge(place: Path) -> None:
    """A PNG of a few bytes whose header claims 4 gigapixels, cut after it."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 65_000, 65_000, 8, 2, 0, 0, 0)
    (place / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    )


def _ring(place: Path) -> None:
    """Two folders, each with a link to the other."""
    for one, other in (("x", "y"), ("y", "x")):
        (place / one).mkdir()
        (place / one / "on").symlink_to(place / other)


def _steering(place: Path) -> None:
    """A broken image and a class with names that steer a terminal, and a skipped file with such a suffix."""
    (place / f"{STEERS}.png").write_bytes(b"no image")
    (place / f"x.{STEERS}").write_bytes(b"")


def _link(target: str, name: str = "a.png") -> Plant:
    return lambda place: (place / name).symlink_to(target)


def folders() -> list[Attack]:
    """Folders of images, in training and as ``stress=folder``."""
    from kdbias.batch import DataInfo
    from kdbias.data.image_folder import image_folder
    from kdbias.data.mnist import mnist
    from kdbias.stress.folder import Folder

    info = DataInfo(3, 8, 2, ("a", "b"), 9, (0.5,) * 3, (0.5,) * 3)

    def read(folder: Path) -> Any:
        source = image_folder(root=str(folder), size=8, val=1)
        return source.info, [source.split(name)[0].shape for name in ("train", "val", "test")]

    def stressed(folder: Path) -> Any:
        found = Folder(root=str(folder / "train")).images(info, 1)
        return found.image.shape, found.manifest

    plants: dict[str, Plant] = {
        "a pipe": lambda place: os.mkfifo(place / "pipe.png"),
        "a socket's place": lambda place: os.mknod(place / "socket.png", 0o140600),
        "a huge png": _huge,
        "a link to a file of /etc": _link("/etc/passwd"),
        "a link to /etc": _link("/etc", "etc"),
        "a link to /proc": _link("/proc/self", "proc"),
        "a link to a device": _link("/dev/zero"),
        "a class that is a link to /etc": lambda place: (place.parent / "c").symlink_to("/etc"),
        "a ring of links": _ring,
        "a link to itself": _link("a.png"),
        "names that steer": _steering,
        "a class whose name steers": lambda place: place.rename(place.with_name(STEERS.replace("/", ""))),
        "a class whose name is not UTF-8": lambda place: os.rename(os.fsencode(place), os.fsencode(place) + b"\xff"),
        "a class with a line end": lambda place: place.rename(place.with_name("a\nerror: b")),
    }
    found: list[Attack] = []
    for name, plant in plants.items():
        found.append((f"image folder: {name}", _folder(plant), read))
        found.append((f"stress folder: {name}", _folder(plant), stressed))

    def processed(folder: Path) -> None:
        """Files of an old torchvision, which it would read in the place of the raw ones."""
        place = folder / "MNIST" / "processed"
        place.mkdir(parents=True)
        for name in ("training.pt", "test.pt"):
            torch.save((torch.zeros(70_000, 28, 28, dtype=torch.uint8), torch.full((70_000,), 77)), place / name)

    def digits(folder: Path) -> Any:
        source = mnist(root=str(folder), download=False)
        source.prepare()
        return source.split("test")[1].max()

    found.append(("MNIST: processed files that nothing checks", processed, digits))
    return found
