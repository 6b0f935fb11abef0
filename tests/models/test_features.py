from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kdbias.models.attention_path import attention_modules, unfused
from kdbias.models.deit import vit
from kdbias.models.features import Extractor, asked
from kdbias.models.resnet_cifar import resnet18, resnet20, small_cnn


@pytest.fixture
def image():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_features_print_their_shapes(tiny_info, image):
    """Equal layers are counted, and outputs that are not there are left out."""
    assert repr(tiny(tiny_info).reading(qkv=True).eval()(image)).splitlines() == [
        "Features(",
        "  logits: (3, 10)",
        "  class_logits: (3, 10)",
        "  distill_logits: (3, 10)",
        "  pooled: (3, 24)",
        "  tokens: 3 x (3, 16, 24)",
        "  prefix: 3 x (3, 2, 24)",
        "  grids: 3 x (4, 4)",
        "  qkv: 3 x (3, 3, 3, 16, 8)",
        ")",
    ]
    shapes = repr(small_cnn(tiny_info, widths=(4, 8)).eval()(image))
    assert "tokens: 1 x (3, " in shapes
    assert "distill_logits" not in shapes
    assert "qkv" not in shapes


def tiny(info, **changes):
    return vit(info, **{"width": 24, "depth": 3, "heads": 3, "patch": 8, "distilled": True, **changes})


def test_layers_are_measured_not_announced(tiny_info):
    info = resnet18(tiny_info).info
    assert [layer.grid for layer in info.layers] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    assert [layer.depth for layer in info.layers] == [0.25, 0.5, 0.75, 1.0]
    assert [layer.width for layer in info.layers] == [64, 128, 256, 512]
    assert (info.family, info.prefix, info.has_dist, info.width, info.classes) == ("cnn", 0, False, 512, 10)


def test_vit_info(tiny_info):
    info = tiny(tiny_info, layers=[0, 2]).info
    assert [(layer.name, layer.depth, layer.grid) for layer in info.layers] == [
        ("blocks.0", 1 / 3, (4, 4)),
        ("blocks.2", 1.0, (4, 4)),
    ]
    assert (info.family, info.prefix, info.has_dist, info.width, info.classes) == ("vit", 2, True, 24, 10)


@pytest.mark.parametrize("layers", [[3], [-1], [], [1.0], ["a"]])
def test_layers_that_do_not_exist(tiny_info, layers):
    with pytest.raises(ValueError, match=r"layers: .* it has 0 \(blocks.0\), 1 \(blocks.1\), 2 \(blocks.2\)"):
        tiny(tiny_info, layers=layers)


@pytest.mark.parametrize("layers", [[1, 0], [1, 1]])
def test_layers_must_ascend(tiny_info, layers):
    with pytest.raises(ValueError, match=r"layers: .* ascending"):
        tiny(tiny_info, layers=layers)


def test_tokens_are_the_blocks_outputs(tiny_info, image):
    extractor = tiny(tiny_info, layers=[0, 2]).eval()
    outputs = []
    handles = [b.register_forward_hook(lambda m, x, out: outputs.append(out)) for b in extractor.network.blocks]
    features = extractor(image)
    for handle in handles:
        handle.remove()
    for read, block in zip(range(2), (0, 2), strict=True):
        assert torch.equal(torch.cat((features.prefix[read], features.tokens[read]), 1), outputs[block])
    assert features.grids == ((4, 4), (4, 4))


def test_cnn_tokens_are_row_major(tiny_info, image):
    extractor = resnet20(tiny_info).eval()
    features = extractor(image)
    _, maps = extractor.network.forward_intermediates(extractor.prepare(image))
    height, width = features.grids[1]
    assert torch.equal(features.tokens[1][:, 5 * width + 3], maps[1][:, :, 5, 3])
    assert features.tokens[1].shape == (3, height * width, 32)
    assert features.prefix[1].shape == (3, 0, 32)


def test_inference_chooses_what_is_answered(tiny_info, image):
    extractor = tiny(tiny_info).eval()
    by = {}
    for extractor.inference in ("mean", "cls", "dist"):
        by[extractor.inference] = extractor(image)
    assert torch.equal(by["cls"].logits, by["mean"].class_logits)
    assert torch.equal(by["dist"].logits, by["mean"].distill_logits)
    assert torch.equal(by["mean"].logits, (by["cls"].logits + by["dist"].logits) / 2)
    with pytest.raises(ValueError, match="DIST"):
        tiny(tiny_info, distilled=False, inference="dist")


def test_dense_inference_is_the_mean_of_three_answers(tiny_info, image):
    """CLS, DIST, and the DIST head of every patch token after the final norm, in a loop; in training as at the end."""
    extractor = tiny(tiny_info, inference="dense")
    network = extractor.network
    for mode in (True, False):
        extractor.train(mode)
        found = extractor(image)
        tokens = network.forward_features(extractor.prepare(image))
        places = [network.head_dist(token) for token in tokens[:, 2:].unbind(1)]
        three = network.head(tokens[:, 0]) + network.head_dist(tokens[:, 1]) + sum(places) / 16
        torch.testing.assert_close(found.logits, three / 3)
        assert found.dense_logits is None  # nothing asked for them
    wanted = extractor.reading(dense=True)(image)
    assert torch.equal(wanted.logits, found.logits)
    assert wanted.dense_logits.shape == (3, 10, 4, 4)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"distilled": False}, "dense needs a network with a DIST token"), ({"classes": None}, "it has no classifier")],
)
def test_dense_inference_is_for_a_dist_token_and_a_classifier(tiny_info, settings, reason):
    with pytest.raises(ValueError, match=reason):
        tiny(tiny_info, inference="dense", **settings)


def test_an_unknown_inference_names_those_there_are(tiny_info):
    with pytest.raises(ValueError, match="one of mean, cls, dist, dense, got 'both'"):
        tiny(tiny_info, inference="both")


def test_a_dist_head_can_be_asked_for(tiny_info):
    extractor = tiny(tiny_info)
    assert (extractor.lack("dist"), asked(extractor, frozenset({"dist"}))) == ("", extractor)
    assert "no DIST token" in tiny(tiny_info, distilled=False).lack("dist")
    with pytest.raises(ValueError, match="ResNet gives no distill_logits: it has no DIST token"):
        asked(resnet20(tiny_info), frozenset({"dist"}))


@pytest.mark.parametrize("builder", [resnet20, small_cnn])
def test_mean_of_dense_logits_is_the_logits(tiny_info, image, builder):
    features = builder(tiny_info).double().eval().reading(dense=True)(image.double())
    assert features.dense_logits.shape == (3, 10, 8, 8)
    torch.testing.assert_close(features.dense_logits.mean((2, 3)), features.logits)


def test_dense_logits_of_a_vit_are_its_dist_heads(tiny_info, image):
    extractor = tiny(tiny_info).eval().reading(dense=True)
    network = extractor.network
    tokens = network.forward_features(extractor.prepare(image))
    expected = network.head_dist(tokens[:, 2 + 1 * 4 + 3])
    torch.testing.assert_close(extractor(image).dense_logits[:, :, 1, 3], expected)


def test_qkv_give_the_attention_of_the_network(tiny_info, image):
    extractor = tiny(tiny_info, distilled=False).eval()
    reader = extractor.reading(layers=[1], qkv=True)
    maps = []
    with unfused(reader):
        handle = extractor.network.blocks[1].attn.attn_drop.register_forward_pre_hook(lambda m, x: maps.append(x[0]))
        (qkv,) = reader(image).qkv
        handle.remove()
    assert qkv.shape == (3, 3, 3, 16, 8)
    q, k, _ = qkv
    patches = maps[0][:, :, 1:, 1:]
    torch.testing.assert_close((q @ k.transpose(-2, -1) / 8**0.5).softmax(-1), patches / patches.sum(-1, keepdim=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in extractor.modules())


def test_a_cnn_has_no_qkv(tiny_info):
    with pytest.raises(ValueError, match="qkv"):
        resnet20(tiny_info).reading(qkv=True)


def test_reading_shares_the_network_and_leaves_it_alone(tiny_info, image):
    extractor = tiny(tiny_info, inference="cls").train()
    extractor.network.head_drop.eval()
    modes = [m.training for m in extractor.modules()]
    reader = extractor.reading(layers=[1], dense=True)
    assert reader.network is extractor.network
    assert reader.training
    assert reader.inference == "cls"
    assert [m.training for m in extractor.modules()] == modes
    assert extractor.info.layers[1:2] == reader.info.layers
    assert torch.equal(reader.eval()(image).logits, extractor.eval()(image).logits)


def test_state_holds_the_network_alone(tiny_info):
    extractor = resnet20(tiny_info)
    assert set(extractor.state_dict()) == {f"network.{k}" for k in extractor.network.state_dict()}


def test_prepare_normalises_and_resizes(tiny_info, image):
    plain = tiny(tiny_info).prepare(image)
    mean, std = torch.tensor(tiny_info.mean).view(1, 3, 1, 1), torch.tensor(tiny_info.std).view(1, 3, 1, 1)
    torch.testing.assert_close(plain, (image - mean) / std)
    extractor = tiny(tiny_info, size=48)
    assert extractor.prepare(image).shape == (3, 3, 48, 48)
    constant = torch.full((1, 3, 32, 32), 0.5)
    torch.testing.assert_close(extractor.prepare(constant), ((0.5 - mean) / std).expand(1, 3, 48, 48))
    assert extractor.info.layers[0].grid == (6, 6)


def test_attention_path_follows_mode_and_is_restored(tiny_info, image):
    extractor = tiny(tiny_info)
    modules = attention_modules(extractor)
    assert len(modules) == 3
    assert not any(m.fused_attn for m in modules)  # trains on the CPU
    extractor.eval()
    assert all(m.fused_attn for m in modules)
    fused = extractor(image).logits

    def leave_early():
        with unfused(extractor):
            torch.testing.assert_close(extractor(image).logits, fused)
            raise KeyError

    with pytest.raises(KeyError):
        leave_early()
    assert all(m.fused_attn for m in modules)


def test_second_derivatives_on_the_explicit_path(tiny_info, image):
    extractor = tiny(tiny_info).eval()
    weight = extractor.network.blocks[0].attn.qkv.weight
    with unfused(extractor):
        (first,) = torch.autograd.grad(extractor(image).logits.square().sum(), weight, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), weight)
    assert second.abs().max() > 0


@pytest.mark.parametrize(("builder", "training"), [(tiny, True), (small_cnn, False)])
def test_compiles_whole(tiny_info, image, builder, training):
    extractor = builder(tiny_info).train(training)
    twin = deepcopy(extractor)
    extractor.compile(backend="aot_eager", fullgraph=True)
    features, expected = extractor(image), twin(image)
    torch.testing.assert_close(features.logits, expected.logits)
    torch.testing.assert_close(features.tokens, expected.tokens)
    assert set(extractor.state_dict()) == set(twin.state_dict())
    torch._dynamo.reset()


def test_compiled_it_gives_dense_logits_and_qkv_of_each_image(tiny_info, image):
    """Whatever ran before: hooks that collect queries, keys and values are made anew in every pass."""
    extractor = tiny(tiny_info).reading(dense=True, qkv=True)
    twin = deepcopy(extractor)
    extractor.compile(backend="aot_eager")
    for training in (True, False):
        for images in (image, image.flip(3)):
            features, expected = extractor.train(training)(images), twin.train(training)(images)
            torch.testing.assert_close(features.dense_logits, expected.dense_logits)
            torch.testing.assert_close(features.qkv, expected.qkv)
    gradient, expected = (torch.autograd.grad(f.qkv[-1].sum(), e.network.pos_embed)[0] for f, e in (
        (extractor(image), extractor), (twin(image), twin)
    ))  # fmt: skip
    torch.testing.assert_close(gradient, expected)
    torch._dynamo.reset()


def test_a_reading_trains_as_its_network_does(tiny_info):
    """A frozen trunk rests while its reader is in training mode."""
    network = small_cnn(tiny_info)
    of = Extractor(
        network.network, mean=tiny_info.mean, std=tiny_info.std, size=32, frozen=True, layers=[2]
    ).train()  # fmt: skip
    other = of.reading(dense=True)
    assert (of.training, other.training, other.network.training) == (True, True, False)
    assert other.network.get_classifier().training
    assert list(other.state_dict()) == list(of.state_dict())
    assert not of.eval().reading(dense=True).training


def test_under_ddp(tiny_info, image, tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(tiny(tiny_info))
        parallel(image).logits.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert all(p.grad is not None for p in parallel.parameters())


def test_a_network_that_cannot_be_read(tiny_info):
    with pytest.raises(TypeError, match="forward_intermediates"):
        Extractor(nn.Sequential(nn.Linear(2, 2)), mean=(0.0,), std=(1.0,), size=32)
