"""A file that is written anew: whole, or as it was."""

import json
import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from full_disk import disk_of
from matplotlib.figure import Figure

from kdbias import files
from kdbias.files import lock, replacing, sweep_up, write_bytes, write_json, write_text
from kdbias.modules.loggers import keep_until
from kdbias.probes.base import Result
from kdbias.report.style import save


def test_json_is_written_with_its_folder(tmp_path):
    path = tmp_path / "run" / "result.json"
    write_json(path, {"objective": 0.5, "layers": (1, 2), "test": {"nan": math.nan, "inf": [math.inf]}})
    assert json.loads(path.read_text()) == {"objective": 0.5, "layers": [1, 2], "test": {"nan": None, "inf": [None]}}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def rows(folder, count):
    text = "\n".join(["step,lr", *(f"{step},0.1" for step in range(count))]) + "\n"
    (folder / "file.csv").write_text(text)
    return text


WRITERS = {
    "file.json": lambda folder, size: write_json(folder / "file.json", {"x": "0" * size}),
    "file.yaml": lambda folder, size: write_text(folder / "file.yaml", "x" * size),
    "file.npz": lambda folder, size: Result("file", {}, {"x": np.random.default_rng(0).random(size // 8)}).save(folder),
    "file.csv": lambda folder, size: keep_until(folder / "file.csv", size // 4),
    "file.png": lambda folder, size: save(Figure(figsize=(1 + size / 50_000, 2)), folder / "file.png"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_no_other(name, tmp_path):
    rows(tmp_path, 40_000)
    WRITERS[name](tmp_path, 20)
    if name == "file.csv":
        rows(tmp_path, 40_000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert name in before
    with disk_of(200), pytest.raises(OSError, match=rf"File too large.*{name}"):
        WRITERS[name](tmp_path, 100_000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    WRITERS[name](tmp_path, 100_000)
    assert (tmp_path / name).read_bytes() != before[name]


def test_a_kill_leaves_the_old_file_and_the_next_write_of_its_only_writer_clears_up(tmp_path):
    path, other = tmp_path / "last.ckpt", tmp_path / ".best.ckpt.0.part"
    write_bytes(path, b"old")
    other.touch()
    code = (
        "import os, signal, sys; from kdbias.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n"
        "    file.write(b'ne'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3
    with replacing(path, only_writer=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert {one.name for one in tmp_path.iterdir()} == {path.name, other.name}


def test_half_written_files_of_dead_writers_are_swept_up_and_no_others(tmp_path):
    """Of any file, as that of a figure or a Result, which nobody else clears up."""
    code = (
        "import os, signal, sys; from kdbias.files import replacing\n"
        "with replacing(sys.argv[1]) as file:\n"
        "    file.write(b'ne'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for name in ("probes/cka.npz", "result.json"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False)
    old, young, linked = (tmp_path / f".{name}.0123456789ab.part" for name in ("old", "young", "linked"))
    outside = tmp_path.parent / f".{tmp_path.name}.x.part"
    for path in (old, young, outside):
        path.touch()
    for path in (old, outside):
        os.utime(path, (0, 0))
    linked.symlink_to(outside)
    with replacing(tmp_path / "mine") as file:
        removed = {path.name.rsplit(".", 2)[0] for path in sweep_up(tmp_path)}
        file.write(b"whole")
    assert removed == {".cka.npz", ".result.json", ".old"}
    assert (tmp_path / "mine").read_bytes() == b"whole"
    assert young.exists()
    assert outside.exists()
    assert sweep_up(tmp_path / "not there") == []


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / ".lock").symlink_to("file")
    with pytest.raises(FileExistsError, match="must not be a link"):
        lock(tmp_path / ".lock")
    with lock(tmp_path / ".other"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_the_content_is_on_the_disk_before_its_name_is_and_the_name_after(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(files.os, "replace", lambda *names: done.append("name") or replace(*names))
    write_text(tmp_path / "a", "a")
    assert done == ["file", "name", "folder"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"x": ["0"] * 5000})

    def read(_):
        return len(set(json.loads(path.read_text())["x"]))

    with ThreadPoolExecutor(2) as pool:
        seen = pool.map(read, range(200))
        for i in range(40):
            write_json(path, {"x": [str(i)] * 5000})
        assert set(seen) == {1}


def test_a_new_file_is_as_readable_as_the_user_wants(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "ä\r\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").read_bytes() == "ä\r\n".encode()


def test_a_path_in_this_folder_is_typed_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.typed(tmp_path / "runs" / "a") == os.path.join("runs", "a")
    assert files.typed("runs/a") == "runs/a"
    assert files.typed(tmp_path.parent) == str(tmp_path.parent)
