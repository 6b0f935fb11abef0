import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from kdbias.models import convnext
from kdbias.models.convnext import convnextv2_tiny
from kdbias.models.teacher import teacher_from_weights
from kdbias.models.weights import classifier_names

SPEC = {"_target_": "kdbias.models.convnext.convnextv2_tiny", "pretrained": "auto", "drop_path": 0.1}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A file in the layout of timm's ImageNet weights: a stem of 4×4 and 1,000 classes."""
    path = tmp_path_factory.mktemp("weights") / "convnextv2_tiny.safetensors"
    save_file(dict(timm.create_model("convnextv2_tiny").state_dict()), path)
    return path


def test_count_and_layers(tiny_info):
    with torch.device("meta"):
        extractor = convnextv2_tiny(tiny_info, pretrained=False)
    assert sum(p.numel() for p in extractor.parameters()) == 27_870_730
    assert [layer.grid for layer in extractor.info.layers] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert [layer.width for layer in extractor.info.layers] == [96, 192, 384, 768]
    assert (extractor.network.stem[0].kernel_size, extractor.network.stem[0].stride) == ((2, 2), (2, 2))


def test_imagenet_weights_from_a_file_behind_a_fresh_stem(tiny_info, imagenet):
    extractor = convnextv2_tiny(tiny_info, weights=imagenet)
    given = load_file(imagenet)
    own = extractor.network.state_dict()
    fresh = classifier_names(extractor.network) | set(convnext.STEM)
    assert all(torch.equal(value, given[name]) for name, value in own.items() if name not in fresh)
    assert own["stem.0.weight"].std() == pytest.approx(0.02, rel=0.1)
    assert not own["stem.0.bias"].any()


def test_logits_are_the_networks_own_and_a_trained_teacher_is_read_back(tiny_info, tmp_path):
    extractor = convnextv2_tiny(tiny_info, pretrained=False).eval().to(memory_format=torch.channels_last)
    image = torch.rand(2, 3, 32, 32)
    features = extractor(image)
    assert torch.equal(features.logits, extractor.network(extractor.prepare(image)))
    assert [tuple(t.shape) for t in features.tokens] == [(2, 256, 96), (2, 64, 192), (2, 16, 384), (2, 4, 768)]
    save_file({k: v.contiguous() for k, v in extractor.network.state_dict().items()}, tmp_path / "w.safetensors")
    teacher = teacher_from_weights(SPEC, tiny_info, tmp_path / "w.safetensors", "convnextv2")
    assert torch.equal(teacher(image).logits, features.logits)


def test_imagenet_weights_are_no_trained_teacher(tiny_info, imagenet):
    with pytest.raises(ValueError, match=r"teacher.weights: the weights classify 1000 classes, the data has 10"):
        teacher_from_weights(SPEC, tiny_info, imagenet, "convnextv2")
