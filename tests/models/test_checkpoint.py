import hashlib
import os
import subprocess
import sys

import pytest
import torch

import kdbias
from kdbias.config.build import build
from kdbias.models.checkpoint import Checkpoint, architecture, load_student, read_spec
from kdbias.models.deit import vit
from kdbias.models.description import _described, described
from kdbias.models.weights import read_weights

SPEC = {"_target_": "kdbias.models.deit.vit", "width": 24, "depth": 2, "heads": 3, "distilled": True}


@pytest.fixture
def checkpoint(tiny_info, tmp_path):
    student = vit(tiny_info, **{k: v for k, v in SPEC.items() if k != "_target_"}).eval()
    content = {
        "hyper_parameters": {"spec": {"model": SPEC, "data": tiny_info.to_dict(), "seed": 3}},
        "epoch": 4,
        "global_step": 50,
        "state_dict": {f"student.{k}": v for k, v in student.state_dict().items()},
    }
    torch.save(content, tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt", student


def test_student_comes_back(checkpoint):
    path, student = checkpoint
    image = torch.rand(2, 3, 32, 32)
    loaded = kdbias.load_student(path)
    assert not loaded.training
    assert isinstance(loaded(image), kdbias.Features)
    assert torch.equal(loaded(image).logits, student(image).logits)
    assert all(p.requires_grad for p in loaded.parameters())
    assert not any(p.requires_grad for p in kdbias.load_teacher(str(path)).parameters())
    assert read_spec(path)["seed"] == 3


def test_not_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        kdbias.load_student(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of kdbias"):
        kdbias.load_student(tmp_path / "other.ckpt")


def test_starting_weights_are_not_read_again():
    model = {"_target_": "x", "name": "resnet18", "pretrained": True, "weights": "gone.safetensors"}
    assert architecture(model) == {"_target_": "x", "name": "resnet18", "pretrained": False, "weights": None}
    assert architecture(SPEC) == SPEC


def test_importing_the_package_loads_no_torch():
    code = "import sys, kdbias; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        kdbias.nothing  # noqa: B018


@pytest.mark.parametrize("content", [b"", b"teacher-1", b"PK\x03\x04cut short"])
def test_a_broken_checkpoint_is_named(content, tmp_path):
    (tmp_path / "best.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"best\.ckpt cannot be read as a checkpoint"):
        read_spec(tmp_path / "best.ckpt")


def test_a_checkpoint_is_opened_once_for_all_that_is_asked_of_it(checkpoint, monkeypatch):
    path, student = checkpoint
    opened, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **settings: opened.append(settings) or load(*args, **settings))
    found = Checkpoint(path)
    assert opened == []
    assert (found.epoch, found.global_step, found.spec["seed"]) == (4, 50, 3)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    own = student.network.state_dict()
    assert found.weights.keys() == own.keys()
    assert all(torch.equal(found.weights[name], value) for name, value in own.items())
    first, second = found.student(), found.student()
    assert len(opened) == 1
    assert opened[0]["mmap"]
    assert opened[0]["weights_only"]
    assert first is not second
    with torch.no_grad():
        next(first.parameters()).zero_()  # a network has weights of its own: the file stays, and the next one is whole
    assert torch.equal(next(found.student().parameters()), next(student.parameters()))
    assert torch.equal(next(kdbias.load_student(path).parameters()), next(student.parameters()))


def test_a_checkpoint_that_is_replaced_stays_the_one_that_was_opened(checkpoint, tmp_path):
    """A run that still trains writes its best again: weights of one file must not go by the digest of another."""
    path, student = checkpoint
    found = Checkpoint(path)
    assert found.epoch == 4
    other = {**found.content, "state_dict": {k: v + 1 for k, v in found.content["state_dict"].items()}}
    torch.save(other, tmp_path / "other")
    os.replace(tmp_path / "other", path)
    assert torch.equal(found.student().network.cls_token, student.network.cls_token)
    with pytest.raises(ValueError, match=r"best\.ckpt was replaced while it was read"):
        _ = found.digest


def test_bare_weights_of_any_format_are_read(tiny_info, tmp_path):
    """Published weights may be of the time before torch wrote archives, which cannot be mapped."""
    weights = {"weight": torch.arange(6.0)}
    for name, archive in (("old.pth", False), ("new.pth", True)):
        torch.save(weights, tmp_path / name, _use_new_zipfile_serialization=archive)
        assert torch.equal(read_weights(tmp_path / name, "model.weights")["weight"], weights["weight"])


def test_a_run_folder_stands_for_its_best_checkpoint(checkpoint, tmp_path):
    path, student = checkpoint
    place = tmp_path / "run" / "checkpoints"
    place.mkdir(parents=True)
    os.replace(path, place / "best.ckpt")
    image = torch.rand(1, 3, 32, 32)
    for load in (kdbias.load_student, kdbias.load_teacher):
        assert torch.equal(load(tmp_path / "run")(image).logits, student(image).logits)
    assert read_spec(str(tmp_path / "run"))["seed"] == 3
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*none.checkpoints.best\.ckpt"):
        kdbias.load_student(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path} holds 1 runs, name one, such as {tmp_path / 'run'}$"):
        kdbias.load_student(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"demo-studen: did you mean demo-student\?$"):
        kdbias.load_student("demo-studen")
    (tmp_path / "none" / "model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"none is an export for timm or onnxruntime, and its README\.md says"):
        kdbias.load_student(tmp_path / "none")


def test_a_flipped_byte_in_a_checkpoint_is_refused(checkpoint):
    path, student = checkpoint
    content = bytearray(path.read_bytes())
    weights = student.network.blocks[0].attn.qkv.weight.detach().numpy().tobytes()
    content[content.index(weights) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"best\.ckpt cannot be read as a checkpoint: .*CRC"):
        kdbias.load_student(path)


def test_a_training_that_failed_loads_where_that_is_said(checkpoint):
    path, _ = checkpoint
    content = torch.load(path)
    content["state_dict"]["student.network.norm.bias"].fill_(torch.nan)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"best\.ckpt: .*NaN or infinity in 1 of .*norm.bias \(24 values\)"):
        kdbias.load_student(path)
    assert bool(torch.isnan(Checkpoint(path).student(any_values=True).network.norm.bias).all())


def test_a_network_is_described_once_and_loaded_with_weights_of_its_own(tmp_path, tiny_info):
    spec = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 12]}
    for name in "ab":
        state = {f"student.{key}": value for key, value in build(spec, tiny_info).state_dict().items()}
        content = {"hyper_parameters": {"spec": {"model": spec, "data": tiny_info.to_dict()}}, "state_dict": state}
        torch.save(content, tmp_path / f"{name}.ckpt")
    first = load_student(tmp_path / "a.ckpt")
    known = _described.cache_info().misses
    second, again = load_student(tmp_path / "b.ckpt"), load_student(tmp_path / "a.ckpt")
    assert _described.cache_info().misses == known
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(first(image).logits, again(image).logits)
    assert not torch.equal(first(image).logits, second(image).logits)


@pytest.mark.parametrize("architecture", ["deit_tiny_patch16_224", "resnet18", "convnext_atto"])
def test_a_description_has_the_shapes_of_the_network(architecture, tiny_info):
    spec = {"_target_": "kdbias.models.timm_network.timm_network", "name": architecture, "pretrained": False}
    shapes = {key: value.shape for key, value in described(spec, tiny_info).state_dict().items()}
    assert shapes == {key: value.shape for key, value in build(spec, tiny_info).state_dict().items()}
    assert all(parameter.is_meta for parameter in described(spec, tiny_info).parameters())
