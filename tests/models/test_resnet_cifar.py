import pytest
import torch
from torchvision.datasets import CIFAR10

from kdbias.batch import DataInfo
from kdbias.models.resnet_cifar import resnet18, resnet20, resnet32, resnet44, resnet56, small_cnn
from kdbias.models.teacher import teacher_from_weights


@pytest.mark.parametrize(
    ("builder", "count"),
    [
        (resnet18, 11_173_962),
        (resnet20, 269_722),
        (resnet32, 464_154),
        (resnet44, 658_586),
        (resnet56, 853_018),
        (small_cnn, 78_042),
    ],
)
def test_counts_and_logits_are_the_networks_own(tiny_info, builder, count):
    extractor = builder(tiny_info)
    assert sum(p.numel() for p in extractor.parameters()) == count
    image = torch.rand(2, 3, 32, 32)
    for training in (True, False):
        extractor.train(training)
        features = extractor(image)
        assert torch.equal(features.logits, extractor.network(extractor.prepare(image)))
        assert features.distill_logits is None


def test_option_a_shortcut_has_no_parameters_and_pads_with_zeros(tiny_info):
    block = resnet20(tiny_info).network.layer2[0]
    x = torch.rand(1, 16, 8, 8)
    skip = block._skip(x)
    assert torch.equal(skip[:, 8:24], x[:, :, ::2, ::2])
    assert skip[:, :8].abs().sum() == skip[:, 24:].abs().sum() == 0


def test_narrow_resnets_read_imagenet_statistics(tiny_info):
    assert resnet20(tiny_info).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert resnet18(tiny_info).mean.flatten().tolist() == pytest.approx(list(tiny_info.mean))


def test_one_channel():
    info = DataInfo(1, 28, 10, tuple("abcdefghij"), 100, (0.13,), (0.31,))
    for builder in (resnet20, small_cnn):
        assert builder(info)(torch.rand(2, 1, 28, 28)).grids == ((28, 28), (14, 14), (7, 7))


@pytest.mark.parametrize(
    ("name", "count", "right"),
    [("resnet20", 1_000, 915), ("resnet32", 500, 466), ("resnet44", 500, 465), ("resnet56", 500, 470)],
)
def test_weights_in_circulation_have_their_accuracy(tiny_info, shared_data, shared_weights, name, count, right):
    """To the image, on the first of the test set: for the sake of time not on all.

    On all 10,000 they have 9173 (20 layers), 9263 (32), 9310 (44) and 9339 (56).
    """
    spec = {"_target_": f"kdbias.models.resnet_cifar.{name}"}
    teacher = teacher_from_weights(spec, tiny_info, shared_weights / f"{name}_cifar10.safetensors", name)
    test = CIFAR10(str(shared_data), train=False)
    images, labels = torch.from_numpy(test.data[:count]).permute(0, 3, 1, 2), torch.tensor(test.targets[:count])
    found = sum(
        int((teacher(x.float() / 255).logits.argmax(1) == y).sum())
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    )
    assert found == right
