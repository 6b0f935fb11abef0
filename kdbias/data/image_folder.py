"""``data=image_folder``: images of any size in folders, one for each class, decoded when they are asked for."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.base import Split, split_train
from kdbias.data.folder_scan import class_folders, images_in, summary
from kdbias.data.image_file import SUFFIXES, open_image, reader, square
from kdbias.data.part import part_rows
from kdbias.data.streams import Stream, stream

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LAYOUT = "it must hold train/ and val/ or test/, each with one folder of images per class"

Files = tuple[NDArray[np.bytes_], NDArray[np.int64]]
"""Paths below the root, and labels."""


class FolderImages:
    """Image files under ``root``; reading one decodes, resizes and crops it to ``(channels, size, size)`` uint8.

    ``files`` are their paths below ``root``, in one block of bytes, which worker processes share.
    """

    def __init__(self, root: Path, files: NDArray[np.bytes_], channels: int, size: int) -> None:
        self.root, self.files, self.channels, self.size = root, files, channels, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Tensor:
        return read_image(self.root / os.fsdecode(self.files[position]), self.channels, self.size)

    def decoded(self) -> Tensor:
        """Decode all images, on all cores: ``(n, channels, size, size)``."""
        images = torch.empty(len(self), self.channels, self.size, self.size, dtype=torch.uint8)
        with ThreadPoolExecutor() as pool:
            for row, image in zip(images, pool.map(self.__getitem__, range(len(self))), strict=True):
                row.copy_(image)
        return images


def read_image(path: Path, channels: int, size: int) -> Tensor:
    """Decode an image to uint8 ``(channels, size, size)``, by ``open_image`` and ``square``.

    Raises:
        ValueError: the file is not read as an image.
    """
    try:
        return square(open_image(path), channels, size)
    except ValueError as error:
        raise ValueError(f"data.root: {error}") from error


@dataclass(frozen=True)
class FolderSource:
    """Images in ``root/train/CLASS/``, and in ``root/val/CLASS/`` or ``root/test/CLASS/`` or both.

    ``image_folder`` builds it and documents the fields.
    """

    root: Path
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    val: int
    split_seed: int
    limit: int | None
    part: Sequence[float] | None = None

    @cached_property
    def info(self) -> DataInfo:
        """Sizes, statistics, and the names of the folders under ``train``.

        Raises:
            ValueError: a folder is missing, or a class is empty.
        """
        names = self._names
        train = len(self._files("train")[0])
        return DataInfo(len(self.mean), self.size, len(names), names, train, self.mean, self.std)

    def prepare(self) -> None:
        """Nothing to download."""

    def images(self, name: Split) -> tuple[FolderImages, Tensor]:
        """Give the files of a split, to be decoded one at a time, and their labels ``(n,)`` int64."""
        files, labels = self._files(name)
        return FolderImages(self.root, files, len(self.mean), self.size), torch.from_numpy(labels)

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Decode a whole split into memory: uint8 ``(n, C, size, size)`` and int64 ``(n,)``.

        Raises:
            ValueError: a file cannot be read as an image.
        """
        images, labels = self.images(name)
        return images.decoded(), labels

    def fingerprint(self, name: Split) -> str:
        """Tell the files of a split from others in their place, by paths, sizes and times of change, and the classes,
        and from the same in another order; and the images that this reader gives from those of another.

        The files are looked at once; a new source sees later changes.
        """
        if name not in self._fingerprints:
            digest = hashlib.sha256(f"{self._names}{reader()}".encode())
            for file in self._files(name)[0].tolist():
                found = os.stat(os.path.join(os.fsencode(self.root), file))
                digest.update(b"%s\0%d %d\0" % (file, found.st_size, found.st_mtime_ns))
            self._fingerprints[name] = digest.hexdigest()[:32]
        return self._fingerprints[name]

    @cached_property
    def _fingerprints(self) -> dict[Split, str]:
        return {}

    def _files(self, name: Split) -> Files:
        found = self._found
        if name == "test":
            return self._mixed(found["test" if "test" in found else "val"])
        both = "val" in found and "test" in found
        if name == "val" and both:
            return self._mixed(found["val"])
        files, labels = found["train"]
        part = part_rows(labels, self.part, self.split_seed)
        train, val = split_train(len(part), 0 if both else self.val, self.split_seed, self.limit)
        rows = part[train if name == "train" else val]
        return files[rows], labels[rows]

    def _mixed(self, listed: Files) -> Files:
        """Give the images in a fixed random order, so that the first of them are a sample of all classes."""
        files, labels = listed
        order = stream(Stream.SPLIT, self.split_seed).permutation(len(files))
        return files[order], labels[order]

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The classes: the folders under ``train``."""
        train = self.root / "train"
        if not train.is_dir():
            raise ValueError(f"data.root={self.root} has no folder train: {LAYOUT}")
        names = tuple(class_folders(train)[0])
        if not names:
            raise ValueError(f"data.root={self.root}: there is no class in train: {LAYOUT}")
        return names

    @cached_property
    def _found(self) -> dict[str, Files]:
        """The files and labels in each of the folders train, val and test that is there; warns of what was skipped."""
        skipped: Counter[str] = Counter()
        found = {name: self._scan(name, skipped) for name in ("train", "val", "test") if (self.root / name).is_dir()}
        if len(found) == 1:
            raise ValueError(f"data.root={self.root} has no images to test with: {LAYOUT}")
        if skipped:
            images = sum(len(files) for files, _ in found.values())
            warnings.warn(f"data.root={self.root}: {summary(images, skipped)}", stacklevel=2)
        return found

    def _scan(self, name: str, skipped: Counter[str]) -> Files:
        """List the images in each class's folders, in alphabetical order, and count what is ``skipped``."""
        (folders, beside), names = class_folders(self.root / name), self._names
        skipped.update(beside)
        unknown = sorted(set(folders) - set(names))
        if unknown:
            raise ValueError(f"data.root={self.root}: {name} has the class {unknown[0]}, which train does not have")
        files: list[bytes] = []
        labels: list[int] = []
        for label, one in enumerate(names):
            listings = [images_in(folder) for folder in folders.get(one, [])]
            inside = [path for listing in listings for path in listing.files]
            here = sum((listing.skipped for listing in listings), Counter())
            if not inside:
                there = f"; {summary(0, here)}" if here else ""
                raise ValueError(
                    f"data.root={self.root}: the class {name}/{one} has no image ({', '.join(SUFFIXES)}){there}: give "
                    f"it images, or take the class out of train too"
                )
            skipped.update(here)
            files += [os.fsencode(os.path.relpath(path, self.root)) for path in inside]
            labels += [label] * len(inside)
        return np.array(files), np.array(labels, dtype=np.int64)


@builder("data")
def image_folder(
    *,
    root: str | None,
    name: str | None = None,
    size: int = 224,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    part: Sequence[float] | None = None,
    val: int = 1_000,
    split_seed: int = 0,
    limit: int | None = None,
) -> FolderSource:
    """Give the images (of any size and common format) in the folders of ``root``, one folder a class.

    ``root/train/CLASS/...`` is the training set. If both ``root/val`` and ``root/test`` exist, they are the validation
    split and the test set. If only one of them exists, it is the test set, and the validation split is a fixed part of
    ``train`` of ``val`` images. The classes are the folders under ``train``, in alphabetical order.

    Args:
        root: the folder.
        name: name of the data set, used by the config alone: it identifies the images in the spec instead of ``root``.
        size: the shorter side is resized to it, and the image is cropped to a square.
        mean: of each channel of the training images in [0, 1]: three values, or one for grey images.
        std: their standard deviation.
        part: share of the images of ``train`` to use, as in ``part_rows``; None uses all.
        val: validation images to take from ``train``.
        split_seed: seed of these choices.
        limit: number of training images to keep; None keeps all.

    Raises:
        ValueError: a value is out of range.
    """
    if root is None:
        raise ValueError(f"data.root is not set: {LAYOUT}")
    if len(mean) not in (1, 3) or len(std) != len(mean):
        raise ValueError(
            f"data.mean and data.std must have three values each, or one for grey images, got {len(mean)} and "
            f"{len(std)}"
        )
    if not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
        raise ValueError(
            f"data.mean and data.std must be of images in [0, 1], got {list(mean)} and {list(std)}: divide values "
            "of images in 0..255 by 255"
        )
    return FolderSource(Path(root), size, tuple(mean), tuple(std), val, split_seed, limit, part)
