"""What the trainer does to a network before it is spread over processes, and what it shows."""

import pytest
import timm
import torch
from lightning.pytorch.callbacks import ProgressBar
from torch import nn

from kdbias.callbacks.progress import progress
from kdbias.modules.trainer import SyncedBatchNorm, trainer


def test_synced_batchnorm_keeps_the_activations_inside_of_timms_layers():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        converted = SyncedBatchNorm().apply(network).eval()
        assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
        assert torch.equal(converted(images), expected)


@pytest.mark.parametrize(("callbacks", "bars"), [([], 0), ([progress(style="lines")], 1), ([progress(style="bar")], 1)])
def test_a_run_without_the_callback_progress_shows_no_bar(tmp_path, callbacks, bars):
    found = trainer(run=str(tmp_path), epochs=1, callbacks=callbacks, loggers=[], accelerator="cpu")
    assert sum(isinstance(one, ProgressBar) for one in found.callbacks) == bars
