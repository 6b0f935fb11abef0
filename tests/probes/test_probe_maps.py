"""Grad-CAM and feature maps."""

import numpy as np
import pytest
import torch

from kdbias.data.cues import cues
from kdbias.probes.feature_maps import FeatureMapsProbe
from kdbias.probes.gradcam import GradCAMProbe, spread
from kdbias.probes.gradcam_map import activation_map


def test_spread_of_known_maps():
    maps = torch.zeros(4, 8, 8)
    maps[0] = 0.3
    maps[1, 2:6, 2:6] = 1.0
    maps[2, 0, 0] = 1.0
    centre, entropy = spread(maps, (8, 8))
    assert centre[:3].tolist() == pytest.approx([0.25, 1.0, 0.0])
    assert entropy[:3].tolist() == pytest.approx([1.0, np.log(16) / np.log(64), 0.0])
    assert centre[3].isnan()
    assert entropy[3].isnan()
    fine = spread(maps[:1], (32, 32))
    assert (float(fine[0]), float(fine[1])) == pytest.approx((0.25, 1.0))


@pytest.mark.parametrize("target", ["answer", "class"])
def test_gradcam_shows_the_maps_of_the_first_images(target, tiny_cnn, images):
    source = cues(train=20, val=10, test=10)
    result = GradCAMProbe(source=source, images=20, shown=5, target=target)(tiny_cnn, images())
    image, classes = images(n=24, size=24)[0][:2]
    tiny_cnn.eval()
    expected = activation_map(tiny_cnn, image[:20], None if target == "answer" else classes[:20])
    np.testing.assert_allclose(result.arrays["map"], expected[:5], atol=1e-5)
    np.testing.assert_array_equal(result.arrays["answer"], tiny_cnn(image[:5]).logits.argmax(1))
    np.testing.assert_array_equal(result.arrays["target"], classes[:5])
    np.testing.assert_allclose(result.arrays["image"] / 255, image[:5].permute(0, 2, 3, 1), atol=0.5 / 255 + 1e-6)
    assert result.scalars["centre"] == pytest.approx(float(spread(expected, (32, 32))[0].nanmean()))
    assert result.meta["names"] == list(source.info.names)
    assert result.meta["n"] == 20


def test_norms_and_components_are_those_of_the_tokens(tiny_vit, images):
    result = FeatureMapsProbe(images=24, shown=2)(tiny_vit, images())
    image = images(n=24, size=24)[0].image
    tokens = tiny_vit.eval()(image).tokens
    contrast = [(norm := found.detach().norm(dim=-1)).std(1, correction=0) / norm.mean(1) for found in tokens]
    assert result.scalars["norm_contrast"] == pytest.approx(torch.stack(contrast).mean().item(), rel=1e-4)
    for layer, found in enumerate(tokens):
        norm = found.detach().norm(dim=-1)
        np.testing.assert_allclose(result.arrays[f"norm_{layer}"].reshape(2, 16), norm[:2], rtol=1e-4)
        components = result.arrays[f"components_{layer}"]
        assert components.shape == (2, 4, 4, 3)
        flat = found.detach().double().flatten(0, 1)
        values = torch.linalg.svdvals(flat - flat.mean(0)).square()
        np.testing.assert_allclose(result.arrays["explained"][layer], values[:3] / values.sum(), rtol=1e-4)
    assert result.scalars["explained_last"] == pytest.approx(result.arrays["explained"][-1].sum())
    assert result.arrays["depth"].tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_layers_of_a_cnn_have_their_own_grids(tiny_cnn, images):
    result = FeatureMapsProbe(shown=2)(tiny_cnn, images())
    assert [result.arrays[f"norm_{layer}"].shape for layer in range(3)] == [(2, 32, 32), (2, 16, 16), (2, 8, 8)]
