import pytest
import torch

from kdbias.batch import DataInfo
from kdbias.config.errors import ArgumentError
from kdbias.models.deit import ClassTokenDropout, deep_stem, deit_tiny, deit_tiny_hybrid, thin_stem, vit, vit_tiny
from kdbias.models.weights import load_state


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("builder", "count"),
    [(deit_tiny, 5_365_076), (vit_tiny, 5_362_762), (deit_tiny_hybrid, 3_750_644)],
)
def test_counts_and_logits_are_the_networks_own(tiny_info, image, builder, count):
    extractor = builder(tiny_info)
    network = extractor.network
    assert sum(p.numel() for p in extractor.parameters()) == count
    assert [layer.grid for layer in extractor.info.layers] == [(8, 8)] * 12
    for training in (True, False):
        extractor.train(training)
        if extractor.info.has_dist:
            network.set_distilled_training(True)
        torch.manual_seed(0)
        features = extractor(image)
        torch.manual_seed(0)
        own = network(extractor.prepare(image))
        if training and extractor.info.has_dist:
            assert torch.equal(features.class_logits, own[0])
            assert torch.equal(features.distill_logits, own[1])
            assert torch.equal(features.logits, (own[0] + own[1]) / 2)
        else:
            assert torch.equal(features.logits, own)
        assert torch.equal(features.class_logits, network.head(features.pooled))


def test_drop_path_grows_to_the_last_block(tiny_info):
    blocks = vit(tiny_info, width=24, depth=3, heads=3, drop_path=0.1).network.blocks
    assert [getattr(b.drop_path1, "drop_prob", 0.0) for b in blocks] == pytest.approx([0.0, 0.05, 0.1])


def test_without_dist_token(tiny_info, image):
    features = vit(tiny_info, width=24, depth=2, heads=3)(image)
    assert features.distill_logits is None
    assert torch.equal(features.logits, features.class_logits)
    assert features.prefix[0].shape == (2, 1, 24)


def test_class_token_dropout():
    torch.manual_seed(0)
    tokens = torch.rand(2000, 6, 4)
    layer = ClassTokenDropout(0.1, prefix=2)
    out = layer(tokens)
    changed = (out[:, 0] != tokens[:, 0]).any(1)
    assert 150 < int(changed.sum()) < 250  # 200 expected, standard deviation 13.4
    torch.testing.assert_close(out[changed, 0], tokens[changed, 2:].mean(1))
    assert torch.equal(out[:, 1:], tokens[:, 1:])
    assert layer.eval()(tokens) is tokens


def convolutions(stem):
    return [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in stem if isinstance(m, torch.nn.Conv2d)]


def test_stems_halve_down():
    assert convolutions(thin_stem(3, 192, 4)) == [(96, 3, 2), (192, 3, 2)]
    assert convolutions(deep_stem(3, 192, 4)) == [(48, 3, 1), (96, 3, 2), (96, 3, 1), (192, 3, 2), (192, 1, 1)]
    for stem in (thin_stem, deep_stem):
        assert stem(3, 192, 4)(torch.rand(2, 3, 32, 32)).shape == (2, 192, 8, 8)
        with pytest.raises(ValueError, match="power of 2"):
            stem(3, 192, 6)


def test_a_width_that_a_stem_cannot_halve():
    assert convolutions(thin_stem(3, 6, 4)) == [(3, 3, 2), (6, 3, 2)]
    with pytest.raises(ValueError, match="4 divide width, got 4 and 6"):
        deep_stem(3, 6, 4)


def test_an_unknown_stem(tiny_info):
    with pytest.raises(ValueError, match=r"^conv_stem: must be one of true, false, deep, got 'wide'"):
        vit(tiny_info, width=24, depth=1, heads=3, conv_stem="wide")


@pytest.mark.parametrize("stem", [True, False, "deep"])
def test_called_at_another_size(tiny_info, stem):
    extractor = vit(tiny_info, width=24, depth=2, heads=3, distilled=True, conv_stem=stem).eval()
    features = extractor(torch.rand(2, 3, 48, 48))
    assert features.grids == ((12, 12), (12, 12))
    assert features.tokens[0].shape == (2, 144, 24)
    assert features.logits.shape == (2, 10)


@pytest.mark.parametrize("distilled", [True, False])
def test_positions_are_interpolated_on_loading(tiny_info, distilled):
    small = vit(tiny_info, width=24, depth=1, heads=3, distilled=distilled).eval()
    large = vit(tiny_info, width=24, depth=1, heads=3, distilled=distilled, size=48).eval()
    load_state(large, small.network.state_dict(), "model.weights")
    assert large.network.pos_embed.shape[1] == 144 + 1 + distilled
    image = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(large(image).logits, small(image).logits)  # interpolated there when called


def test_one_channel():
    info = DataInfo(1, 28, 10, tuple("abcdefghij"), 100, (0.13,), (0.31,))
    extractor = vit(info, width=24, depth=1, heads=3)
    assert extractor(torch.rand(2, 1, 28, 28)).grids == ((7, 7),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "heads: must divide width, got 5 and 24"),
        ({"patch": 5}, "size: .* px are not divided by the patch of 5 px"),
        ({"heads": 0}, "heads: must be a whole number of at least 1, got 0"),
        ({"depth": -1}, "depth: must be a whole number of at least 1, got -1"),
        ({"width": "wide"}, "width: must be a whole number of at least 1, got 'wide'"),
    ],
)
def test_sizes_that_do_not_fit_are_named(tiny_info, changes, message):
    with pytest.raises(ArgumentError, match=message):
        vit(tiny_info, **{"width": 24, "depth": 1, "heads": 3, **changes})
