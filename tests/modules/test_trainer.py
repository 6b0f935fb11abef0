"""What the trainer does to a network before it is spread over processes."""

import timm
import torch
from torch import nn

from kdbias.modules.trainer import SyncedBatchNorm


def test_synced_batchnorm_keeps_the_activations_inside_of_timms_layers():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        converted = SyncedBatchNorm().apply(network).eval()
        assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
        assert torch.equal(converted(images), expected)
