import json
import platform
import socket

import torch

from kdbias.runs.result import environment


def test_environment_is_plain_and_names_no_host():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["torch"].startswith(torch.__version__.split("+")[0])
    assert type(found["torch"]) is str
    assert found["python"] == platform.python_version()
    assert {"torchvision", "lightning", "timm", "kdbias", "git", "dirty", "cpu", "gpu"} <= found.keys()
    assert found["cpu"]
    assert socket.gethostname() not in [str(value) for value in found.values()]
