"""``stress=folder``: images that people made, one folder a class, such as drawings and silhouettes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from kdbias.batch import DataInfo
from kdbias.config.build import builder
from kdbias.data.folder_scan import class_folders, images_in, summary
from kdbias.data.image_file import fit, open_image
from kdbias.stress.kept import Stressed


@builder("stress")
@dataclass(frozen=True)
class Folder:
    """Images of any size and mode in ``root/CLASS/``; each folder must have the name of a class of the data.

    Names are compared without case, and ``_``, ``-`` and spaces are one. A class may have no folder. What is
    transparent becomes white; the shorter side is resized and the middle cut out; where the data's images are light on
    black, as MNIST's, a light ground is inverted.

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
            ValueError: ``root`` is no folder, a folder names no class or is empty, an image cannot be read, or
                ``strength`` is not 1.
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

    def _files(self, info: DataInfo) -> tuple[list[tuple[int, Path]], Counter[str]]:
        root = Path(str(self.root))
        if not root.is_dir():
            raise ValueError(f"stress.folder.root={root} is no folder: it must hold one folder of images per class")
        folders, skipped = class_folders(root)
        labels = {_key(name): label for label, name in enumerate(info.names)}
        unknown = sorted(name for name in folders if _key(name) not in labels)
        if unknown or not folders:
            wrong = f"the folders {', '.join(unknown)} name no class" if unknown else "it holds no folder"
            raise ValueError(f"stress.folder.root={root}: {wrong} of the data: the classes are {', '.join(info.names)}")
        files: list[tuple[int, Path]] = []
        for name, places in folders.items():
            listings = [images_in(place) for place in places]
            found = [Path(path) for listing in listings for path in listing.files]
            here = sum((listing.skipped for listing in listings), Counter[str]())
            if not found:
                raise ValueError(f"stress.folder.root={root}: {name} has no image ({summary(0, here)}): remove it")
            files += [(labels[_key(name)], path) for path in found]
            skipped += here
        return sorted(files, key=lambda file: file[0]), skipped


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()
