"""The self-supervised teachers, with random weights: their input, their grids, their prefix tokens, their positions."""

from pathlib import Path

import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from kdbias.checks.plan import describe_network
from kdbias.config.build import build
from kdbias.models.teacher import teacher_from_weights

CONF = Path(__file__).parents[2] / "conf" / "teacher"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def spec(name, **settings):
    node = OmegaConf.load(CONF / f"{name}.yaml")
    node.pretrained = False
    node.update(settings)
    return OmegaConf.to_container(OmegaConf.create({"teacher": node}).teacher.model, resolve=True)


@pytest.mark.parametrize(
    ("name", "size", "grids", "prefix", "count"),
    [
        ("dinov2", 224, [16] * 4, 1, 21_628_800),
        ("dinov2", 112, [8] * 4, 1, 21_555_072),
        ("dinov3", 256, [16] * 4, 5, 21_586_944),
        ("dinov3", 128, [8] * 4, 5, 21_586_944),
        ("dinov3", 112, [7] * 4, 5, 21_586_944),
        ("dinov3_convnext", 256, [64, 32, 16, 8], 0, 27_820_128),
        ("dinov3_convnext", 224, [56, 28, 14, 7], 0, 27_820_128),
    ],
)
def test_grids_and_prefix_tokens(tiny_info, name, size, grids, prefix, count):
    extractor = describe_network(spec(name, size=size), tiny_info)
    info = extractor.info
    assert [layer.grid for layer in info.layers] == [(side, side) for side in grids]
    assert (info.prefix, info.classes) == (prefix, None)
    assert info.family == ("cnn" if name == "dinov3_convnext" else "vit")
    assert sum(p.numel() for p in extractor.parameters()) == count


@pytest.mark.parametrize("name", ["dinov2", "dinov3"])
def test_features_are_the_networks_own(tiny_info, name):
    extractor = build(spec(name, size=112, layers=[0, 11]), tiny_info).eval()
    image = torch.rand(2, 3, 32, 32)
    prepared = extractor.prepare(image)
    assert prepared.shape == (2, 3, 112, 112)
    mean, std = (torch.tensor(t).view(1, 3, 1, 1) for t in IMAGENET)
    flat = torch.full((1, 3, 32, 32), 0.5)
    torch.testing.assert_close(extractor.prepare(flat), ((0.5 - mean) / std).expand(1, 3, 112, 112))
    with torch.no_grad():
        features, tokens = extractor(image), extractor.network.forward_features(prepared)
    prefix = extractor.info.prefix
    assert features.logits is None
    assert torch.equal(features.pooled, tokens[:, 0])  # the CLS token behind the last norm
    last = torch.cat((features.prefix[1], features.tokens[1]), 1)
    assert torch.equal(extractor.network.norm(last), tokens)
    assert features.prefix[0].shape == (2, prefix, 384)
    side = 112 // (14 if name == "dinov2" else 16)
    assert features.tokens[0].shape == (2, side**2, 384)


def test_dinov3_positions_are_rotary(tiny_info):
    """Without absolute positions only rotary ones tell a patch from the same patch elsewhere."""
    network = build(spec("dinov3", size=112), tiny_info).eval().network
    assert network.pos_embed is None
    torch.nn.init.ones_(network.blocks[0].gamma_1)
    torch.nn.init.normal_(network.blocks[0].attn.qkv.weight, std=0.2)
    image = torch.randn(1, 3, 112, 112)
    moved = image.roll((16, 16), (2, 3))
    with torch.no_grad():
        (here,), (there,) = (
            network.forward_intermediates(x, indices=[0], intermediates_only=True) for x in (image, moved)
        )
    back = there.roll((-1, -1), (2, 3))
    assert not torch.allclose(here, back, atol=1e-3)
    network.rope = None
    with torch.no_grad():
        (here,), (there,) = (
            network.forward_intermediates(x, indices=[0], intermediates_only=True) for x in (image, moved)
        )
    torch.testing.assert_close(here, there.roll((-1, -1), (2, 3)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "size"), [("dinov2", 224), ("dinov3", 256)])
def test_weights_from_a_file_are_what_timm_makes_of_it(tiny_info, tmp_path, name, size):
    """A file for another size, with the token of pretraining that the published ones have."""
    network, path = spec(name)["name"], tmp_path / "weights.safetensors"
    state = timm.create_model(network, num_classes=0, img_size=size).state_dict()
    save_file({**state, "mask_token": torch.zeros(1, 384)}, path)
    teacher = teacher_from_weights(spec(name, size=112), tiny_info, path, name)
    save_file(state, path)
    cfg = {"file": str(path)}
    reference = timm.create_model(network, pretrained=True, num_classes=0, img_size=112, pretrained_cfg_overlay=cfg)
    own = teacher.extractor.network.state_dict()
    assert own.keys() == reference.state_dict().keys()
    assert all(torch.equal(own[key], value) for key, value in reference.state_dict().items())
    assert name == "dinov3" or own["pos_embed"].shape == (1, 65, 384)


@pytest.mark.parametrize(
    ("name", "size", "patch", "near"), [("dinov2", 225, 14, "224 or 238"), ("dinov3", 225, 16, "224 or 240")]
)
def test_a_size_that_the_patch_does_not_divide(tiny_info, name, size, patch, near):
    with pytest.raises(ValueError, match=f"size: {size} px are not divided by the patch of {patch} px: use {near}"):
        describe_network(spec(name, size=size), tiny_info)
