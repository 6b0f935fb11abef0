"""A checkpoint that is written over an older one: whatever happens, one of the two is there."""

import errno
import os
import shutil
import signal
import sys
import textwrap
from pathlib import Path

import lightning as L
import preloaded
import pytest
import torch
from full_disk import disk_of
from torch import nn

from kdbias.modules.trainer import trainer


class Large(L.LightningModule):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((300_000,), value))


def fitted(folder: Path, value: float, **settings) -> L.Trainer:
    """A trainer as a run has it, with something to save."""
    made = trainer(run=str(folder), epochs=1, callbacks=[], loggers=[], accelerator="cpu", **settings)
    made.strategy.connect(Large(value))
    return made


def value(path: Path) -> float:
    return float(torch.load(path, weights_only=True)["state_dict"]["weight"].unique())


@pytest.mark.parametrize("synced", [False, True])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, synced):
    path = tmp_path / "checkpoints" / "last.ckpt"
    fitted(tmp_path, 1.0).save_checkpoint(path)
    with disk_of(500_000), pytest.raises(OSError, match=r"File too large.*last\.ckpt"):
        fitted(tmp_path, 2.0, sync_batchnorm=synced).save_checkpoint(path)
    assert value(path) == 1.0
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]


def test_a_temporary_folder_on_another_disk_plays_no_part(tmp_path, monkeypatch):
    """Lightning's own writer fills a file there, and copies it over the old one: a full disk then leaves neither."""
    path = tmp_path / "last.ckpt"
    fitted(tmp_path, 1.0).save_checkpoint(path)
    rename = os.rename

    def within_a_disk(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", within_a_disk)
    monkeypatch.setattr(shutil, "_USE_CP_SENDFILE", False)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    fitted(tmp_path, 2.0).save_checkpoint(path)
    assert value(path) == 2.0


def test_a_kill_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    fitted(tmp_path, 1.0).save_checkpoint(path)
    program = """
        import io, os, signal, sys
        from pathlib import Path
        import torch
        from test_checkpoint_io import fitted

        def half(content, file, save=torch.save):
            save(content, whole := io.BytesIO())
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = half
        path = Path(sys.argv[1])
        fitted(path.parent, 2.0).save_checkpoint(path)
    """
    child = preloaded.run([sys.executable, "-c", textwrap.dedent(program), str(path)])
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert value(path) == 1.0
    assert len(list(tmp_path.glob(".last.ckpt.*.part"))) == 1
    fitted(tmp_path, 3.0).save_checkpoint(path)
    assert value(path) == 3.0
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]


def test_storage_options_are_for_other_places(tmp_path):
    with pytest.raises(TypeError, match="storage_options"):
        fitted(tmp_path, 1.0).save_checkpoint(tmp_path / "last.ckpt", storage_options={})
