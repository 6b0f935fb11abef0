import numpy as np
import pytest
import torch
from toy_networks import one_convolution

from kdbias.probes.receptive_field import ReceptiveFieldProbe


@pytest.fixture
def box(images):
    """One channel of a 3×3 convolution whose weights are given for each of its nine places."""

    def measure(weights, width=1, **settings):
        network = one_convolution(width=width, kernel=3)
        with torch.no_grad():
            network.network.conv.weight.copy_(torch.as_tensor(weights, dtype=torch.float32).expand(width, 3, 3, 3))
        return ReceptiveFieldProbe(**settings)(network, images())

    return measure


def test_radius_of_a_convolution_is_known(box):
    result = box(torch.ones(3, 3))
    expected = np.zeros((32, 32))
    expected[15:18, 15:18] = 1 / 9
    np.testing.assert_allclose(result.arrays["energy"][0], expected, rtol=1e-5)
    assert result.arrays["radius"].tolist() == [1.0]  # 1/9 at the centre, 5/9 within one pixel
    assert box(torch.ones(3, 3), share=0.6).scalars["radius_last"] == pytest.approx(2**0.5, abs=1e-5)
    assert result.arrays["curve"][0, :4] == pytest.approx([1 / 9, 1 / 9, 5 / 9, 1.0])
    assert result.arrays["radii"][:4].tolist() == [0.0, 0.5, 1.0, 1.5]
    peaked = torch.ones(3, 3)
    peaked[1, 1] = 3.0  # 9 of 17
    assert box(peaked).scalars["radius_last"] == 0
    assert box(peaked).scalars["magnitude_radius_last"] == 1  # 3 of 11, then 7


def test_energy_is_the_squared_weight(box):
    weights = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]])
    energy = box(weights).arrays["energy"][0, 15:18, 15:18]
    np.testing.assert_allclose(energy, (weights.square() / 30).numpy(), rtol=1e-5)


def test_random_signs_estimate_the_whole_jacobian(images):
    network = one_convolution(width=6, kernel=3)
    weight = network.network.conv.weight.detach()
    exact = weight.square().sum((0, 1)) / weight.square().sum()
    many = ReceptiveFieldProbe(images=24, draws=100)(network, images()).arrays["energy"][0, 15:18, 15:18]
    one = ReceptiveFieldProbe(images=1, draws=1)(network, images()).arrays["energy"][0, 15:18, 15:18]
    assert np.abs(many - exact.numpy()).max() < 0.02
    assert np.abs(one - exact.numpy()).max() > 0.02


def test_uniform_radius_and_deeper_layers_see_more(tiny_cnn, tiny_vit, images):
    for network, layers in ((tiny_cnn, 3), (tiny_vit, 3)):
        result = ReceptiveFieldProbe()(network, images())
        assert result.arrays["energy"].shape == (layers, 32, 32)
        np.testing.assert_allclose(result.arrays["energy"].sum((1, 2)), 1.0, rtol=1e-5)
        assert result.scalars["radius_uniform"] == pytest.approx(np.sqrt(512 / np.pi), abs=0.05)
        beyond = result.arrays["energy"].copy()
        beyond[:, 16:24, 16:24] = 0  # the patch of the tiny ViT's central token
        first, last = beyond[0].sum(), beyond[-1].sum()
        assert last > first > 0
        if network is tiny_cnn:
            assert result.scalars["radius_last"] > 1.5 * result.scalars["radius_first"]
        else:
            assert last > 1.5 * first
        assert len(result.meta["layers"]) == len(result.meta["grids"]) == layers


def test_a_token_that_sees_nothing_is_an_error(box):
    with pytest.raises(ValueError, match="does not depend on the image"):
        box(torch.zeros(3, 3))


def test_gradients_take_the_explicit_path_on_a_cpu(tiny_vit, images):
    fused = []
    tiny_vit.network.blocks[0].attn.register_forward_pre_hook(lambda module, _: fused.append(module.fused_attn))
    ReceptiveFieldProbe()(tiny_vit, images(n=4))
    assert fused == [False]
