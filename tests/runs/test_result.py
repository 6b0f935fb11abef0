import json
import platform
import socket
import subprocess

import torch

from kdbias.runs.result import _git, environment


def test_environment_is_plain_and_names_no_host():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["torch"].startswith(torch.__version__.split("+")[0])
    assert type(found["torch"]) is str
    assert found["python"] == platform.python_version()
    assert {"torchvision", "lightning", "timm", "kdbias", "git", "dirty", "cpu", "gpu"} <= found.keys()
    assert found["cpu"]
    assert socket.gethostname() not in [str(value) for value in found.values()]


def test_a_new_file_of_the_package_is_a_change_of_the_checkout(tmp_path):
    """As a loss of one's own is, before it is committed; what lies elsewhere, such as runs, is none."""

    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    def dirty():
        return _git.__wrapped__(tmp_path)[1]

    (tmp_path / "train.py").touch()
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "result.json").touch()
    assert dirty() is False
    for place in ("kdbias/losses/mine.py", "conf/loss/mine.yaml"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
        assert dirty() is True
        (tmp_path / place).unlink()
    (tmp_path / "train.py").write_text("changed")
    assert dirty() is True
