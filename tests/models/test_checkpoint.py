import subprocess
import sys

import pytest
import torch

import kdbias
from kdbias.models.checkpoint import architecture, read_spec
from kdbias.models.deit import vit

SPEC = {"_target_": "kdbias.models.deit.vit", "width": 24, "depth": 2, "heads": 3, "distilled": True}


@pytest.fixture
def checkpoint(tiny_info, tmp_path):
    student = vit(tiny_info, **{k: v for k, v in SPEC.items() if k != "_target_"}).eval()
    content = {
        "hyper_parameters": {"spec": {"model": SPEC, "data": tiny_info.to_dict(), "seed": 3}},
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
