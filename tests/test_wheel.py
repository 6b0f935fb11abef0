"""The package as installed from its wheel, in an empty folder: the console commands find their conf."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("kdbias-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_the_configs_and_the_commands(installed):
    assert (installed / "kdbias" / "conf" / "experiment" / "exp1_resnet_kl.yaml").is_file()
    assert (installed / "kdbias" / "py.typed").is_file()
    zoo = installed / "kdbias" / "zoo"
    assert {path.suffix for path in zoo.glob("demo-student*")} == {".json", ".safetensors"}
    (entry,) = installed.glob("kdbias-*.dist-info/entry_points.txt")
    text = entry.read_text()
    assert "kdbias-train = kdbias.start:train" in text
    assert "kdbias-analyze = kdbias.start:analyze" in text


COMMANDS = [("train", "experiment=exp1_resnet_kl"), ("analyze", "teacher=resnet20")]


@pytest.mark.parametrize(("command", "choice"), COMMANDS)
def test_commands_find_their_conf_in_an_empty_folder(installed, tmp_path, command, choice):
    code = f"import kdbias; print(kdbias.__file__); from kdbias.cli import {command}; {command}()"
    ran = subprocess.run(
        [sys.executable, "-c", code, choice, "--cfg", "job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "KDBIAS_ALLOCATOR": "0"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert str(installed / "kdbias") in ran.stdout.splitlines()[0]
    assert "name: resnet" in ran.stdout
