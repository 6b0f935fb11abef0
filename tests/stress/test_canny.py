"""Contours equal those of scikit-image, pixel for pixel."""

import numpy as np
import pytest
from sets import pixels
from skimage.feature import canny as reference

from kdbias.stress.canny import canny
from kdbias.stress.grey import luminance
from kdbias.stress.shape import contours, enlarged


@pytest.mark.parametrize("sigma", [0.7, 2.0, 3.0])
def test_contours_of_images_are_those_of_scikit_image(sigma):
    for image in pixels(12)[0]:
        large = luminance(enlarged(image))[..., 0]
        np.testing.assert_array_equal(canny(large, sigma), reference(large, sigma=sigma))
        assert canny(large, sigma).any()


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (5, 4), (20, 33)])
def test_contours_of_noise_and_of_steps_are_those_of_scikit_image(shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        noise = rng.integers(0, 256, shape, np.uint8)
        for image in (noise, noise // 128 * 255, np.zeros_like(noise)):  # steps have ties and straight gradients
            np.testing.assert_array_equal(canny(image, 0.6), reference(image, sigma=0.6))


def test_an_image_of_one_colour_has_none():
    assert (contours(np.full((8, 8, 3), 90, np.uint8), 2.0) == 255).all()
