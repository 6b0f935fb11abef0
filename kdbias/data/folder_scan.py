"""Which images lie in the folders of a data set, and what lies there beside them."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kdbias.data.image_file import SUFFIXES
from kdbias.files import printable

SYSTEM = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information")
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
KINDS = 6  # of what was skipped that are named
TWICE, LOOP = "linked twice", "looping links"


@dataclass
class Listing:
    """The image files that were found, sorted by path, and how many entries of each kind were skipped."""

    files: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def class_folders(split: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """Give the folders of each class in a folder of classes, in alphabetical order, and what was skipped there.

    A class's name is composed (NFC): the folders that one name has in two spellings of Unicode are one class.

    Raises:
        ValueError: the name of a class has characters that cannot be shown; figures, tables and checkpoints have it.
    """
    found: dict[str, list[Path]] = {}
    skipped: Counter[str] = Counter()
    for entry in sorted(os.scandir(split), key=lambda entry: entry.name):
        if kind := _foreign(entry.name):
            skipped[kind] += 1
        elif not os.path.isdir(entry.path):
            skipped["outside of the classes"] += 1
        elif entry.is_symlink() and _leads_up(entry.path):
            skipped[LOOP] += 1
        elif printable(entry.name) != entry.name:
            name = printable(entry.path)
            raise ValueError(f"the class folder {name} has characters in its name that cannot be shown: rename it")
        else:
            found.setdefault(unicodedata.normalize("NFC", entry.name), []).append(Path(entry.path))
    return dict(sorted(found.items())), skipped


def images_in(folder: Path) -> Listing:
    """List the image files in a folder and the folders in it; links are followed, but nothing is listed twice.

    Skipped are hidden entries, those of operating systems, files without one of ``SUFFIXES``, pipes and the like, links
    that lead nowhere, and links to what is listed already or holds the folder itself.

    Raises:
        OSError: a folder cannot be read.
    """
    walk = _Walk()
    walk.enter(str(folder))
    while walk.links:  # after all that lies there itself, whose own path it keeps
        walk.follow(walk.links.pop(0))
    walk.found.files.sort()
    return walk.found


def summary(images: int, skipped: Counter[str]) -> str:
    """Say in words how many images there are and what was skipped: ``60 images, 12 skipped: 8 .txt, 4 hidden``."""
    kinds = [
        f"{count} {printable(kind)}" for kind, count in sorted(skipped.items(), key=lambda kind: (-kind[1], kind[0]))
    ]
    if len(kinds) > KINDS:
        kinds = [*kinds[:KINDS], f"{len(kinds) - KINDS} other kinds"]
    return f"{images} image{'s' * (images != 1)}, {skipped.total()} skipped: {', '.join(kinds)}"


class _Walk:
    """A walk through the folders of one class; what was seen is known by its place on the disk, not by its path."""

    def __init__(self) -> None:
        self.found = Listing()
        self.links: list[str] = []
        self.seen: set[tuple[int, int]] = set()

    def enter(self, folder: str) -> None:
        """List a folder and those in it, and put the links off; without recursion, as they may lie a thousand deep."""
        left = [folder]
        while left:
            left += self._list(left.pop())

    def _list(self, folder: str) -> list[str]:
        """List a folder, and give the folders in it."""
        inner: list[str] = []
        status = os.stat(folder)
        if not self._new(status.st_dev, status.st_ino):
            self.found.skipped[TWICE] += 1
            return inner
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if kind := _foreign(entry.name):
                self.found.skipped[kind] += 1
            elif entry.is_symlink():
                self.links.append(entry.path)
            elif entry.is_dir():
                inner.append(entry.path)
            elif self._is_image(entry.path, entry.is_file()):
                self._new(status.st_dev, entry.inode())
                self.found.files.append(entry.path)
        return inner[::-1]

    def follow(self, link: str) -> None:
        """List what a link leads to."""
        if os.path.isdir(link):
            if _leads_up(link):
                self.found.skipped[LOOP] += 1
            else:
                self.enter(link)
        elif self._is_image(link, os.path.isfile(link)):
            status = os.stat(link)
            if self._new(status.st_dev, status.st_ino):
                self.found.files.append(link)
            else:
                self.found.skipped[TWICE] += 1

    def _is_image(self, path: str, is_file: bool) -> bool:
        """Whether it is a file with a suffix of images; counted as skipped where not."""
        if is_file and path.lower().endswith(SUFFIXES):
            return True
        self.found.skipped[(os.path.splitext(path)[1].lower() or "without suffix") if is_file else "not files"] += 1
        return False

    def _new(self, device: int, inode: int) -> bool:
        known = (device, inode) in self.seen
        self.seen.add((device, inode))
        return not known


def _leads_up(link: str) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return Path(os.path.realpath(os.path.dirname(link))).is_relative_to(os.path.realpath(link))


def _foreign(name: str) -> str:
    """Say what an entry is that no user puts into a data set, by its name; nothing of any other."""
    if name.startswith("."):
        return "hidden"
    return "of the system" if name.lower() in SYSTEM + SYSTEM_FILES else ""
