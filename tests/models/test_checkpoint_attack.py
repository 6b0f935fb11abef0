"""A checkpoint that somebody sent: its description builds networks of this package and runs nothing."""

from pathlib import Path

import pytest
import torch

from kdbias.batch import DataInfo
from kdbias.models.checkpoint import load_student, read_spec

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3)
NAMES = [
    "kdbias.runs.process.run",
    "kdbias.runs.process.child",
    "kdbias.config.build.import_module",
    "kdbias.models.weights.load_file",
    "kdbias.models.checkpoint.Path",
    "kdbias.models.teacher.teacher_from_weights",
    "kdbias.data.image_folder.image_folder",
    "kdbias.callbacks.history.History",
    "kdbias.modules.loggers.csv",
    "os.system",
    "subprocess.check_call",
]


def sent(folder: Path, model: dict) -> Path:
    path = folder / "sent.ckpt"
    torch.save({"hyper_parameters": {"spec": {"model": model, "data": INFO.to_dict()}}, "state_dict": {}}, path)
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_description_runs_nothing(tmp_path, monkeypatch, name, nested):
    monkeypatch.chdir(tmp_path)
    node = {"_target_": name, "command": ["touch", "ran"], "log": None, "args": ["touch", "ran"]}
    path = sent(tmp_path, {"_target_": "kdbias.models.deit.deit_tiny", "layers": [node]} if nested else node)
    with pytest.raises(ValueError, match=r"builds no network of this package: (_target_ must name|layers)") as error:
        load_student(path)
    assert str(path) in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["sent.ckpt"]
    assert read_spec(path)["data"] == INFO.to_dict()
