"""EfficientNet-Lite0 with its ImageNet weights from a file."""

import timm
import torch
from safetensors.torch import load_file
from torchvision.datasets import CIFAR10

from kdbias.models.timm_network import timm_network


def build(info, shared_weights, **settings):
    path = shared_weights / "tf_efficientnet_lite0_imagenet.safetensors"
    return timm_network(info, name="tf_efficientnet_lite0", weights=path, **{"size": 96, **settings})


def test_input_and_weights(tiny_info, shared_weights):
    extractor = build(tiny_info, shared_weights)
    given = load_file(shared_weights / "tf_efficientnet_lite0_imagenet.safetensors")
    own = extractor.network.state_dict()
    assert extractor.info.classes == 10
    assert all(torch.equal(own[name], value) for name, value in given.items() if not name.startswith("classifier."))
    flat = extractor.prepare(torch.full((1, 3, 32, 32), 0.75))
    torch.testing.assert_close(flat, torch.full((1, 3, 96, 96), 0.5))
    assert [layer.grid for layer in extractor.info.layers] == [(48, 48), (24, 24), (12, 12), (6, 6), (3, 3)]
    assert sum(p.numel() for p in extractor.parameters()) == 3_383_818


def test_features_are_those_of_timm(tiny_info, shared_weights):
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    path = shared_weights / "tf_efficientnet_lite0_imagenet.safetensors"
    reference.load_state_dict(load_file(path), strict=False)
    extractor = build(tiny_info, shared_weights, frozen=True).train()
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        pooled = reference.forward_head(reference.forward_features(extractor.prepare(image)), pre_logits=True)
    assert torch.equal(extractor(image).pooled, pooled)


def test_its_frozen_features_tell_the_classes(tiny_info, shared_weights, shared_data):
    """Ridge regression on the pooled features of 200 images, judged on 100; chance is .1."""
    extractor = build(tiny_info, shared_weights, size=64, frozen=True).eval().to(memory_format=torch.channels_last)

    def read(train, count):
        source = CIFAR10(str(shared_data), train=train)
        images = torch.from_numpy(source.data[:count]).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            found = torch.cat([extractor(x).pooled for x in images.split(50)])
        return found.double(), torch.tensor(source.targets[:count])

    (x, y), (x_test, y_test) = read(True, 200), read(False, 100)
    center = x.mean(0)
    gram = (x - center) @ (x - center).T + 50 * torch.eye(len(x), dtype=torch.float64)
    weights = torch.linalg.solve(gram, torch.nn.functional.one_hot(y, 10).double() - 0.1)
    scores = (x_test - center) @ (x - center).T @ weights
    assert (scores.argmax(1) == y_test).double().mean() > 0.4
