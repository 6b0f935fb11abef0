"""Networks on torch's meta device: shapes as of the real one; what computes with values is refused, and says so."""

import copy

import pytest
import timm
import torch
from config_base import assert_named_once

from kdbias.config import conf
from kdbias.config.build import build
from kdbias.models.description import described, shapes_alone
from kdbias.models.layout import survey

WORDS = ("its forward pass computes with the values of tensors", "choose another network")


class ByValues(torch.nn.Module):
    """Reads the side of its grid out of a tensor."""

    def forward_intermediates(self, image):
        side = int(image.amax().item()) + 1
        return image, [image[..., :side, :side]]

    def forward_head(self, x, pre_logits=False):
        return x.mean((2, 3))

    def get_classifier(self):
        return torch.nn.Identity()


def test_it_is_refused_by_what_keeps_it_out():
    with pytest.raises(ValueError, match="ByValues cannot be used here") as caught:
        survey(ByValues(), torch.zeros(1, 3, 8, 8, device="meta"))
    assert all(word in str(caught.value) for word in WORDS)
    assert "the size it was made for" not in str(caught.value)


@pytest.mark.skipif(not timm.is_model("gemma4_vit_167m"), reason="this timm has no Gemma 4")
def test_the_check_refuses_gemma_before_training():
    conf.register()
    model = {"_target_": "kdbias.models.timm_network.timm_network", "name": "gemma4_vit_167m", "size": 96}
    assert_named_once({"model": model}, "model", WORDS)


NETWORKS = (
    {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "distilled": True, "conv_stem": True},
    {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8]},
    {"_target_": "kdbias.models.timm_network.timm_network", "name": "test_efficientnet", "size": 64},
    {"_target_": "kdbias.models.timm_network.timm_network", "name": "test_convnext", "size": 64},
)


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: model.get("name", model["_target_"].split(".")[-1]))
def test_a_described_network_is_the_one_that_is_built(model, tiny_info):
    shapes, real = described(model, tiny_info), build(model, tiny_info, group="model")
    assert shapes.survey == real.survey
    expected = {name: value.shape for name, value in real.network.state_dict().items()}
    assert {name: value.shape for name, value in shapes.network.state_dict().items()} == expected
    assert all(value.is_meta for value in shapes.network.state_dict().values())


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (torch.nn.LayerNorm(6), (2, 3, 5)),
        (torch.nn.LayerNorm((3, 5)), (5,)),
        (torch.nn.BatchNorm2d(4), (2, 3, 5, 5)),
        (torch.nn.BatchNorm1d(4), (4,)),
    ],
)
def test_what_does_not_fit_is_refused_by_shapes_as_well(module, shape):
    with shapes_alone(), pytest.raises((RuntimeError, ValueError)):
        copy.deepcopy(module).to("meta").eval()(torch.zeros(shape))


@pytest.mark.parametrize("training", [False, True])
def test_what_changes_no_shape_gives_that_shape(training):
    modules = (torch.nn.LayerNorm(6), torch.nn.BatchNorm2d(3), torch.nn.GELU(), torch.nn.SiLU(), torch.nn.ReLU())
    with shapes_alone():
        for module in modules:
            given = torch.zeros(2, 3, 4, 6, dtype=torch.float32)
            found = copy.deepcopy(module).to("meta").train(training)(given)
            assert (found.shape, found.dtype, found.device) == (given.shape, given.dtype, given.device)
    real = torch.full((2, 3), -1.0)
    with shapes_alone():
        assert torch.equal(torch.nn.functional.relu(real), torch.zeros(2, 3, device="cpu"))
