"""How Lightning's checkpoints come to the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from kdbias.files import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, which stays until the new one is whole.

    Lightning's own writer fills a temporary folder, which may lie on another disk, and copies from there over the old
    file: a full disk or a kill at that moment leaves neither. This one also needs no second copy in memory.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``, which no other process writes.

        Raises:
            TypeError: there are ``storage_options``: files on this machine have none.
            OSError: it cannot be written; the old file is as it was.
        """
        if storage_options is not None:
            raise TypeError("storage_options: checkpoints are files of this machine, and have none")
        try:
            with replacing(path, only_writer=True) as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # torch ends its archive in the broken file, and speaks of that alone
            cause = error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(path)) from error
            raise
