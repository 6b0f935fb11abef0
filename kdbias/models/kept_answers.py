"""A teacher's answers on disk, and the teacher that reads them.

A folder has a file ``draw-K.bin`` for each draw of the images: a record for each image, at its position in the split.
``draw-K.json`` says how many of its batches are safe on the disk, and is written after they are. So a draw is whole
when that file says so and the other has its size. A record has a checksum, which is compared when it is first read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from kdbias.batch import Batch
from kdbias.files import sync_folder, write_json
from kdbias.models.features import Features
from kdbias.models.kept_record import Record, damaged
from kdbias.models.teacher import Teacher


@dataclass
class KeptAnswers:
    """The answers to ``images`` images in a folder, of records that ``record`` describes, in ``batches`` a draw."""

    folder: Path
    record: Record
    images: int
    batches: int
    _maps: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _read: dict[int, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    @property
    def bytes_a_draw(self) -> int:
        """Size of the file of one draw."""
        return self.images * self.record.size

    def file(self, draw: int) -> Path:
        """Give the file of a draw."""
        return self.folder / f"draw-{draw:04d}.bin"

    def safe(self, draw: int) -> int:
        """Give the number of a draw's batches that are safe on the disk; a damaged note counts as none."""
        path, note = self.file(draw), self.file(draw).with_suffix(".json")
        if not path.is_file() or path.stat().st_size != self.bytes_a_draw or not note.is_file():
            return 0
        try:
            found: Any = json.loads(note.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return 0
        done = found.get("batches") if isinstance(found, dict) else None
        return done if type(done) is int and 0 <= done <= self.batches else 0

    def missing(self, draws: int) -> list[int]:
        """Give the draws below ``draws`` that are not whole."""
        return [draw for draw in range(draws) if self.safe(draw) < self.batches]

    def open_to_write(self, draw: int) -> BinaryIO:
        """Open the file of a draw at its full size; what is safe in it stays.

        Raises:
            ValueError: a link lies in its place.
        """
        path = self.file(draw)
        for one in (self.folder, path, path.with_suffix(".json")):
            if one.is_symlink():
                raise ValueError(f"{one} is a link, and what it leads to would be written over: remove it")
        if not self.safe(draw):
            path.with_suffix(".json").unlink(missing_ok=True)
            sync_folder(self.folder)  # before there is a file of the right size
            path.unlink(missing_ok=True)
        opened = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        file = os.fdopen(opened, "r+b", buffering=0)
        file.truncate(self.bytes_a_draw)
        return file

    def write(self, file: BinaryIO, index: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
        """Write the records of images at their positions ``index``.

        Raises:
            OSError: the disk is full.
        """
        for position, row in zip(index.tolist(), rows, strict=True):
            file.seek(position * self.record.size)
            left = memoryview(row)
            while len(left):
                left = left[file.write(left) :]

    def note(self, file: BinaryIO, draw: int, batches: int) -> None:
        """Make what was written safe, then say so."""
        os.fsync(file.fileno())
        write_json(self.file(draw).with_suffix(".json"), {"batches": batches, "of": self.batches})

    def read(self, draw: int, index: NDArray[np.int64], device: torch.device) -> Features:
        """Give the answers to the images at positions ``index`` in one of their draws.

        Raises:
            ValueError: a record is not what was written there.
        """
        if draw not in self._maps:
            shape = (self.images, self.record.size)
            self._maps[draw] = np.memmap(self.file(draw), np.uint8, mode="r", shape=shape)
            self._read[draw] = np.zeros(self.images, dtype=np.bool_)
        rows = np.asarray(self._maps[draw][index])
        fresh = np.flatnonzero(~self._read[draw][index])
        for wrong in damaged(rows[fresh]):
            raise ValueError(
                f"teacher.cache: {self.file(draw)} is damaged at image {index[fresh[wrong]]}: remove that file, and "
                "the answers are made again"
            )
        self._read[draw][index] = True
        return self.record.unpack(rows, device)


class KeptTeacher(Teacher):
    """Answers the images of training with what was kept for them; any other image with its network."""

    def __init__(self, teacher: Teacher, kept: KeptAnswers, draws: int) -> None:
        super().__init__(teacher.extractor, teacher.name)
        self.kept, self.draws = kept, draws

    def answer(self, batch: Batch, step: int) -> Features:
        """Give the kept answers to the images' draw of this ``epoch``."""
        return self.kept.read(self.epoch % self.draws, batch.index.cpu().numpy(), batch.image.device)
