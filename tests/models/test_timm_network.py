import pytest
import timm
import torch

from kdbias.batch import DataInfo
from kdbias.checks.plan import describe_network
from kdbias.models.patches import patch_side
from kdbias.models.timm_network import timm_network
from kdbias.models.weights import classifier_names


@pytest.mark.parametrize(
    ("name", "size", "family"),
    [
        ("resnet18", 32, "cnn"),
        ("convnextv2_atto", 32, "cnn"),
        ("efficientnet_lite0", 32, "cnn"),
        ("vit_small_patch14_dinov2", 56, "vit"),
        ("vit_small_patch14_reg4_dinov2", 56, "vit"),
        ("deit_tiny_distilled_patch16_224", 32, "vit"),
        ("swin_tiny_patch4_window7_224", 32, "vit"),
    ],
)
def test_logits_are_the_networks_own(tiny_info, name, size, family):
    extractor = timm_network(tiny_info, name=name, size=size)
    image = torch.rand(2, 3, 32, 32)
    for training in (True, False):
        extractor.train(training)
        torch.manual_seed(0)
        features = extractor(image)
        torch.manual_seed(0)
        assert torch.equal(features.logits, extractor.network(extractor.prepare(image)))
    for tokens, layer in zip(features.tokens, extractor.info.layers, strict=True):
        assert tokens.shape == (2, layer.grid[0] * layer.grid[1], layer.width)
    assert features.pooled.shape == (2, extractor.info.width)
    assert extractor.info.family == family


def test_stages_are_counted_without_the_stem(tiny_info):
    assert [layer.name for layer in timm_network(tiny_info, name="resnet18").info.layers] == [
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    ]
    assert len(timm_network(tiny_info, name="convnextv2_atto").info.layers) == 4


def test_registers_are_prefix_tokens(tiny_info):
    extractor = timm_network(tiny_info, name="vit_small_patch14_reg4_dinov2", size=56, classes=None, layers=[11])
    features = extractor.eval()(torch.rand(1, 3, 32, 32))
    assert features.prefix[0].shape == (1, 5, 384)
    assert features.grids == ((4, 4),)
    assert extractor.info.prefix == 5


def test_without_classifier(tiny_info):
    extractor = timm_network(tiny_info, name="vit_small_patch14_dinov2", size=56, classes=None, layers=[3, 11])
    image = torch.rand(1, 3, 32, 32)
    features = extractor.eval()(image)
    assert extractor.info.classes is None
    assert features.logits is features.class_logits is features.distill_logits is None
    assert torch.equal(features.pooled, extractor.network(extractor.prepare(image)))
    with pytest.raises(ValueError, match="no classifier"):
        extractor.reading(dense=True)


def test_own_statistics_and_one_channel():
    info = DataInfo(1, 28, 10, tuple("abcdefghij"), 100, (0.13,), (0.31,))
    extractor = timm_network(info, name="efficientnet_lite0", size=32)
    config = timm.get_pretrained_cfg("efficientnet_lite0")
    assert extractor.mean.flatten().tolist() == pytest.approx(list(config.mean))
    image = torch.rand(1, 1, 28, 28)
    prepared = extractor.prepare(image)
    assert prepared.shape == (1, 3, 32, 32)
    undone = prepared * extractor.std + extractor.mean
    torch.testing.assert_close(undone[:, 0], undone[:, 2])
    assert extractor.eval()(image).logits.shape == (1, 10)


def test_dense_logits_of_a_norm_after_pooling(tiny_info):
    extractor = timm_network(tiny_info, name="convnextv2_atto").eval().reading(dense=True)
    features = extractor(torch.rand(2, 3, 32, 32))
    assert features.grids[-1] == (1, 1)  # then the one position is the whole map
    torch.testing.assert_close(features.dense_logits[:, :, 0, 0], features.logits)


def test_weights_from_a_file_keep_a_fresh_head(tiny_info, tmp_path):
    trained = timm.create_model("convnextv2_atto", num_classes=7)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    network = timm_network(tiny_info, name="convnextv2_atto", weights=tmp_path / "weights.pth").network
    heads = classifier_names(network)
    state = trained.state_dict()
    assert heads == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items() if k not in heads)


def test_unknown_name(tiny_info):
    with pytest.raises(ValueError, match=r"model.name: .*resnet81"):
        timm_network(tiny_info, name="resnet81")


def test_size_that_patches_do_not_divide(tiny_info):
    with pytest.raises(ValueError, match="size: 32 px are not divided by the patch of 14 px: use 28 or 42"):
        timm_network(tiny_info, name="vit_small_patch14_dinov2", size=32)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("xcit_nano_12_p16_224", 16),  # an int
        ("vit_tiny_patch16_224", 16),
        ("efficientvit_m0", 1),
        ("pvt_v2_b0", 1),  # 7 px every 4: any size is tiled
        ("hiera_tiny_224", 1),
        ("resnet18", 1),
    ],
)
def test_the_patches_that_must_tile_an_image(name, side):
    with torch.device("meta"):
        assert patch_side(timm.create_model(name)) == side


@pytest.mark.parametrize("name", ["xcit_nano_12_p16_224", "efficientvit_m0", "pvt_v2_b0", "pit_ti_224"])
def test_a_run_is_described_whatever_the_patches_are(tiny_info, name):
    spec = {"_target_": "kdbias.models.timm_network.timm_network", "name": name, "size": 64}
    assert describe_network(spec, tiny_info).info.classes == 10


def test_a_size_that_a_network_does_not_take_is_told_in_one_sentence(tiny_info):
    with pytest.raises(
        ValueError, match=r"^ByobNet cannot be read at 64x64 px \(.+\): give it the size it was made for"
    ):
        timm_network(tiny_info, name="halonet_h1", size=64)
