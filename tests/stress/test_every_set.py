"""What every shipped stress set keeps: the clean image at strength 0, the same bytes twice, the label, the image."""

from importlib.util import find_spec

import numpy as np
import pytest
from sets import CHANGES, grey, made, pixels

from kdbias.stress.stress_set import generator

UNORDERED = ("frost", "elastic_transform", "saturate")
"""Whose published parameters do not order the mean change of a pixel."""
COVERED = {"fog": 0.2}
"""The strength at which the image is still what one sees most."""


@pytest.fixture(scope="module")
def drawn():
    return pixels(100)


def bound(name, images, labels):
    if name == "frost" and find_spec("imagecorruptions") is None:
        pytest.skip("the photographs of frost are an extra")
    found = made(name)
    if found.refuses(images.shape[1], images.shape[3]):
        return None
    return found.bind(images, labels)


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_a_pure_function_that_begins_at_the_clean_image(name, drawn):
    for images in (drawn[0][:12], grey(drawn[0][:12])):
        labels = drawn[1][:12]
        stress = bound(name, images, labels)
        if stress is None:
            assert images.shape[3] == 1
            continue
        before = images.copy()
        full = []
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            first, second = (stress(image, int(label), 1.0, generator(stress, 0, index)) for _ in range(2))
            assert first.dtype == np.uint8
            assert first.shape == image.shape
            np.testing.assert_array_equal(first, second)
            clean = stress(image, int(label), 0.0, generator(stress, 0, index))
            np.testing.assert_array_equal(clean, image)
            assert not np.shares_memory(clean, image)
            full.append(first)
        np.testing.assert_array_equal(images, before)
        assert (np.stack(full) != images).any()


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in UNORDERED])
def test_less_strength_changes_less(name, drawn):
    images, labels = drawn[0][:30], drawn[1][:30]
    stress = bound(name, images, labels)
    away = {}
    for strength in (0.4, 1.0):
        away[strength] = np.mean(
            [
                np.abs(stress(image, int(label), strength, generator(stress, 0, index)).astype(float) - image).mean()
                for index, (image, label) in enumerate(zip(images, labels, strict=True))
            ]
        )
    assert 0 < away[0.4] < away[1.0]


@pytest.mark.parametrize("name", CHANGES)
def test_a_stressed_image_is_nearest_to_its_own_source_among_a_hundred(name, drawn):
    stress = bound(name, *drawn)
    if not stress.aligned:
        pytest.skip("it moves the parts of the image")
    right = 0
    shown = slopes if name == "shape" else lambda images: images
    flat = structure(shown(drawn[0]))
    for index, (image, label) in enumerate(zip(*drawn, strict=True)):
        made_of_it = structure(stress(image, int(label), COVERED.get(name, 1.0), generator(stress, 0, index))[None])
        right += int((flat @ made_of_it[0]).__abs__().argmax()) == index
    assert right >= 95


def slopes(images):
    """Where an image has contours: the size of its gradient."""
    down, right = np.gradient(images.astype(np.float64).mean(3), axis=(1, 2))
    return np.hypot(down, right)[..., None]


def structure(images):
    """The images' luminance without its mean, at length 1."""
    found = images.astype(np.float64).mean(3).reshape(len(images), -1)
    found -= found.mean(1, keepdims=True)
    return found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)


@pytest.mark.parametrize("name", CHANGES)
def test_another_seed_or_place_draws_anew_where_anything_is_drawn(name, drawn):
    images, labels = drawn[0][:8], drawn[1][:8]
    stress = bound(name, images, labels)
    draws = {
        stress(images[0], int(labels[0]), 1.0, generator(stress, seed, index)).tobytes()
        for seed, index in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    assert len(draws) == 1 or len(draws) >= 3  # of few donors the same may be drawn
    probe = generator(stress, 0, 0)
    state = probe.bit_generator.state, probe.bit_generator.seed_seq.n_children_spawned
    stress(images[0], int(labels[0]), 1.0, probe)
    used = (probe.bit_generator.state, probe.bit_generator.seed_seq.n_children_spawned) != state
    assert len(draws) == 1 or used


def test_a_strength_outside_is_refused(drawn):
    stress = made("noise")
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strengths"):
            stress(drawn[0][0], 0, strength, generator(stress, 0, 0))
