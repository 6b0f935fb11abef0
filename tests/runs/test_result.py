import json
import math
import os
import platform
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from kdbias.runs.result import environment, write_result


def test_writes_json_and_makes_the_folder(tmp_path):
    path = tmp_path / "run" / "result.json"
    write_result(path, {"objective": 0.5, "layers": (1, 2), "test": {"nan": math.nan, "inf": [math.inf]}})
    assert json.loads(path.read_text()) == {"objective": 0.5, "layers": [1, 2], "test": {"nan": None, "inf": [None]}}
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_the_old_result(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_result(path, {"a": 1})
    with pytest.raises(TypeError):
        write_result(path, {"a": object()})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_result(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "result.json"
    write_result(path, {"x": ["0"] * 5000})

    def read(_):
        return len(set(json.loads(path.read_text())["x"]))

    with ThreadPoolExecutor(2) as pool:
        seen = pool.map(read, range(200))
        for i in range(40):
            write_result(path, {"x": [str(i)] * 5000})
        assert set(seen) == {1}


def test_environment_is_plain_and_names_no_host():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["torch"].startswith(torch.__version__.split("+")[0])
    assert type(found["torch"]) is str
    assert found["python"] == platform.python_version()
    assert {"torchvision", "lightning", "timm", "kdbias", "git", "dirty", "cpu", "gpu"} <= found.keys()
    assert found["cpu"]
    assert socket.gethostname() not in [str(value) for value in found.values()]
