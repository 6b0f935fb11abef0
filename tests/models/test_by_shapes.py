"""A network whose forward pass computes with values cannot be described on torch's meta device, and says so."""

import pytest
import timm
import torch
from config_base import assert_named_once

from kdbias.config import conf
from kdbias.models.layout import survey

WORDS = ("its forward pass computes with the values of tensors", "choose another network")


class ByValues(torch.nn.Module):
    """Reads the side of its grid out of a tensor."""

    def forward_intermediates(self, image):
        side = int(image.amax().item()) + 1
        return image, [image[..., :side, :side]]

    def forward_head(self, x, pre_logits=False):
        return x.mean((2, 3))

    def get_classifier(self):
        return torch.nn.Identity()


def test_it_is_refused_by_what_keeps_it_out():
    with pytest.raises(ValueError, match="ByValues cannot be used here") as caught:
        survey(ByValues(), torch.zeros(1, 3, 8, 8, device="meta"))
    assert all(word in str(caught.value) for word in WORDS)
    assert "the size it was made for" not in str(caught.value)


@pytest.mark.skipif(not timm.is_model("gemma4_vit_167m"), reason="this timm has no Gemma 4")
def test_the_check_refuses_gemma_before_training():
    conf.register()
    model = {"_target_": "kdbias.models.timm_network.timm_network", "name": "gemma4_vit_167m", "size": 96}
    assert_named_once({"model": model}, "model", WORDS)
