"""Stress sets on batches: the values of the sets on one image, and draws that are each image's own."""

import numpy as np
import pytest
import torch
from sets import NODES, pixels

from kdbias.config.build import build
from kdbias.data.streams import Stream, image_keys
from kdbias.stress.batched import changed
from kdbias.stress.cells import cut
from kdbias.stress.draws import normals, uniforms
from kdbias.stress.noise import Noise
from kdbias.stress.rotate import Rotate
from kdbias.stress.scramble import Scramble
from kdbias.stress.stress_set import generator

IMAGES = pixels(40)[0]
TENSOR = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous()
KEYS = image_keys(Stream.STRESS, 0, 0, np.arange(40))
BATCHED = ["grey", "noise", "rotate", "scramble", "scramble_grey", "smooth", "smooth_grey", "smooth_scramble"]
FIXED = {
    "smooth": {},
    "wide smooth": {"diameter": 9, "colour_sigma": 40.0, "space_sigma": 2.0},
    "gaussian smooth": {"filter": "gaussian", "sigma": 1.5},
    "huge gaussian smooth": {"filter": "gaussian", "sigma": 12.0},
    "noise": {},
    "noise elsewhere": {"place": "random", "window": 5, "pattern_seed": 3},
    "noise everywhere": {"window": None},
}


def made(name, **settings):
    return build(NODES[name] | settings, group="stress")


def arrays(image):
    return image.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("strength", [0.35, 1.0])
@pytest.mark.parametrize("name", FIXED)
def test_a_set_without_draws_is_that_of_single_images_bit_for_bit(name, strength):
    shipped = name.split()[-1] if name.split()[-1] in NODES else name.split()[0]
    stress, before = made(shipped, **FIXED[name]), TENSOR.clone()
    expected = [stress(image, 0, strength, generator(stress, 0, i)) for i, image in enumerate(IMAGES)]
    np.testing.assert_array_equal(arrays(changed(stress, TENSOR, strength, KEYS)), expected)
    assert torch.equal(TENSOR, before)


def test_grey_is_that_of_single_images_but_for_ties_of_rounding():
    """A matrix product rounds the luminance of a tie, half a level, up or down."""
    expected = np.stack([made("grey")(image, 0, 1.0, generator(made("grey"), 0, 0)) for image in IMAGES]).astype(int)
    apart = np.abs(arrays(changed(made("grey"), TENSOR, 1.0, KEYS)) - expected)
    ties = (IMAGES.astype(int) @ [299, 587, 114]) % 1000 == 500
    assert not apart[~ties].any()
    assert apart.max() <= 1
    assert ties.mean() < 0.01


@pytest.mark.parametrize("name", BATCHED)
def test_what_an_image_becomes_does_not_depend_on_its_batch(name):
    stress, before = made(name), TENSOR.clone()
    whole = changed(stress, TENSOR, 0.5, KEYS)
    rows = np.array([31, 4, 4, 17])
    assert torch.equal(changed(stress, TENSOR[rows], 0.5, KEYS[rows]), whole[rows])
    assert torch.equal(TENSOR, before)
    assert not torch.equal(whole, TENSOR)


def test_only_these_take_batches():
    few = {name for name in NODES if name not in ("folder", "frost")}
    assert sorted(name for name in few if changed(made(name), TENSOR[:1], 1.0, KEYS[:1]) is not None) == BATCHED


@pytest.mark.parametrize("kind", [Scramble, Rotate])
def test_cells_are_kept_and_a_growing_share_changes(kind):
    images, shares = np.tile(IMAGES, (5, 1, 1, 1)), []
    keys = image_keys(Stream.STRESS, 0, 0, np.arange(len(images)))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    moved_before = np.zeros((len(images), 64), bool)
    for strength in (0.25, 0.5, 1.0):
        found = arrays(changed(kind(8), tensor, strength, keys))
        np.testing.assert_array_equal(np.sort(found.reshape(len(images), -1)), np.sort(images.reshape(len(images), -1)))
        pairs = zip(found, images, strict=True)
        moved = np.stack([(cut(new, 8) != cut(old, 8)).any((1, 2, 3)) for new, old in pairs])
        assert moved.sum(1).max() <= strength * 64
        shares.append(moved.mean())
        if kind is Rotate:  # a cell keeps its turn; the part of scramble that changes grows, its order does not stay
            assert (moved | ~moved_before).all()
        moved_before = moved
    assert shares == sorted(set(shares))


def test_all_orders_of_scramble_and_turns_of_rotate_are_equally_likely():
    keys = image_keys(Stream.STRESS, 0, 0, np.arange(4800))
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 2, 2).expand(4800, 1, 2, 2)
    counts = changed(Scramble(2), image, 1.0, keys).flatten(1).unique(dim=0, return_counts=True)[1].numpy()
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 49.7  # chi-squared of 23 degrees of freedom, p = .001
    cells = image[:, :, None, :, None, :].expand(4800, 1, 2, 2, 2, 2).reshape(4800, 1, 4, 4)
    turned = changed(Rotate(2), cells, 1.0, keys)[:, 0, :2, :2].flatten(1).unique(dim=0, return_counts=True)[1].numpy()
    assert len(turned) == 4
    assert ((turned - 1200) ** 2 / 1200).sum() < 16.3  # 3 degrees of freedom, p = .001


def test_noise_of_each_image_has_its_own_window_and_values():
    grey = torch.full((400, 3, 16, 16), 128, dtype=torch.uint8)
    keys = image_keys(Stream.STRESS, 0, 0, np.arange(400))
    own = Noise(window=5, sigma=0.1, pattern="per_image", place="random")
    apart = changed(own, grey, 1.0, keys).double() - 128
    touched = (apart != 0).any(1)
    assert apart.flatten().square().sum().div(400 * 75).sqrt().item() == pytest.approx(25.5, rel=0.03)
    tops = touched.any(2).int().argmax(1)
    assert set(tops.tolist()) == set(range(12))
    assert (touched.any(1).sum(1) <= 5).all()
    centre = changed(Noise(window=5, sigma=0.1, pattern="per_image"), grey, 1.0, keys)
    assert (centre[:, :, :5] == 128).all()
    assert len(centre.flatten(1).unique(dim=0)) == 400


def test_permuted_channels_have_an_order_that_differs():
    image = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 3, 1, 1).expand(200, 3, 1, 1)
    keys = image_keys(Stream.STRESS, 0, 0, np.arange(200))
    found = {tuple(row) for row in changed(made("grey", way="permute"), image, 1.0, keys).flatten(1).tolist()}
    assert len(found) == 5
    assert (1, 2, 3) not in found


def test_draws_are_uniform_and_normal_and_differ_by_epoch():
    keys = image_keys(Stream.STRESS, 1, 0, np.arange(20_000))
    assert len(np.unique(keys)) == 20_000
    assert not np.intersect1d(keys, image_keys(Stream.STRESS, 1, 1, np.arange(20_000))).size
    for row in uniforms(keys, 3).T:
        assert np.histogram(row, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=5 * 42)
    assert abs(np.corrcoef(uniforms(keys, 3).T) - np.eye(3)).max() < 0.03
    found = normals(keys, 3)
    assert found.shape == (20_000, 3)
    assert (found.mean(), found.std()) == pytest.approx((0, 1), abs=0.02)
