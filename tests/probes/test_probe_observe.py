import numpy as np
import pytest
import torch

from kdbias.models.attention_path import attention_modules
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Result
from kdbias.probes.cka import CKAProbe
from kdbias.probes.observe import observe


class Failing:
    """A probe that fails at one of the places where it is asked."""

    name, precision, maps = "failing", "fp32", True

    def __init__(self, place=""):
        self.place = place

    def observer(self, reader):
        self.at("observer")
        return self

    def see(self, batch, features):
        self.at("see")

    def attention(self, layer, maps):
        self.at("attention")

    def result(self):
        self.at("result")
        return Result(self.name, {})

    def at(self, place):
        assert not torch.is_grad_enabled()
        if place == self.place:
            raise KeyError(place)


def state(network):
    modules = list(network.modules())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    paths = [m.fused_attn for m in attention_modules(network)]
    grads = [(p.requires_grad, p.grad) for p in network.parameters()]
    return [m.training for m in modules], hooks, paths, grads, torch.is_grad_enabled()


def passes(network):
    """Count the batches that the network reads."""
    count = []
    network.network.patch_embed.register_forward_hook(lambda *_: count.append(1))
    return count


def test_probes_share_one_pass_and_give_what_each_gives_alone(tiny_vit, images):
    probes = {"attention": AttentionProbe(), "cka": CKAProbe(), "cls": CKAProbe(tokens="cls")}
    alone = {key: probe(tiny_vit, images()) for key, probe in probes.items()}
    count = passes(tiny_vit)
    together = observe(tiny_vit, images(), probes)
    assert len(count) == 3
    assert list(together) == list(probes)
    for key, result in together.items():
        assert result.meta == alone[key].meta
        for name, array in result.arrays.items():
            np.testing.assert_allclose(array, alone[key].arrays[name], atol=1e-5)
    np.testing.assert_array_equal(together["attention"].arrays["distance"], alone["attention"].arrays["distance"])


@pytest.mark.parametrize("place", ["", "observer", "see", "attention", "result"])
def test_nothing_is_left_behind_also_after_an_error(tiny_vit, images, place):
    tiny_vit.train()
    tiny_vit.network.blocks[1].eval()  # a mode of its own
    for flag, module in zip((True, False, True), attention_modules(tiny_vit), strict=True):
        module.fused_attn = flag
    before = state(tiny_vit)
    probes = {"a": AttentionProbe(), "b": CKAProbe(), "c": Failing(place)}
    if place:
        with pytest.raises(KeyError, match=place):
            observe(tiny_vit, images(), probes)
    else:
        observe(tiny_vit, images(), probes)
    assert state(tiny_vit) == before


def test_maps_of_a_network_that_an_observer_runs_are_nobodys(tiny_vit, images):
    """CKA of a network with itself reads it twice a batch, once mirrored."""
    batches = [batch._replace(teacher_image=batch.image.flip(-1)) for batch in images()]
    found = observe(tiny_vit, batches, {"attention": AttentionProbe(), "cka": CKAProbe(other=tiny_vit)})
    alone = AttentionProbe()(tiny_vit, batches)
    np.testing.assert_array_equal(found["attention"].arrays["distance"], alone.arrays["distance"])
    assert found["attention"].meta["n"] == 24


def test_without_a_wish_for_maps_the_fused_path_stays(tiny_vit, images):
    paths = []
    attention = tiny_vit.network.blocks[0].attn
    attention.register_forward_pre_hook(lambda module, inputs: paths.append(module.fused_attn))
    observe(tiny_vit, images(n=8), {"cka": CKAProbe()})
    assert paths == [True]


def test_what_cannot_be_one_pass_is_said(tiny_vit, images):
    with pytest.raises(ValueError, match="one precision, got bf16 and fp32: run them apart"):
        observe(tiny_vit, images(), {"a": CKAProbe(), "b": AttentionProbe(precision="bf16")})
    for probe in (CKAProbe(), AttentionProbe()):
        with pytest.raises(ValueError, match="no images to probe with"):
            probe(tiny_vit, [])
    assert observe(tiny_vit, images(), {}) == {}


def test_bf16_is_of_the_passes_alone(tiny_vit, images):
    seen = []

    class Looking(Failing):
        def see(self, batch, features):
            seen.append((features.logits.dtype, torch.is_autocast_enabled("cpu")))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        for precision in ("fp32", "bf16"):
            probe = Looking()
            probe.precision = precision
            observe(tiny_vit, images(n=8), {"x": probe})
    assert seen == [(torch.float32, False), (torch.bfloat16, False)]
