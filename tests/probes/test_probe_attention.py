import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from kdbias.batch import Batch, DataInfo
from kdbias.functional import attention_distance
from kdbias.models.attention_path import attention_modules
from kdbias.models.timm_network import timm_network
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.attention_maps import attention_maps
from kdbias.probes.cka import CKAProbe


def test_maps_are_the_softmax_before_dropout_and_leave_the_answer_alone(tiny_vit, images):
    tiny_vit.eval()
    image, maps = images()[0].image, {}
    attention = tiny_vit.network.blocks[1].attn
    inputs = []
    handle = attention.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        expected = tiny_vit(image).logits
        with attention_maps(tiny_vit, maps.__setitem__):
            logits = tiny_vit(image).logits
    handle.remove()
    torch.testing.assert_close(logits, expected)
    assert sorted(maps) == [0, 1, 2]
    q, k, _ = attention.qkv(inputs[0]).reshape(8, 18, 3, 2, 8).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(maps[1], (q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1))


def test_dropout_does_not_reach_the_maps_of_a_network_in_training(tiny_vit, images):
    rows = []
    with attention_maps(tiny_vit, lambda layer, attention: rows.append(attention.sum(-1))):
        tiny_vit(images()[0].image)
    torch.testing.assert_close(torch.stack(rows), torch.ones(3, 8, 2, 18))


def test_everything_is_undone_after_an_error(tiny_vit, images):
    for module in attention_modules(tiny_vit):
        module.fused_attn = True

    def fail(layer, attention):
        assert not any(module.fused_attn for module in attention_modules(tiny_vit))
        raise KeyError

    with pytest.raises(KeyError), attention_maps(tiny_vit, fail):
        tiny_vit(images()[0].image)
    assert all(module.fused_attn for module in attention_modules(tiny_vit))
    assert not any(module._forward_pre_hooks for module in tiny_vit.modules())


def test_registers_alone_are_no_cls_token():
    """They are tokens beside the grid: distances leave them out, and nothing is said of a CLS token."""
    info = DataInfo(3, 32, 10, tuple("abcdefghij"), 64, (0.5,) * 3, (0.25,) * 3)
    vit = timm_network(info, name="test_vit2", size=64)
    assert (vit.info.prefix, vit.info.has_cls) == (1, False)
    image = torch.rand(4, 3, 32, 32)
    found = AttentionProbe()(vit, [Batch(image, torch.zeros(4, dtype=torch.long), torch.arange(4), image)])
    assert found.arrays["distance"].ndim == 2
    assert not [name for name in (*found.scalars, *found.arrays) if name.startswith("cls_")]
    assert "no CLS token" in CKAProbe(tokens="cls").refuses(vit)


def test_missing_maps_are_an_error(tiny_vit, tiny_cnn, images):
    with pytest.raises(ValueError, match="no attention map came from 3 of 3"), attention_maps(tiny_vit, print):
        pass
    with pytest.raises(ValueError, match="attention maps are not defined for a CNN"), attention_maps(tiny_cnn, print):
        pass


def test_a_network_without_maps_over_one_grid_is_refused(tiny_vit, tiny_cnn, images):
    assert AttentionProbe().refuses(tiny_vit) == ""
    assert "a CNN has no attention maps" in AttentionProbe().refuses(tiny_cnn)
    with pytest.raises(ValueError, match="a CNN has no attention maps: attention distance is not defined for it"):
        AttentionProbe()(tiny_cnn, images())
    tiny_vit.survey = replace(tiny_vit.survey, token_based=False)
    assert "windowed" in AttentionProbe().refuses(tiny_vit)


def test_a_network_whose_attention_makes_no_maps_is_refused(tiny_vit):
    for block in tiny_vit.network.blocks:
        block.attn.attn_drop = None
    assert AttentionProbe().refuses(tiny_vit).startswith("its attention has no maps to read")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mixer_s32_224", "a network without attention has no attention maps"),
        ("resnet18", "a CNN has no attention maps"),
        ("swinv2_cr_tiny_224", "maps of windowed or pooled attention do not cover one grid"),
        ("mobilevit_xxs", "maps of windowed or pooled attention do not cover one grid"),
        ("convit_tiny", "maps of windowed or pooled attention do not cover one grid"),
        ("vit_base_r50_s16_224", ""),
    ],
)
def test_a_network_of_timm_is_refused_by_what_its_attention_is(tiny_info, name, reason):
    with torch.device("meta"):
        network = timm_network(tiny_info, name=name, size=64)
    assert AttentionProbe().refuses(network).startswith(reason)
    assert bool(AttentionProbe().refuses(network)) is bool(reason)


def test_a_compiled_network_gives_its_maps_and_is_not_compiled_again(tiny_vit, images):
    tiny_vit.eval()
    expected = AttentionProbe()(tiny_vit, images())
    compiled, maps = [], {}

    def backend(graph, example):
        compiled.append(graph)
        return graph.forward

    tiny_vit.compile(backend=backend)
    with torch.no_grad():
        tiny_vit(images()[0].image)
        count = len(compiled)
        found = AttentionProbe()(tiny_vit, images())
        with attention_maps(tiny_vit, maps.__setitem__):
            tiny_vit(images()[0].image)
        tiny_vit(images()[0].image)
    assert count > 0
    assert sorted(maps) == [0, 1, 2]
    assert len(compiled) == count
    np.testing.assert_array_equal(found.arrays["distance"], expected.arrays["distance"])
    torch._dynamo.reset()


def weights_of(attention: nn.Module, content: float) -> None:
    """Make attention uniform (content 0) by taking queries away."""
    with torch.no_grad():
        attention.qkv.weight[:16] *= content
        attention.qkv.bias[:16] *= content


def test_uniform_attention_has_the_values_of_the_reference_line(tiny_vit, images):
    for block in tiny_vit.network.blocks:
        weights_of(block.attn, 0.0)
    result = AttentionProbe()(tiny_vit, images())
    arrays = result.arrays
    for key in ("distance", "entropy"):
        assert arrays[key].shape == (3, 2)
        np.testing.assert_allclose(arrays[key], arrays[f"uniform_{key}"], rtol=1e-5)
    np.testing.assert_allclose(arrays["cls_dispersion"], arrays["uniform_dispersion"], rtol=1e-5)
    np.testing.assert_allclose(arrays["cls_self"], 1 / 18, rtol=1e-5)
    assert arrays["uniform_dispersion"] == 2.5
    assert result.scalars["distance_ratio"] == pytest.approx(1)
    assert result.scalars["entropy_ratio"] == pytest.approx(1)
    assert result.scalars["collapsed_heads"] == 0
    assert result.meta["grid"] == [4, 4]


def test_values_are_means_over_all_images_and_heads_are_counted(tiny_vit, images):
    batches, maps = images(), []
    tiny_vit.eval()
    with torch.no_grad(), attention_maps(tiny_vit, lambda layer, attention: maps.append((layer, attention))):
        for batch in batches:
            tiny_vit(batch.image)
    distance = [torch.cat([attention_distance(m, (4, 4), 2) for at, m in maps if at == layer]) for layer in range(3)]
    expected = torch.stack(distance).mean(1)
    threshold = float(expected.flatten().sort().values[1:3].mean())
    result = AttentionProbe(collapse=threshold)(tiny_vit, batches)
    np.testing.assert_allclose(result.arrays["distance"], expected, rtol=1e-5)
    assert result.scalars["collapsed_heads"] == 2
    own = torch.stack([torch.cat([m[:, :, 0, 0] for at, m in maps if at == layer]).mean(0) for layer in range(3)])
    np.testing.assert_allclose(result.arrays["cls_self"], own, rtol=1e-5)
    assert result.scalars["cls_self"] == pytest.approx(float(own.mean()), rel=1e-5)
    spread = result.arrays["cls_dispersion"]
    assert spread.max() > spread.mean()
    assert result.scalars["cls_dispersion"] == pytest.approx(float(spread.mean()), rel=1e-5)


def test_bf16_is_near_fp32_and_says_so(tiny_vit, images):
    exact, fast = AttentionProbe()(tiny_vit, images()), AttentionProbe(precision="bf16")(tiny_vit, images())
    assert fast.meta["precision"] == "bf16"
    assert not np.array_equal(fast.arrays["distance"], exact.arrays["distance"])
    np.testing.assert_allclose(fast.arrays["distance"], exact.arrays["distance"], rtol=1e-2)


def test_heads_whose_cls_token_gives_itself_nine_tenths_are_counted(tiny_vit):
    observer = AttentionProbe().observer(tiny_vit)
    maps = torch.full((2, 2, 18, 18), 1 / 18)
    maps[:, 0, 0] = 0.05 / 17
    maps[:, 0, 0, 0] = 0.95
    for layer in range(3):
        observer.attention(layer, maps if layer < 2 else maps[:, [1, 1]])
    observer.images = 2
    found = observer.result().scalars
    assert found["cls_collapsed"] == 2
    assert found["cls_self"] == pytest.approx((2 * 0.95 + 4 / 18) / 6, rel=1e-5)
    assert found["cls_dispersion"] == pytest.approx(2.5, rel=1e-5)  # the rest of the row is even in every head
