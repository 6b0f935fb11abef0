"""An exported folder is read as data: whole, of its own weights, and nothing in it runs."""

import json
import re
from pathlib import Path

import pytest
import torch
from config_base import composed
from safetensors.torch import load_file, save_file

import kdbias
from kdbias import zoo
from kdbias.analysis.export_formats import as_safetensors
from kdbias.checks.command import require_command
from kdbias.config.build import build
from kdbias.config.conf import expand_paths
from kdbias.config.spec import plain, spec
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.teacher import teacher_from_weights
from kdbias.zoo.exported import DESCRIPTION, LARGEST, SPEC, fingerprint

CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [2, 4]}


@pytest.fixture
def folder(tiny_info, tmp_path):
    torch.manual_seed(0)
    network = build(CNN, tiny_info, group="model").eval()
    described = {"name": "a", "epoch": 3, "global_step": 9, "teacher": "big", "images": "cifar10"}
    described["spec"] = {"name": "a", "model": CNN, "data": tiny_info.to_dict()}
    place = tmp_path / "sent"
    place.mkdir()
    as_safetensors(network, described, place, torch.rand(1, 3, 32, 32))
    return place


def change(folder: Path, **changes) -> None:
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_and_its_file_are_the_network(folder, tiny_info):
    image = torch.rand(2, 3, 32, 32)
    found = kdbias.load_student(folder)
    assert not found.training
    assert torch.equal(found(image).logits, kdbias.load_student(folder / "network.safetensors")(image).logits)
    assert Checkpoint(zoo.file_of(folder)).epoch == 3
    assert zoo.name_of(zoo.file_of(folder)) == "sent"
    for path in (folder, folder / "network.safetensors"):
        taught = teacher_from_weights(CNN, tiny_info, path, "a")
        torch.testing.assert_close(taught(image).logits, found(image).logits)  # a teacher is channels-last
    with pytest.raises(ValueError, match=r"teacher\.weights: .*holds a kdbias.*small_cnn, but the teacher is a .*vit"):
        teacher_from_weights({"_target_": "kdbias.models.deit.vit"}, tiny_info, folder, "a")


def test_a_run_with_such_a_folder_in_it_stays_a_run(folder):
    (folder / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=r"checkpoints/best\.ckpt"):
        kdbias.load_student(folder)


def test_a_teacher_is_named_by_the_folder_and_hashed_by_its_weights(folder):
    words = ["experiment=exp1_resnet_kl", "data=cues", "teacher=small_cnn"]
    cfg = composed([*words, f"teacher.weights={folder}"])
    expand_paths(cfg)
    assert cfg.teacher.weights == str(folder / "network.safetensors")
    assert spec(cfg)["teacher"]["weights"].startswith("sha256:")
    assert cfg.teacher == composed([*words, f"teacher.weights={folder}/network.safetensors"]).teacher


def test_a_command_takes_it_and_asks_for_its_images(folder, tmp_path):
    words = ["task=evaluate", f"runs=[{folder}]", f"paths.runs={tmp_path}", "trainer=cpu"]
    require_command(words, "analyze", ("evaluate",))
    from kdbias.analysis.networks import run_subject

    with pytest.raises(kdbias.ConfigError, match=r"^runs: .*sent does not say where its images lie.*add data=cifar10"):
        run_subject(plain(composed(words, "analyze")), "runs", folder, "cpu", {})
    tree = composed([*words, "data=cues"], "analyze")
    found = run_subject(plain(tree), "runs", folder, "cpu", {})
    assert (found.name, str(found.lack)) == ("sent", "its teacher big was not exported with it")


WRONG = {
    "without": (lambda f: (f / DESCRIPTION).unlink(), r"there is no network\.json beside it"),
    "cut": (lambda f: (f / DESCRIPTION).write_text('{"a":'), r"network\.json beside it cannot be read"),
    "deep": (lambda f: (f / DESCRIPTION).write_text("[" * 100_000), r"network\.json beside it cannot be read"),
    "not-utf-8": (lambda f: (f / DESCRIPTION).write_bytes(b"\xff\xfe"), r"network\.json beside it cannot be read"),
    "nan": (lambda f: (f / DESCRIPTION).write_text('{"a": NaN}'), r"NaN is no number of JSON"),
    "large": (lambda f: (f / DESCRIPTION).write_text(" " * (LARGEST + 1)), r"network\.json has over 4,194,304 bytes"),
    "a-list": (lambda f: (f / DESCRIPTION).write_text("[1]"), "holds no mapping"),
    "no-spec": (lambda f: change(f, spec=None), "has no spec with model and data"),
    "no-model": (lambda f: change(f, spec={"data": {}}), "has no spec with model and data"),
    "no-epoch": (lambda f: change(f, epoch=True), "has no whole epoch and global_step"),
    "teacher": (lambda f: change(f, teacher=["x"]), "has teacher of another type"),
    "data": (lambda f: change(f, data=3), "has data of another type"),
    "made": (lambda f: change(f, made=[1]), "has made of another type"),
    "licence": (lambda f: change(f, licence=1), "has licence of another type"),
    "accuracy": (lambda f: change(f, accuracy={"test": "x"}), "has an accuracy without the numbers test, low, high"),
    "no-sum": (lambda f: change(f, sha256=None), "has no sha256"),
    "sum": (lambda f: change(f, sha256="0" * 64), "is not the file that network.json beside it describes"),
    "other-spec": (
        lambda f: change(f, spec={**json.loads((f / DESCRIPTION).read_text())["spec"], "name": "b"}),
        "is not the one that these weights were exported with",
    ),
    "other-weights": (
        lambda f: save_file({"a": torch.zeros(3)}, f / "network.safetensors"),
        "is not the file that network.json beside it describes",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_malformed_folder_is_refused_in_one_line(folder, tiny_info, kind):
    spoil, reason = WRONG[kind]
    spoil(folder)
    with pytest.raises(kdbias.ConfigError, match=reason) as error:
        kdbias.load_student(folder)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(str(folder / "network.safetensors"))
    assert "copy the folder again, or export it anew" in said
    if kind == "without":  # bare weights, as of any other file of safetensors
        assert teacher_from_weights(CNN, tiny_info, folder / "network.safetensors", "a").info.classes == 10
    else:
        with pytest.raises(kdbias.ConfigError, match=rf"^teacher\.weights: .*{reason}"):
            teacher_from_weights(CNN, tiny_info, folder, "a")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"_target_": "os.system", "command": "touch ran"}, "_target_ must name a builder"),
        ({"_target_": "kdbias.data.cues.cues"}, "_target_ must name a builder"),
        ({**CNN, "layers": [{"_target_": "os.system"}]}, "builder|layers"),
        ({**CNN, "widths": [10**6, 10**6]}, "more than the file's tensors can be of"),
        ({**CNN, "blocks": 10**9}, "more than the file's tensors can be of"),
        ({**CNN, "widths": [2, 8]}, "the weights do not fit"),
    ],
)
def test_a_description_that_somebody_forged_whole_runs_nothing(folder, tmp_path, monkeypatch, model, reason):
    monkeypatch.chdir(tmp_path)
    path = folder / "network.safetensors"
    own = {**json.loads((folder / DESCRIPTION).read_text())["spec"], "model": model}
    save_file(load_file(path), path, {SPEC: fingerprint(own)})
    change(folder, spec=own, sha256=zoo.digest(path))
    with pytest.raises(kdbias.ConfigError, match=reason) as error:
        kdbias.load_student(folder)
    assert re.search("builds no network of this package", str(error.value))
    assert [one.name for one in tmp_path.iterdir()] == ["sent"]


def test_a_stranger_does_not_decide_on_downloads(folder):
    change(folder, data={"_target_": "kdbias.data.cifar.cifar10", "root": "/elsewhere", "download": True})
    assert zoo.entry(zoo.file_of(folder))["data"]["download"] is False
