"""Networks in channels-last order, and those that a kernel of oneDNN cannot train in it."""

import pytest
import torch
from torch import nn
from training import quiet_trainer

from kdbias.models.channels_last import compile_in_place, has_narrow_stride, to_channels_last
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill

LAST = torch.channels_last


def is_last(network: nn.Module) -> bool:
    """Whether the kernels of its wide convolutions, of which the order can be told, are channels-last."""
    kernels = [p for p in network.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert kernels
    return all(p.is_contiguous(memory_format=LAST) for p in kernels)


@pytest.mark.parametrize(("widths", "last"), [((4, 8, 8), False), ((16, 16, 32), True)])
def test_a_network_with_a_narrow_strided_convolution_stays_as_it_is(tiny_info, widths, last):
    teacher = Teacher(small_cnn(tiny_info, widths=widths), "cnn")
    assert is_last(teacher.extractor) is last
    network = small_cnn(tiny_info, widths=widths)
    to_channels_last(network)
    assert is_last(network) is last


@pytest.mark.parametrize(("widths", "last"), [([4, 8, 8], False), ([16, 16, 32], True)])
def test_a_student_in_training_likewise(tiny_info, widths, last):
    spec = {
        "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": widths},
        "loss": {"ce": {"_target_": "kdbias.losses.ce.CE"}},
        "optim": {},
        "data": tiny_info.to_dict(),
        "seed": 0,
        "channels_last": True,
    }
    module = Distill(spec)
    module.trainer = quiet_trainer()
    module.setup("fit")
    assert is_last(module.student) is last


@pytest.mark.parametrize(("channels", "groups"), [(16, 1), (24, 1), (32, 2)])
def test_a_wide_one_has_the_gradient_of_the_usual_order(channels, groups):
    torch.manual_seed(0)
    usual = nn.Conv2d(channels, 8, 1, stride=2, groups=groups, bias=False)
    other = nn.Conv2d(channels, 8, 1, stride=2, groups=groups, bias=False)
    other.load_state_dict(usual.state_dict())
    to_channels_last(other)
    image, gradient = torch.randn(40, channels, 32, 32), torch.randn(40, 8, 16, 16)
    usual(image).backward(gradient)
    other(image.contiguous(memory_format=LAST)).backward(gradient.contiguous(memory_format=LAST))
    torch.testing.assert_close(other.weight.grad, usual.weight.grad, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "narrow"), [((4, 8, 1, 2), True), ((32, 8, 1, 2, 0, 1, 4), True), ((3, 8, 1), False)]
)
def test_what_is_narrow_goes_by_the_channels_of_a_group(given, narrow):
    assert has_narrow_stride(nn.Sequential(nn.Conv2d(*given))) == narrow


@pytest.mark.parametrize(
    ("widths", "given"), [((4, 8, 8), {"options": {"layout_optimization": False}}), ((16, 16), {})]
)
def test_the_compiler_does_not_put_a_narrow_one_into_that_order(tiny_info, monkeypatch, widths, given):
    found = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **settings: found.append(settings))
    compile_in_place(small_cnn(tiny_info, widths=widths))
    assert found == [given]
    assert not given or torch._inductor.config.layout_optimization is not None  # the compiler has such a setting
