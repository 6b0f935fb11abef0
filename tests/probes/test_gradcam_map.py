import pytest
import torch

from kdbias.models.deit import vit
from kdbias.models.features import Extractor
from kdbias.models.resnet_cifar import small_cnn
from kdbias.probes.gradcam_map import activation_map


@pytest.fixture
def cnn(tiny_info):
    torch.manual_seed(0)
    return small_cnn(tiny_info, widths=(4, 8, 16)).eval()


@pytest.fixture
def cls_vit(tiny_info):
    torch.manual_seed(0)
    return vit(tiny_info, width=16, depth=3, heads=2, patch=8, distilled=True).train()


IMAGE = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_linear_head_over_pooled_maps_gives_cam_in_closed_form(cnn):
    target = torch.tensor([4, 0, 9])
    found = activation_map(cnn, IMAGE, target)
    tokens = cnn(IMAGE).tokens[-1]
    weight = cnn.network.get_classifier().weight[target]  # Zhou et al. 2016: the class's weights on the last map
    cam = torch.einsum("bd,bnd->bn", weight, tokens).relu()
    assert (cam.amax(1) > 0).all()
    expected = cam / cam.amax(1, keepdim=True)
    torch.testing.assert_close(found.flatten(1), expected.detach(), rtol=1e-5, atol=1e-6)


def test_vit_map_by_hand_from_the_last_block_alone(cls_vit):
    target = torch.tensor([4, 0, 9])
    found = activation_map(cls_vit, IMAGE, target)
    net = cls_vit.eval().network
    before = {}
    handle = net.blocks[-1].register_forward_pre_hook(lambda _, given: before.update(x=given[0].detach()))
    cls_vit(IMAGE)
    handle.remove()
    x = before["x"].requires_grad_()
    final = net.norm(net.blocks[-1](x))
    logits = (net.head(final[:, 0]) + net.head_dist(final[:, 1])) / 2
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), x)
    cam = torch.einsum("bd,bnd->bn", gradient[:, 2:].mean(1), x[:, 2:]).relu()
    torch.testing.assert_close(found.flatten(1), (cam / cam.amax(1, keepdim=True)).detach(), rtol=1e-4, atol=1e-5)


def test_last_layer_of_a_cls_network_is_refused_by_number(cls_vit):
    assert torch.equal(activation_map(cls_vit, IMAGE), activation_map(cls_vit, IMAGE, layer=1))
    with pytest.raises(ValueError, match="layer before"):
        activation_map(cls_vit, IMAGE, layer=2)
    with pytest.raises(ValueError, match="not layers"):
        activation_map(cls_vit, IMAGE, layer=3)


def test_own_answer_where_no_target_is_given(cnn):
    own = cnn(IMAGE).logits.argmax(1)
    other = (own + 1) % 10
    assert torch.equal(activation_map(cnn, IMAGE), activation_map(cnn, IMAGE, own))
    mixed = activation_map(cnn, IMAGE, torch.stack([torch.tensor(-1), other[1], torch.tensor(-1)]))
    assert torch.equal(mixed[0], activation_map(cnn, IMAGE)[0])
    assert torch.equal(mixed[1], activation_map(cnn, IMAGE, other)[1])


@pytest.mark.parametrize("family", ["cnn", "cls_vit"])
def test_nothing_is_left_behind_and_frozen_networks_work(family, request):
    reader = request.getfixturevalue(family).train()
    state = {key: value.clone() for key, value in reader.state_dict().items()}
    modes = [module.training for module in reader.modules()]
    paths = [module.fused_attn for module in reader.modules() if hasattr(module, "fused_attn")]
    with torch.inference_mode():
        found = activation_map(reader, IMAGE)
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in reader.parameters())
    assert modes == [module.training for module in reader.modules()]
    assert paths == [module.fused_attn for module in reader.modules() if hasattr(module, "fused_attn")]
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in reader.modules())
    assert all(torch.equal(value, state[key]) for key, value in reader.state_dict().items())
    reader.requires_grad_(False)
    assert torch.equal(found, activation_map(reader, IMAGE))
    assert not any(parameter.requires_grad for parameter in reader.parameters())
    reader.compile(backend="eager")
    reader.network.compile(backend="eager")
    assert torch.equal(found, activation_map(reader, IMAGE))


def test_no_classifier(tiny_info):
    reader = small_cnn(tiny_info, widths=(4, 8))
    reader.network.linear = torch.nn.Identity()
    bare = Extractor(reader.network, mean=[0.5] * 3, std=[0.5] * 3, size=32)
    with pytest.raises(ValueError, match="no classifier"):
        activation_map(bare, IMAGE)


def test_gradients_take_the_explicit_path_on_a_cpu(cls_vit):
    fused = []
    cls_vit.network.blocks[0].attn.register_forward_pre_hook(lambda module, _: fused.append(module.fused_attn))
    activation_map(cls_vit, IMAGE)
    assert fused == [False]
