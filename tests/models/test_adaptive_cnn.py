import pytest
import torch

from kdbias.batch import DataInfo
from kdbias.models.adaptive_cnn import ConvBlock, SqueezeExcitation, adaptive_cnn, adaptive_cnn_mnist

DIGITS = DataInfo(1, 28, 10, tuple("0123456789"), 60_000, (0.1307,), (0.3081,))


@pytest.mark.parametrize(
    ("builder", "digits", "count", "grids", "widths", "width"),
    [
        (adaptive_cnn, False, 17_629_514, [32, 16, 8, 4], [64, 128, 256, 512], 256),
        (adaptive_cnn_mnist, True, 709_034, [14, 7, 4], [32, 64, 128], 64),
    ],
)
def test_count_and_layers(tiny_info, builder, digits, count, grids, widths, width):
    with torch.device("meta"):
        extractor = builder(DIGITS if digits else tiny_info)
    info = extractor.info
    assert sum(p.numel() for p in extractor.parameters()) == count
    assert [layer.grid for layer in info.layers] == [(side, side) for side in grids]
    assert [layer.width for layer in info.layers] == widths
    assert [layer.name for layer in info.layers] == [f"layer{i + 1}" for i in range(len(grids))]
    assert (info.width, info.classes, info.family, info.prefix) == (width, 10, "cnn", 0)


def test_logits_are_the_networks_own():
    extractor = adaptive_cnn_mnist(DIGITS)
    image = torch.rand(4, 1, 28, 28)
    for training in (True, False):
        extractor.train(training)
        torch.manual_seed(0)
        features = extractor(image)
        torch.manual_seed(0)
        assert torch.equal(features.logits, extractor.network(extractor.prepare(image)))
        assert torch.equal(features.logits, extractor.network.linear(features.pooled))
    assert features.tokens[-1].shape == (4, 16, 128)
    assert features.pooled.min() == 0  # behind the ReLU


def test_colour_images_and_digits_in_either(tiny_info):
    features = adaptive_cnn_mnist(tiny_info, layers=[0, 2]).eval()(torch.rand(1, 3, 32, 32))
    assert features.grids == ((16, 16), (4, 4))
    assert adaptive_cnn(DIGITS, layers=[3]).eval()(torch.rand(1, 1, 28, 28)).grids == ((4, 4),)


def test_squeeze_excitation_weights_channels():
    layer = SqueezeExcitation(32)
    x = torch.randn(2, 32, 4, 4)
    hidden = torch.einsum("rc,bchw->br", layer.squeeze.weight, x) / 16
    expected = 1 / (1 + torch.exp(-hidden.clamp(min=0) @ layer.excite.weight.T))
    torch.testing.assert_close(layer(x), x * expected[:, :, None, None])
    assert layer.squeeze.weight.shape == (2, 32)
    assert [name for name, _ in layer.named_parameters()] == ["squeeze.weight", "excite.weight"]


@pytest.mark.parametrize(("outputs", "stride", "count"), [(32, 1, 0), (64, 1, 3), (32, 2, 3)])
def test_a_shortcut_where_shapes_differ(outputs, stride, count):
    block = ConvBlock(32, outputs, stride)
    assert len(list(block.shortcut.parameters())) == count
    assert block(torch.rand(1, 32, 8, 8)).shape == (1, outputs, 8 // stride, 8 // stride)


def test_dropout_stands_in_front_of_the_last_layer():
    torch.manual_seed(0)
    dropped = adaptive_cnn_mnist(DIGITS, dropout=0.9).train()(torch.rand(64, 1, 28, 28)).pooled
    plain = adaptive_cnn_mnist(DIGITS, dropout=0.0).train()(torch.rand(64, 1, 28, 28)).pooled
    assert (dropped == 0).float().mean() > 0.9
    assert (plain == 0).float().mean() < 0.9
