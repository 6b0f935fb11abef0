"""A source that reads one of torchvision's classification sets into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tarfile import ReadError
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.batch import DataInfo
from kdbias.data.base import Split, split_train
from kdbias.data.part import bounds, part_rows
from kdbias.data.staged import staged
from kdbias.files import lock


@dataclass(frozen=True)
class TorchvisionSource:
    """Images of ``dataset``, a torchvision class with ``data`` and ``targets``, in ``root / folder``.

    ``fault`` names a file in that folder that is broken, and why, where there is one. ``count`` is the size of the
    official training set, of which ``part`` is taken (as in ``part_rows``, by ``split_seed``) and split: ``val``,
    ``split_seed`` and ``limit`` are as in ``split_train``. Grey images get one channel; all are padded with black to
    ``info.size``.
    """

    dataset: Callable[..., Any]
    root: Path
    folder: str
    info: DataInfo
    count: int
    val: int
    split_seed: int
    limit: int | None
    download: bool
    fault: Callable[[Path], tuple[Path, str] | None]
    part: Sequence[float] | None = None

    def prepare(self) -> None:
        """Download the files if they are missing; processes that share ``root`` wait for each other.

        Raises:
            FileNotFoundError: they are missing and cannot be had.
            ValueError: one of them is broken.
        """
        if self._opens():
            return
        if not self.download:
            self._require_whole()
            raise FileNotFoundError(self._missing("data.download is false"))
        made = not self.root.exists()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with lock(self.root / f".{self.folder.partition('/')[0]}.lock"):
                self._require_whole()  # not before: another process may just be writing them
                with staged(self.root, self.folder, self._archives) as place:
                    self.dataset(str(place), train=False, download=True)
        except (HTTPException, URLError, OSError, RuntimeError, EOFError, ReadError) as error:
            self._sweep(made)
            raise FileNotFoundError(self._missing(f"the download failed ({_why(error)})")) from error

    def split(self, name: Split) -> tuple[Tensor, Tensor]:
        """Read one split: uint8 ``(n, C, H, W)`` and int64 ``(n,)``.

        Raises:
            FileNotFoundError: the files are missing.
            ValueError: one of them is broken.
        """
        self._require_whole()
        try:
            data = self.dataset(str(self.root), train=name != "test")
        except RuntimeError as error:
            raise FileNotFoundError(self._missing("it was not downloaded yet")) from error
        images, labels = torch.as_tensor(data.data), torch.as_tensor(data.targets, dtype=torch.int64)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        if name != "test":
            part = part_rows(labels[: self.count].numpy(), self.part, self.split_seed)
            train, val = split_train(len(part), self.val, self.split_seed, self.limit)
            rows = torch.from_numpy(part[train if name == "train" else val])
            images, labels = images.index_select(0, rows), labels[rows]
        border = (self.info.size - images.shape[-1]) // 2
        return F.pad(images, [border] * 4).contiguous(), labels

    @property
    def _archives(self) -> tuple[str, ...]:
        """The names of the archives of the set: one of all files, or one of each."""
        set_of: Any = self.dataset
        one = getattr(set_of, "filename", None)
        return (one,) if one is not None else tuple(Path(url).name for url, _ in set_of.resources)

    def _opens(self) -> bool:
        if self.fault(self.root / self.folder) is not None:
            return False
        try:
            self.dataset(str(self.root), train=False)
        except RuntimeError:
            return False
        return True

    def _sweep(self, made: bool) -> None:
        """Remove the lock and the empty folders of a failed download, with ``root`` if it was ``made`` for it."""
        (self.root / f".{self.folder.partition('/')[0]}.lock").unlink(missing_ok=True)
        places = [self.root / self.folder, *(self.root / self.folder).parents]
        for place in places[: places.index(self.root) + made]:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()

    def _require_whole(self) -> None:
        if (found := self.fault(self.root / self.folder)) is not None:
            path, reason = found
            again = "it is downloaded again" if self.download else "put a whole one there, or set data.download=true"
            raise ValueError(f"{path.absolute()} is broken ({reason}): delete it; {again}")

    def _missing(self, why: str) -> str:
        return (
            f"no data set at {(self.root / self.folder).absolute()}: {why}. Put it there, or point data.root (or the "
            f"environment variable KDBIAS_DATA) at a folder that holds {self.folder}, or take data=cues, "
            "which needs no download"
        )


def _why(error: Exception) -> str:
    """Say in one line why a download failed; torchvision says "corrupted" of one that is cut short too."""
    text = " ".join(str(error).split())
    if "corrupted" in text:
        return "what came is cut short, or not what was published: its MD5 sum differs"
    return text or type(error).__name__


def image_info(
    count: int,
    *,
    val: int,
    limit: int | None,
    channels: int,
    size: int,
    names: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    part: Sequence[float] | None = None,
) -> DataInfo:
    """Describe a set of ``count`` official training images after ``part``, the validation split and ``limit``."""
    begin, end = bounds(count, part)
    train = len(split_train(end - begin, val, 0, limit)[0])
    return DataInfo(channels, size, len(names), names, train, mean, std)
