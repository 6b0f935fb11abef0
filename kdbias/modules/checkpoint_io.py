"""How Lightning's checkpoints are written to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from kdbias.files import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint next to the old one, which stays until the new one is complete.

    Lightning's own writer fills a temporary folder, which may lie on another disk, and copies from there over the old
    file. A full disk or a kill at that moment destroys both. This writer also needs no second copy in memory.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``, which no other process writes.

        Raises:
            TypeError: ``storage_options`` are given: local files have none.
            OSError: the file cannot be written; the old file is unchanged.
        """
        if storage_options is not None:
            raise TypeError("storage_options: checkpoints are files of this machine, and have none")
        try:
            with replacing(path, only_writer=True) as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch closes its archive in the broken file and reports only that
            cause = error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(path)) from error
            raise
