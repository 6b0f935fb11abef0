from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdbias.batch import DataInfo
from kdbias.models.resnet_cifar import resnet20, small_cnn
from kdbias.models.teacher import Teacher, teacher_from_weights
from kdbias.models.timm_network import timm_network

SMALL = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 8], "layers": [0, 2]}


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher(tiny_info):
    return Teacher(small_cnn(tiny_info, widths=(4, 8, 8)), "small")


def write_checkpoint(extractor, info, path, spec=SMALL):
    content = {
        "hyper_parameters": {"spec": {"model": spec, "data": info.to_dict()}},
        "state_dict": {f"student.{k}": v for k, v in extractor.state_dict().items()} | {"total.x": torch.zeros(1)},
    }
    torch.save(content, path)
    return path


def test_frozen_and_in_eval_mode(teacher, image):
    teacher.extractor.train()
    before = deepcopy(teacher.extractor.state_dict())
    features = teacher(image)
    assert not teacher.extractor.training
    assert not features.logits.requires_grad
    assert not any(p.requires_grad for p in teacher.extractor.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.extractor.state_dict().items())


def test_its_targets_can_be_saved_for_backward(teacher, image):
    student = torch.randn(2, 10, requires_grad=True)
    (student * teacher(image).logits).sum().backward()
    assert student.grad is not None


def test_outside_the_module_tree(teacher):
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.teacher = teacher

    owner = Owner()
    assert not list(owner.parameters())
    assert not list(owner.children())
    assert not owner.state_dict()
    assert deepcopy(owner).teacher is teacher


def test_weights_from_safetensors(tiny_info, image, tmp_path):
    trained = resnet20(tiny_info).eval()
    state = {k: v for k, v in trained.network.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "weights.safetensors")
    spec = {"_target_": "kdbias.models.resnet_cifar.resnet20", "layers": [1]}
    trained.to(memory_format=torch.channels_last)
    teacher = teacher_from_weights(spec, tiny_info, tmp_path / "weights.safetensors", "resnet20")
    assert torch.equal(teacher(image).logits, trained(image).logits)
    assert [layer.name for layer in teacher.info.layers] == ["layer2"]


def test_weights_from_a_checkpoint(tiny_info, image, tmp_path):
    trained = small_cnn(tiny_info, widths=(4, 8, 8)).eval()
    path = write_checkpoint(trained, tiny_info, tmp_path / "best.ckpt")
    teacher = teacher_from_weights({**SMALL, "layers": [1]}, tiny_info, path, "small")
    assert torch.equal(teacher(image).logits, trained(image).logits)
    assert [layer.name for layer in teacher.info.layers] == ["layer2"]


def test_missing_file(tiny_info, tmp_path):
    for name in ("none.safetensors", "none.ckpt"):
        with pytest.raises(FileNotFoundError, match=r"teacher.weights: there is no file"):
            teacher_from_weights(SMALL, tiny_info, tmp_path / name, "small")


def test_wrong_network(tiny_info, tmp_path):
    save_file(dict(resnet20(tiny_info).network.state_dict()), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"teacher.weights: .*CifarResNet.*of another shape"):
        teacher_from_weights(SMALL, tiny_info, tmp_path / "weights.safetensors", "small")
    path = write_checkpoint(small_cnn(tiny_info, widths=(4, 8, 8)), tiny_info, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"teacher.weights: .* holds a .*small_cnn"):
        teacher_from_weights({"_target_": "kdbias.models.resnet_cifar.resnet20"}, tiny_info, path, "resnet20")


def test_wrong_classes(tiny_info, tmp_path):
    other = DataInfo.from_dict({**tiny_info.to_dict(), "classes": 7, "names": list("abcdefg")})
    trained = small_cnn(other, widths=(4, 8, 8))
    save_file(dict(trained.network.state_dict()), tmp_path / "weights.safetensors")
    path = write_checkpoint(trained, other, tmp_path / "best.ckpt")
    for weights in (tmp_path / "weights.safetensors", path):
        with pytest.raises(ValueError, match=r"teacher.weights: .*7 classes, the data has 10"):
            teacher_from_weights(SMALL, tiny_info, weights, "small")


def test_file_without_tensors(tiny_info, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"teacher.weights: .* holds no state dict"):
        teacher_from_weights(SMALL, tiny_info, tmp_path / "weights.pth", "small")


def test_features_alone_from_weights_with_a_classifier(tiny_info, tmp_path):
    spec = {"_target_": "kdbias.models.timm_network.timm_network", "name": "convnextv2_atto", "classes": None}
    trained = timm_network(tiny_info, name="convnextv2_atto")
    save_file(dict(trained.network.state_dict()), tmp_path / "weights.safetensors")
    teacher = teacher_from_weights(spec, tiny_info, tmp_path / "weights.safetensors", "features")
    image = torch.rand(2, 3, 32, 32)
    assert teacher(image).logits is None
    assert torch.equal(teacher(image).pooled, trained.eval()(image).pooled)


def test_bare_weights_may_be_named_ckpt(tiny_info, image, tmp_path):
    trained = small_cnn(tiny_info, widths=(4, 8, 8)).eval()
    state = {f"module.{name}": value for name, value in trained.network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "bare.ckpt")
    teacher = teacher_from_weights(SMALL, tiny_info, tmp_path / "bare.ckpt", "small")
    assert torch.equal(teacher(image).logits, trained(image).logits)


def test_a_damaged_checkpoint_is_named_with_its_key(tiny_info, tmp_path):
    path = write_checkpoint(small_cnn(tiny_info, widths=(4, 8, 8)), tiny_info, tmp_path / "best.ckpt")
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"<html>"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"teacher.weights: .*best\.ckpt cannot be read as a checkpoint: "):
            teacher_from_weights(SMALL, tiny_info, path, "small")


def test_a_teacher_without_finite_weights_is_refused(tiny_info, tmp_path):
    """It would answer NaN, and its student would learn nothing while all looks well."""
    trained = small_cnn(tiny_info, widths=(4, 8, 8))
    trained.network.linear.bias.data[3] = torch.nan
    save_file(dict(trained.network.state_dict()), tmp_path / "weights.safetensors")
    path = write_checkpoint(trained, tiny_info, tmp_path / "best.ckpt")
    for weights in (tmp_path / "weights.safetensors", path):
        with pytest.raises(ValueError, match=r"teacher.weights: .*NaN or infinity in 1 of .*linear.bias \(1 values\)"):
            teacher_from_weights(SMALL, tiny_info, weights, "small")
