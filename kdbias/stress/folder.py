"""``stress=folder``: images that people made, one folder a class, such as drawings and silhouettes."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.folder_scan import class_folders, images_in, summary
from kdbias.data.image_file import fit, open_image, reader
from kdbias.stress.kept import Stressed


@builder("stress")
@dataclass(frozen=True)
class Folder:
    """Images of any size and mode in ``root/CLASS/``; each folder must have the name of a class of the data.

    A folder is of the class of its very name. Where there is none, names are compared without case, and ``_``, ``-``
    and spaces are one; that must lead to one class. A class may have no folder. What is transparent becomes white; the
    shorter side is resized and the middle cut out; for MNIST and Fashion-MNIST, told by their classes and statistics,
    a light ground is inverted and the image padded.

    Source: for CIFAR-10, the 600 drawings, silhouettes and contours of CIFAR-10G (Evans et al. 2022).

    Raises:
        ValueError: ``root`` is not set.
    """

    root: str | None = None

    def __post_init__(self) -> None:
        if self.root is None:
            raise ValueError("stress.folder.root is not set: give the folder that holds one folder of images per class")

    def images(self, info: DataInfo, strength: float) -> Stressed:
        """Read the images for a data set with ``info``, class by class in the order of the data's classes.

        Raises:
            ValueError: ``root`` is no folder, a folder is empty or names no class or several, an image cannot be
                read, or ``strength`` is not 1.
        """
        if strength != 1:
            raise ValueError(f"stress.folder: its images have no clean version, choose strengths=[1], not {strength}")
        files, skipped = self._files(info)
        image = torch.stack([fit(open_image(path), info) for _, path in files])
        target = torch.tensor([label for label, _ in files])
        manifest = {
            "set": "folder",
            "root": str(self.root),
            "images": len(files),
            "found": summary(len(files), skipped),
        }
        return Stressed(image, target, {}, manifest)

    def fingerprint(self) -> str:
        """Tell the files from others in their place, by paths, sizes and times of change; and what reads them.

        Raises:
            ValueError: the name of a folder has characters that cannot be shown.
            OSError: a folder cannot be read.
        """
        digest = hashlib.sha256(f"{reader()}".encode())
        root = Path(str(self.root))
        for places in class_folders(root)[0].values() if root.is_dir() else ():
            for path in (path for place in places for path in images_in(place).files):
                found = os.stat(path)
                digest.update(b"%s\0%d %d\0" % (os.fsencode(path), found.st_size, found.st_mtime_ns))
        return digest.hexdigest()[:32]

    def _files(self, info: DataInfo) -> tuple[list[tuple[int, Path]], Counter[str]]:
        root = Path(str(self.root))
        if not root.is_dir():
            raise ValueError(f"stress.folder.root={root} is no folder: it must hold one folder of images per class")
        folders, skipped = class_folders(root)
        named = {name: self._label(name, info.names) for name in folders}
        labels = {name: label for name, label in named.items() if label is not None}
        unknown = sorted(named.keys() - labels.keys())
        if unknown or not folders:
            wrong = f"the folders {', '.join(unknown)} name no class" if unknown else "it holds no folder"
            raise ValueError(f"stress.folder.root={root}: {wrong} of the data: the classes are {', '.join(info.names)}")
        files: list[tuple[int, Path]] = []
        for name, label in labels.items():
            listings = [images_in(place) for place in folders[name]]
            found = [Path(path) for listing in listings for path in listing.files]
            here = sum((listing.skipped for listing in listings), Counter[str]())
            if not found:
                raise ValueError(f"stress.folder.root={root}: {name} has no image ({summary(0, here)}): remove it")
            files += [(label, path) for path in found]
            skipped += here
        return sorted(files, key=lambda file: file[0]), skipped

    def _label(self, folder: str, names: Sequence[str]) -> int | None:
        """Give the class that a folder names; None if it names none.

        Raises:
            ValueError: it may be one or another.
        """
        alike = [label for label, name in enumerate(names) if _composed(name) == _composed(folder)]
        alike = alike or [label for label, name in enumerate(names) if _key(name) == _key(folder)]
        if len(alike) > 1:
            classes = " and ".join(names[label] for label in alike)
            raise ValueError(
                f"stress.folder.root={self.root}: the folder {folder} may be of the classes {classes}: give it the "
                "very name of one"
            )
        return alike[0] if alike else None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _composed(name).casefold()).strip()
