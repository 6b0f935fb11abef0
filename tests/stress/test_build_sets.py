"""A set on disk: the same bytes for every number of workers and after a kill, one builder at a time, labels kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
from sets import NODES, made, small

import kdbias.stress
from kdbias.stress import chunks
from kdbias.stress.describe import made_by
from kdbias.stress.loading import SplitImages, load
from kdbias.stress.stress_set import generator

HERE = Path(__file__).parent
NODE = NODES["scramble"]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 16)
    monkeypatch.setattr("kdbias.stress.build.CHUNK", 16)


def only(root):
    (folder,) = root.iterdir()
    return folder


def content(root):
    folder = only(root)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("lock", "labels.npz")}


def test_image_i_is_image_i_of_the_split_changed_by_its_own_draws(tmp_path, short):
    source = small(40)
    found = kdbias.stress.load(NODE, source, root=tmp_path)
    images, labels = source.split("test")
    torch.testing.assert_close(found.target, labels)
    stress = made("scramble")
    for index in (0, 15, 16, 39):
        image = images[index].permute(1, 2, 0).contiguous().numpy()
        expected = stress(image, int(labels[index]), 1.0, generator(stress, 0, index))
        np.testing.assert_array_equal(found.image[index].permute(1, 2, 0).numpy(), expected)
    torch.testing.assert_close(load(NODE, source, root=tmp_path / "0", strength=0.0).image, images)


@pytest.mark.parametrize("node", [NODE, NODES["smooth_grey"]], ids=["scramble", "chain"])
def test_two_workers_give_the_bytes_of_one(tmp_path, short, node):
    one = load(node, small(60), root=tmp_path / "1", workers=1)
    two = load(node, small(60), root=tmp_path / "2", workers=2)
    torch.testing.assert_close(one.image, two.image)
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_it_is_built_once_and_anew_for_other_parameters_images_seeds_strengths_or_code(tmp_path, short, monkeypatch):
    source, calls = small(20), []
    load(NODE, source, root=tmp_path, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(16, 20), (20, 20)]
    load(NODE, source, root=tmp_path, progress=lambda done, of: pytest.fail("built again"))
    assert len(list(tmp_path.iterdir())) == 1
    load(NODE | {"grid": 2}, source, root=tmp_path)
    load(NODE, small(20, seed=1), root=tmp_path)
    load(NODE, source, root=tmp_path, seed=1)
    load(NODE, source, root=tmp_path, strength=0.5)
    load(NODE, source, root=tmp_path, limit=19)
    monkeypatch.setattr("kdbias.stress.build.made_by", lambda node: {"code": "other"})
    load(NODE, source, root=tmp_path)
    assert len(list(tmp_path.iterdir())) == 7


def test_the_code_of_a_set_is_all_that_its_module_imports_of_the_room(monkeypatch):
    """Also where it imports a module in place of a name, as corruptions do."""
    node = {"_target_": "kdbias.stress.corruption.Corruption", "kind": "gaussian_noise"}
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self.stem) or b"")
    made_by(node)
    kinds = {"corruption_blur", "corruption_digital", "corruption_frost", "corruption_noise", "corruption_weather"}
    assert {"corruption", "stress_set", "grey", *kinds} <= set(read)


def test_the_manifest_tells_how_it_was_made(tmp_path):
    load(NODES["scramble_grey"], small(5), root=tmp_path, strength=0.5, seed=3, name="pair")
    manifest = json.loads((only(tmp_path) / "manifest.json").read_text())
    assert only(tmp_path).name.startswith("pair-")
    assert manifest["set"]["parts"][0] == {"_target_": "kdbias.stress.scramble.Scramble", "grid": 4}
    assert manifest["set"]["parts"][1]["_target_"] == "kdbias.stress.grey.Grey"
    assert (manifest["strength"], manifest["seed"], manifest["images"]) == (0.5, 3, 5)
    assert len(manifest["source"]) == 32
    assert {"code", "numpy"} <= manifest["made by"].keys()


def test_changed_files_are_refused(tmp_path):
    load(NODE, small(5), root=tmp_path)
    path = only(tmp_path) / "images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="remove the folder"):
        load(NODE, small(5), root=tmp_path)


SLOW = """
import sys, time
sys.path.insert(0, {here!r})
import plain
from kdbias.stress import build, chunks
chunks.CHUNK = build.CHUNK = 16
def slow(done, of):
    print(done, flush=True)
    time.sleep(600 if done == {until} else {pause})
plain.store({root!r}, slow, {workers})
"""


def builder(root, until=None, pause=0, workers=1):
    """Start a builder of four chunks; it stops for long when it has ``until`` images."""
    code = SLOW.format(here=str(HERE), root=str(root), until=until, pause=pause, workers=workers)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_the_processes_of_a_killed_build_end_with_it(tmp_path):
    killed = builder(tmp_path, 32, workers=2)
    try:
        assert [killed.stdout.readline() for _ in range(2)] == ["16\n", "32\n"]  # the second by the pool
        found = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    processes = [Path("/proc", pid) for pid in found]
    assert len(processes) >= 2
    end = time.monotonic() + 10
    while any(map(running, processes)):
        assert time.monotonic() < end
        time.sleep(0.05)


SCRIPT = """
import sys
print("begun", flush=True)
sys.path.insert(0, {here!r})
import plain
from pathlib import Path
from kdbias.stress import build, chunks
from kdbias.stress.chain import Chain
from kdbias.stress.scramble import Scramble
class Own(Scramble):
    pass
chunks.CHUNK = build.CHUNK = 16
build.stored({stress}, plain.Plain(), "s", Path({root!r}), name="plain", workers=2)
"""


@pytest.mark.parametrize("stress", ["Scramble(4)", "Own(4)", "Chain([Scramble(4), Own(4)])"])
def test_a_script_without_a_guard_runs_once(tmp_path, stress):
    """Also one that defines the set itself, which no other process has."""
    code = SCRIPT.format(here=str(HERE), root=str(tmp_path / "sets"), stress=stress)
    (tmp_path / "script.py").write_text(code)
    ran = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=600)
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["begun"]), ran.stderr


def test_a_set_is_made_where_the_system_does_not_tell_its_cores(tmp_path, short, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert len(plain.store(tmp_path, workers=None).target) == 64


def running(process):
    """Whether a process is there and has not ended: one that nobody waits for stays as a zombie."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_build_goes_on_from_its_last_chunk_to_the_same_bytes(tmp_path, short):
    killed = builder(tmp_path / "killed", 16)
    try:
        assert killed.stdout.readline() == "16\n"
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    parts = only(tmp_path / "killed") / "parts"
    assert [path.name for path in parts.glob("*.npz")] == ["0.npz"]
    calls = []
    plain.store(tmp_path / "killed", lambda done, of: calls.append(done))
    assert calls == [32, 48, 64]
    plain.store(tmp_path / "whole")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert not parts.exists()


def test_a_second_builder_waits_and_reads_what_the_first_made(tmp_path, short):
    first = builder(tmp_path, pause=0.3)
    try:
        assert first.stdout.readline() == "16\n"
        began = time.monotonic()
        found = plain.store(tmp_path, lambda done, of: pytest.fail("built twice"))
        assert time.monotonic() - began > 0.3
        assert len(found.target) == 64
    finally:
        first.wait()
    assert first.returncode == 0


def test_undecoded_images_are_read_in_parts(tmp_path, short):
    images, labels = small(20).split("test")
    read = []

    class One:
        def __getitem__(self, place):
            read.append(place)
            return images[place]

        def __len__(self):
            return 20

    class Lazy:
        info = small(20).info

        def images(self, name):
            return One(), labels

        def split(self, name):
            raise AssertionError("read whole")

        def prepare(self):
            pass

        def fingerprint(self, name):
            return "f"

    part = SplitImages(Lazy(), "test")
    assert read == []
    assert part.part(3, 5)[0].shape == (2, 32, 32, 3)
    assert read == [3, 4]
    found = load(NODES["grey"], Lazy(), root=tmp_path)
    torch.testing.assert_close(found.image, load(NODES["grey"], small(20), root=tmp_path / "2").image)


def test_no_images_and_refused_images_are_named(tmp_path):
    with pytest.raises(ValueError, match="images"):
        load(NODE, small(5), root=tmp_path, limit=0)
    with pytest.raises(ValueError, match=r"stress\.scramble\.grid"):
        load(NODE | {"grid": 5}, small(5), root=tmp_path)
    assert list(tmp_path.iterdir()) == []
