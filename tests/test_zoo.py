"""The networks that come with the package: small, whole, and as accurate as they say."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from config_base import composed
from PIL import Image

import kdbias
from kdbias import zoo
from kdbias.analysis import tasks
from kdbias.checks.command import require_command
from kdbias.config.spec import spec_hash
from kdbias.models.checkpoint import Checkpoint

NAMES = ("demo-control", "demo-student", "demo-teacher")
LARGEST = 2**20


def test_they_are_small_and_say_how_they_were_made():
    assert zoo.names() == NAMES
    assert sum(path.stat().st_size for path in zoo.HOME.iterdir() if path.is_file()) < LARGEST
    for name in NAMES:
        found = zoo.entry(zoo.file_of(name))
        assert found["made"]["command"] == "python analyze.py task=demo"
        assert len(found["made"]["revision"]) == 40
        assert spec_hash(composed(found["made"]["words"])) == found["spec"]["hash"]
        network = kdbias.load_student(name)
        assert sum(p.numel() for p in network.parameters()) == found["parameters"]
        assert next(network.parameters()).dtype == torch.float32
        assert not network.training


@pytest.mark.parametrize("name", NAMES)
def test_the_accuracy_is_what_the_description_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = zoo.entry(zoo.file_of(name))["accuracy"]
    found = kdbias.probe(name, trainer="cpu", count=800)["accuracy"]  # of 4,000, to be quick
    assert kdbias.stats.accuracy(found.arrays["right"]).holds(said["test"])
    assert said["low"] < said["test"] < said["high"]


def test_commands_take_their_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 32)).save("grey.png")
    words = ["task=predict", "runs=[demo-student,demo-teacher]", "image=grey.png", "out=out", "trainer=cpu"]
    require_command(words, "analyze", tasks.TASKS)
    tasks.run(composed(words, "analyze"))
    assert len(list(Path("out").glob("demo-*/predict-grey.png"))) == 2
    capsys.readouterr()
    words = ["task=evaluate", "runs=[demo-student,demo-control]", "images=200", "out=out", "trainer=cpu", "cache=false"]
    require_command(words, "analyze", tasks.TASKS)
    tasks.run(composed(words, "analyze"))
    assert "demo-control" in capsys.readouterr().out


def test_a_path_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo-student").mkdir()
    with pytest.raises(FileNotFoundError, match=r"demo-student/checkpoints/best\.ckpt"):
        kdbias.load_student("demo-student")


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    for path in zoo.HOME.glob("demo-teacher.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(zoo, "HOME", tmp_path.resolve())
    assert kdbias.load_student("demo-teacher").info.classes == 10
    path = tmp_path / "demo-teacher.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(kdbias.ConfigError, match="not the file of the package, by its SHA-256"):
        kdbias.load_student("demo-teacher")
    (tmp_path / "demo-teacher.json").write_text("{")
    with pytest.raises(kdbias.ConfigError, match="its description cannot be read"):
        kdbias.load_student("demo-teacher")


def test_they_are_made_again_from_run_folders(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "zoo", raising=False)
    import zoo as script

    settings = {"trainer": "cpu", "callback": ["checkpoint"], "logger": [], "batch_size": 20, "epochs": 1}
    data = {"cues": {"train": 100, "val": 20, "test": 40}}
    run = kdbias.distil(data, {"vit": {"width": 16, "depth": 1, "heads": 2}}, folder=tmp_path / "run", **settings)
    monkeypatch.setattr(script.zoo, "HOME", tmp_path.resolve())
    found = script.made("demo-student", run.folder)
    assert json.loads((tmp_path / "demo-student.json").read_text()) == found
    assert "batch_size=20" in found["made"]["words"]
    half = Checkpoint(tmp_path / "demo-student.safetensors")
    assert half.epoch == Checkpoint(run.folder / "checkpoints" / "best.ckpt").epoch
    image = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(half.student()(image).logits, run.load()(image).logits, rtol=1e-2, atol=1e-2)
