"""Scramble, rotate, noise, grey, smooth and chains against closed forms and slow definitions."""

import numpy as np
import pytest
import torch
from PIL.Image import Resampling
from sets import made, pixels

from kdbias.functional.shuffle import shuffle_patches
from kdbias.stress.cells import cut, joined
from kdbias.stress.chain import Chain
from kdbias.stress.grey import Grey
from kdbias.stress.noise import Noise
from kdbias.stress.rotate import Rotate
from kdbias.stress.scramble import Scramble
from kdbias.stress.smooth import Smooth, bilateral, gaussian, resized
from kdbias.stress.stress_set import StressSet, blend, generator

IMAGE = pixels(1)[0][0]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("grid", [2, 4, 8])
def test_scramble_moves_patches_as_the_shuffle_probe_does(grid):
    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(32, 32, 3) % 251
    image = image.astype(np.uint8)
    twin = rng()
    places = np.sort(twin.permutation(grid * grid))
    order = twin.permutation(places)
    expected = shuffle_patches(torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(order)[None])[0]
    np.testing.assert_array_equal(Scramble(grid)(image, 0, 1.0, rng()), expected.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(joined(cut(image, grid), grid), image)


def test_scramble_and_rotate_keep_pixels_and_change_a_share_that_grows():
    for stress in (Scramble(8), Rotate(8)):
        changed = []
        for strength in (0.25, 0.5, 1.0):
            found = stress(IMAGE, 0, strength, rng(3))
            np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(IMAGE, axis=None))
            cells = (cut(found, 8) != cut(IMAGE, 8)).any((1, 2, 3))
            assert cells.sum() <= strength * 64
            changed.append(int(cells.sum()))
        assert changed == sorted(set(changed))


def test_all_orders_of_scramble_are_equally_likely():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    found = [tuple(Scramble(2)(image, 0, 1.0, rng(seed)).ravel()) for seed in range(2400)]
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 100) ** 2 / 100).sum() < 49.7  # chi-squared of 23 degrees of freedom, p = .001


def test_rotate_turns_each_cell_by_each_angle_equally_often():
    cell = np.array([[0, 1], [2, 3]], np.uint8)
    image = np.tile(cell, (2, 2))[..., None]
    turned = np.concatenate([cut(Rotate(2)(image, 0, 1.0, rng(seed)), 2)[..., 0] for seed in range(500)])
    shares = [(turned == np.rot90(cell, k)).all((1, 2)).mean() for k in range(4)]
    assert sum(shares) == pytest.approx(1)
    assert np.allclose(shares, 0.25, atol=0.04)  # three standard errors


@pytest.mark.parametrize(("size", "says"), [(28, "2, 4, 7, 14"), (31, "")])
def test_a_grid_that_does_not_divide_is_refused_by_name(size, says):
    for stress in (Scramble(8), Rotate(8)):
        assert "do not divide" in stress.refuses(size, 1)
        assert says in stress.refuses(size, 1)
    with pytest.raises(ValueError, match="grid: must be a whole number of at least 2, got 1"):
        Scramble(1)


def test_noise_is_the_same_everywhere_only_if_its_pattern_is_fixed():
    grey = np.full((64, 64, 3), 128, np.uint8)
    fixed = Noise(window=31, sigma=0.1)
    first, second = (fixed(grey, 0, 1.0, rng(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first, second)
    changed = first.astype(int) - 128
    inside = changed[16:47, 16:47]
    assert np.delete(np.delete(changed, np.s_[16:47], 0), np.s_[16:47], 1).any() == 0
    assert (changed != 0).sum() == (inside != 0).sum()
    assert inside.std() == pytest.approx(25.5, rel=0.05)
    half = fixed(grey, 0, 0.5, rng()).astype(int) - 128
    assert np.abs(half[16:47, 16:47] - inside / 2).max() <= 1
    own = Noise(window=None, sigma=0.1, pattern="per_image")
    assert (own(grey, 0, 1.0, rng(0)) != own(grey, 0, 1.0, rng(1))).mean() > 0.9
    assert "stress.noise.window" in Noise(window=33).refuses(32, 3)


def test_grey_is_the_luminance_and_permute_an_order_that_differs():
    pure = np.eye(3, dtype=np.uint8)[None] * 200
    np.testing.assert_array_equal(Grey()(pure, 0, 1.0, rng())[0, :, 0], [60, 117, 23])
    half = Grey()(pure, 0, 0.5, rng())[0, 0]
    np.testing.assert_array_equal(half, [130, 30, 30])
    orders = {tuple(Grey("permute")(np.array([[[1, 2, 3]]], np.uint8), 0, 1.0, rng(s)).ravel()) for s in range(60)}
    assert len(orders) == 5
    assert (1, 2, 3) not in orders
    assert "one channel" in Grey().refuses(28, 1)


def slow_bilateral(image, diameter, colour_sigma, space_sigma):
    radius = diameter // 2
    height, width, _ = image.shape
    found = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            total, weights = 0.0, 0.0
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if dy * dy + dx * dx > radius * radius:
                        continue
                    v, u = mirrored(y + dy, height), mirrored(x + dx, width)
                    apart = np.abs(image[v, u].astype(float) - image[y, x]).sum()
                    weight = np.exp(-(apart**2) / 2 / colour_sigma**2 - (dy * dy + dx * dx) / 2 / space_sigma**2)
                    total, weights = total + weight * image[v, u], weights + weight
            found[y, x] = total / weights
    return found


def mirrored(place, side):
    place = abs(place)
    return 2 * (side - 1) - place if place >= side else place


def test_the_filters_equal_their_definitions():
    image = IMAGE[:12, :13]
    np.testing.assert_allclose(bilateral(image, 5, 100, 3), slow_bilateral(image, 5, 100, 3), atol=0.51)
    np.testing.assert_allclose(bilateral(image, 5, 1e9, 1e9), slow_bilateral(image, 5, 1e9, 1e9), atol=0.51)
    point = np.zeros((9, 9, 1), np.uint8)
    point[4, 4] = 255
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    weights /= weights.sum()
    np.testing.assert_allclose(gaussian(point, 1.0, 5)[2:7, 2:7, 0], 255 * np.outer(weights, weights), atol=0.51)


def test_a_bilateral_filter_keeps_the_edge_that_a_gaussian_blurs():
    edge = np.zeros((16, 16, 1), np.uint8)
    edge[:, 8:] = 255
    np.testing.assert_array_equal(Smooth(diameter=5, colour_sigma=20)(edge, 0, 1.0, rng()), edge)
    blurred = Smooth(filter="gaussian", sigma=1.0)(edge, 0, 1.0, rng())
    assert 60 < blurred[8, 7, 0] < 110


def test_the_protocol_at_224_px_filters_there_and_so_does_less_to_a_small_image():
    stress = {protocol: Smooth(protocol=protocol, diameter=9, colour_sigma=140.0) for protocol in ("own", "burgert")}
    large = resized(IMAGE, (224, 224), Resampling.BILINEAR)
    there_and_back = resized(large, (32, 32), Resampling.BOX)
    filtered = resized(bilateral(large, 9, 140.0, 75.0), (32, 32), Resampling.BOX)
    found = stress["burgert"](IMAGE, 0, 1.0, rng())
    np.testing.assert_array_equal(found, filtered)
    away = np.abs(found.astype(float) - there_and_back).mean()
    assert away < np.abs(stress["own"](IMAGE, 0, 1.0, rng()).astype(float) - IMAGE).mean() / 3


def test_a_chain_is_its_parts_in_order_with_draws_of_their_own():
    chain = Chain([{"_target_": "kdbias.stress.scramble.Scramble", "grid": 4}, Grey()])
    first, second = generator(chain, 0, 5).spawn(2)
    expected = Grey()(Scramble(4)(IMAGE, 0, 1.0, first), 0, 1.0, second)
    np.testing.assert_array_equal(chain(IMAGE, 0, 1.0, generator(chain, 0, 5)), expected)
    assert "one channel" in chain.refuses(28, 1)
    with pytest.raises(ValueError, match="two parts"):
        Chain([Grey()])


def test_a_blend_is_exact_at_its_ends():
    other = 255 - IMAGE
    assert blend(IMAGE, other, 0) is IMAGE
    assert blend(IMAGE, other, 1) is other
    assert np.abs(blend(IMAGE, other, 0.5).astype(float) - 127.5).max() <= 0.5


def test_a_set_is_frozen_and_named_by_its_yaml():
    assert isinstance(made("noise"), StressSet)
    with pytest.raises(AttributeError):
        made("noise").sigma = 2
