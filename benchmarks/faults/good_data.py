"""Good files of the published data sets and of stress sets, small ones, and how they are read."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from good_files import Reader
from torchvision.datasets import CIFAR10, CIFAR100

TRAIN, TEST = 40, 20
PARTS = {"train": TRAIN, "t10k": TEST}


def data_readers() -> list[Reader]:
    """Give the files of CIFAR-10, CIFAR-100, MNIST (plain and gzipped) and of a stress set."""
    cifar = (("CIFAR-10", CIFAR10, "labels"), ("CIFAR-100", CIFAR100, "fine_labels"))
    found = [
        Reader(f"{name}, {kind}", partial(_cifar, dataset, key, kind), partial(_read_cifar, dataset), 25)
        for name, dataset, key in cifar
        for kind in ("batch", "names")
    ]
    for name in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        found.append(Reader(f"MNIST, {name}", partial(_mnist, f"t10k-{name}"), _read_mnist, 40))
        found.append(Reader(f"MNIST, {name}.gz", partial(_zipped, f"t10k-{name}.gz"), _read_zipped, 25))
    for name in ("manifest.json", "images.npy", "labels.npz", "parts/0.npz"):
        found.append(Reader(f"stress set, {name}", partial(_stress, name), partial(_read_stress, name), 40))
    return found


def _images(count: int, *shape: int) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def _cifar(dataset: type[CIFAR10], key: str, kind: str, folder: Path) -> Path:
    """Lay the files of a set down, with sums that are theirs; torchvision compares them too."""
    place = folder / dataset.base_folder
    place.mkdir()
    sums = {}
    for name, count in (("train", TRAIN), ("test", TEST)):
        entry = {"data": _images(count, 3072), key: [place % 10 for place in range(count)]}
        (place / name).write_bytes(pickle.dumps(entry))
    (place / "names").write_bytes(pickle.dumps({dataset.meta["key"]: list("abcdefghij")}))
    for name in ("train", "test", "names"):
        sums[name] = hashlib.md5((place / name).read_bytes(), usedforsecurity=False).hexdigest()
    _SUMS[dataset] = sums
    return place / ("test" if kind == "batch" else "names")


_SUMS: dict[type[CIFAR10], dict[str, str]] = {}


def _read_cifar(dataset: type[CIFAR10], path: Path) -> Any:
    from kdbias.data.published_files import md5_fault
    from kdbias.data.torchvision_source import TorchvisionSource, image_info

    sums = _SUMS[dataset]

    class Small(dataset):  # type: ignore[misc, valid-type]
        train_list = [["train", sums["train"]]]  # noqa: RUF012
        test_list = [["test", sums["test"]]]  # noqa: RUF012
        meta = dataset.meta | {"filename": "names", "md5": sums["names"]}

    fault = partial(md5_fault, published=sums)
    info = image_info(TRAIN, val=10, limit=None, channels=3, size=32, names=(), mean=(0.5,) * 3, std=(0.5,) * 3)
    root = path.parent.parent
    source = TorchvisionSource(Small, root, dataset.base_folder, info, TRAIN, 10, 0, None, False, fault)
    return _splits(source)


def _splits(source: Any) -> Any:
    source.prepare()
    return {name: [part.numpy() for part in source.split(name)] for name in ("train", "val", "test")}


def _mnist(name: str, folder: Path) -> Path:
    place = folder / "MNIST" / "raw"
    place.mkdir(parents=True)
    for part, count in PARTS.items():
        images = struct.pack(">IIII", 2051, count, 28, 28) + _images(count, 28, 28).tobytes()
        labels = struct.pack(">II", 2049, count) + bytes(place % 10 for place in range(count))
        (place / f"{part}-images-idx3-ubyte").write_bytes(images)
        (place / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return place / name


def _read_mnist(path: Path, sums: dict[str, str] | None = None) -> Any:
    from kdbias.data.mnist import RawMNIST
    from kdbias.data.published_files import idx_fault
    from kdbias.data.torchvision_source import TorchvisionSource, image_info

    class Small(RawMNIST):
        mirrors = ["file:///nowhere/"]  # noqa: RUF012
        resources = list((sums or {}).items())  # noqa: RUF012

        def _check_exists(self) -> bool:
            return all((Path(self.raw_folder) / name).is_file() for name in _plain_names())

    fault = partial(idx_fault, classes=10, counts=PARTS)
    info = image_info(TRAIN, val=10, limit=None, channels=1, size=28, names=(), mean=(0.5,), std=(0.5,))
    root = path.parents[2]
    return _splits(TorchvisionSource(Small, root, "MNIST/raw", info, TRAIN, 10, 0, None, sums is not None, fault))


def _plain_names() -> list[str]:
    return [f"{part}-{kind}" for part in PARTS for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def _zipped(name: str, folder: Path) -> Path:
    place = _mnist(name, folder).parent
    for plain in _plain_names():
        (place / f"{plain}.gz").write_bytes(gzip.compress((place / plain).read_bytes(), mtime=0))
    _ZIPPED.update({f"{plain}.gz": _md5(place / f"{plain}.gz") for plain in _plain_names()})
    return place / name


_ZIPPED: dict[str, str] = {}


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _read_zipped(path: Path) -> Any:
    for plain in _plain_names():
        (path.parent / plain).unlink(missing_ok=True)
    return _read_mnist(path, _ZIPPED)


class _Plain:
    """A few images of noise."""

    labels = np.arange(TEST) % 10

    def __len__(self) -> int:
        return TEST

    def part(self, start: int, stop: int) -> Any:
        """Give some of them."""
        return _images(TEST, 8, 8, 3)[start:stop], self.labels[start:stop]


def _stored(root: Path, progress: Callable[[int, int], None] | None = None) -> Any:
    from kdbias.stress.build import stored
    from kdbias.stress.scramble import Scramble

    found = stored(Scramble(2), _Plain(), "s", root, name="noise", workers=1, progress=progress)
    return [found.image.numpy(), found.target.numpy()]


def _stress(name: str, folder: Path) -> Path:
    """A whole set, or for a chunk the set as a build left it that was ended."""

    def end(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        _stored(folder / "kept", end if name.startswith("parts") else None)
    (place,) = (folder / "kept").iterdir()
    return place / name


def _read_stress(name: str, path: Path) -> Any:
    """Read a copy, because what is damaged may be made again."""
    root = path.parents[len(Path(name).parts)]
    again = root.with_name("again")
    shutil.rmtree(again, ignore_errors=True)
    shutil.copytree(root, again, symlinks=True)
    return _stored(again)
