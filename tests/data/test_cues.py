import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from kdbias.config.build import build
from kdbias.data import cues_ground, cues_shapes, cues_textures
from kdbias.data.cues import PRESETS, cues
from kdbias.data.cues_render import draw, render

SPLITS = ("train", "val", "test")
VARIANTS = ("test", "shape", "texture", "conflict")


@pytest.fixture(scope="module")
def source():
    return cues(train=1_100, val=300, test=500, preset="demo")


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("name", "n"), [("train", 800), ("val", 300), ("test", 500)])
def test_split_gives_bytes_and_labels(source, name, n):
    image, label = source.split(name)
    assert image.shape == (n, 3, 32, 32)
    assert image.dtype == torch.uint8
    assert label.shape == (n,)
    assert label.dtype == torch.int64
    assert set(label.tolist()) == set(range(10))


def test_images_use_the_range_without_being_cut_off_by_it(source):
    image = source.split("train")[0]
    assert image.min() == 0
    assert image.max() == 255
    assert ((image == 0) | (image == 255)).float().mean() < 0.02


def test_classes_are_balanced(source):
    assert torch.bincount(source.split("test")[1]).tolist() == [50] * 10


def test_info_describes_the_training_images(source):
    info = source.info
    assert (info.channels, info.size, info.classes, info.train) == (3, 32, 10, 800)
    assert info.names[0] == "disc, fine stripes"
    assert len(set(info.names)) == 10
    every = cues(train=2_000, val=0, test=1, preset="demo")
    pixels = every.split("train")[0].double() / 255
    assert info.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-9)
    assert info.std == pytest.approx(pixels.std((0, 2, 3), unbiased=False).tolist(), abs=1e-9)
    assert every.info.mean == info.mean


def test_same_seed_same_images_and_another_seed_others(source):
    again, other = (cues(train=1_100, val=300, test=500, preset="demo", seed=seed) for seed in (0, 1))
    for name in SPLITS:
        assert same(source.split(name), again.split(name))
        assert not torch.equal(source.split(name)[0], other.split(name)[0])


def test_sizes_of_other_splits_change_no_image(source):
    other = cues(train=1_300, val=300, test=260, preset="demo")
    assert same(other.split("val"), source.split("val"))
    assert torch.equal(other.split("train")[0][:800], source.split("train")[0])
    assert torch.equal(other.split("test")[0], source.split("test")[0][:260])


def test_no_image_is_in_two_splits(source):
    rows = [row.numpy().tobytes() for name in SPLITS for row in source.split(name)[0]]
    assert len(set(rows)) == len(rows) == 1_600


@pytest.mark.parametrize("reliability", [0.0, 0.6, 1.0])
def test_reliability_is_how_often_a_cue_is_right(reliability):
    for key, other in (("shape", "texture"), ("texture", "shape")):
        knobs = {f"{key}_reliability": reliability, f"{other}_reliability": 1.0}
        made = cues(train=2_000, val=500, test=250, **knobs)
        label = torch.cat([made.split("val")[1], made.split("train")[1]])
        shown = made.training_cues()
        right = (getattr(shown, key) == label).double().mean().item()
        expected = reliability + (1 - reliability) / 10
        assert abs(right - expected) <= 4 * (expected * (1 - expected) / 2_000) ** 0.5
        assert torch.equal(getattr(shown, other), label)


def test_reliability_leaves_test_images_and_labels_alone():
    reliable, unreliable = (
        cues(train=500, val=100, test=250, shape_reliability=r, texture_reliability=r) for r in (1.0, 0.3)
    )
    assert same(reliable.split("test"), unreliable.split("test"))
    assert torch.equal(reliable.split("train")[1], unreliable.split("train")[1])
    assert not torch.equal(reliable.split("train")[0], unreliable.split("train")[0])


def test_presets_bring_their_own_reliability():
    balanced, demo = cues(), cues(preset="demo")
    assert (balanced.shape_reliability, balanced.texture_reliability) == (1.0, 1.0)
    assert (demo.shape_reliability, demo.texture_reliability) == (0.8, 0.8)
    assert cues(preset="demo", shape_reliability=0.0).shape_reliability == 0.0


def test_conflict_shows_two_classes_that_never_agree(source):
    _, shape, texture = source.variant("conflict", 2_000)
    assert (shape != texture).all()
    pairs = set(zip(shape.tolist(), texture.tolist(), strict=True))
    assert pairs == {(a, b) for a, b in product(range(10), repeat=2) if a != b}


def test_variants_say_which_cue_is_gone(source):
    label = source.split("test")[1]
    for name in VARIANTS:
        images = source.variant(name, 500)
        assert torch.equal(images.target, label)
        assert (images.shape == -1).all() == (name == "texture")
        assert (images.texture == -1).all() == (name == "shape")


@pytest.mark.parametrize(("start", "count"), [(0, 10), (240, 20), (250, 250), (249, 300), (500, 1)])
def test_images_from_any_number_on_are_those_of_the_whole(source, start, count):
    for name in VARIANTS:
        whole, part = source.variant(name, 600), source.variant(name, count, start)
        assert all(torch.equal(some, every[start : start + count]) for some, every in zip(part, whole, strict=True))


def test_variants_change_the_object_alone(source):
    clean = source.variant("test", 500).image
    for name in VARIANTS[1:]:
        untouched = (source.variant(name, 500).image == clean).all(1).double().mean((1, 2))
        assert untouched.min() > 0.25
        assert 0.5 < untouched.mean() < 0.95


def scene(n):
    drawn = draw(np.random.default_rng(0), n, PRESETS["demo"], 32)
    flat = drawn._replace(noise=np.zeros_like(drawn.noise), ground_contrast=np.zeros_like(drawn.radius))
    return flat._replace(shape_angle=np.zeros_like(flat.radius), radius=np.full_like(flat.radius, 9))


def test_plain_fill_leaves_no_texture():
    disc, plain = np.zeros(20, dtype=np.int64), np.full(20, -1)
    flat = scene(20)
    painted = render(flat, disc, plain)
    textured = render(flat, disc, np.arange(20) % 10)
    x, y = flat.centre_x.round().astype(int) + 16, flat.centre_y.round().astype(int) + 16
    for i in range(20):
        inside = np.s_[i, :, y[i] - 3 : y[i] + 3, x[i] - 3 : x[i] + 3]
        assert np.ptp(painted[inside], axis=(1, 2)).max() == 0
        assert np.ptp(textured[inside], axis=(1, 2)).min() > 0


def test_blobs_are_none_of_the_shapes():
    masks = cues_shapes.distances() < 0
    shapes, blobs = masks[:10, None], masks[None, 10:]
    overlap = (shapes & blobs).sum((2, 3)) / (shapes | blobs).sum((2, 3))
    assert overlap.max() < 0.9
    assert np.unique(masks.reshape(len(masks), -1), axis=0).shape[0] == 10 + cues_shapes.BLOBS


def test_outlines_have_one_area_and_centre():
    masks = cues_shapes.distances() < 0
    axis = (np.arange(cues_shapes.SIDE) + 0.5) / cues_shapes.SIDE * 2 * cues_shapes.EXTENT - cues_shapes.EXTENT
    covered = np.clip(0.5 - cues_shapes.distances() * 32, 0, 1)
    area = covered.mean((1, 2)) * (2 * cues_shapes.EXTENT) ** 2
    # An upright side is placed to 1/128 on each end of the bar's height of .8, the thinnest there is.
    assert area == pytest.approx(np.full(len(masks), cues_shapes.AREA), rel=2 / 128 / 0.8 + 0.005)
    for mask in masks:
        assert abs(axis[np.where(mask)[0]].mean()) < 0.02
        assert abs(axis[np.where(mask)[1]].mean()) < 0.02


def test_signed_distance_of_the_disc_is_the_closed_form():
    axis = (np.arange(128) + 0.5) / 32 - 2
    exact = np.hypot(axis[:, None], axis[None, :]) - (cues_shapes.AREA / np.pi) ** 0.5
    assert abs(cues_shapes.distances()[0] - exact).max() < 1 / 64


@pytest.mark.parametrize("tiles", [cues_textures.tiles(), cues_ground.tiles()], ids=["texture", "ground"])
def test_tiles_wrap_and_have_equal_moments(tiles):
    assert tiles.mean((1, 2)) == pytest.approx(np.zeros(len(tiles)), abs=1e-5)
    assert tiles.std((1, 2)) == pytest.approx(np.ones(len(tiles)), abs=1e-5)
    for axis in (1, 2):
        steps = abs(tiles - np.roll(tiles, 1, axis)).mean(3 - axis)
        assert (steps[:, 0] <= 1.2 * steps[:, 1:].max(1)).all()


def test_textures_are_told_apart_by_their_spectra():
    """The amplitude spectra, which do not depend on where a texture lies, correlate weakly between any two textures."""
    spectra = abs(np.fft.rfft2(cues_textures.tiles())).reshape(10, -1)
    likeness = np.corrcoef(spectra) - np.eye(10)
    assert likeness.max() < 0.6


@pytest.mark.parametrize("size", [16, 48])
def test_other_sizes_show_the_same_scene(source, size):
    other = cues(train=500, val=0, test=200, preset="demo", size=size)
    image, label = other.split("test")
    assert image.shape == (200, 3, size, size)
    assert other.info.size == size
    assert torch.equal(label, source.split("test")[1][:200])
    assert np.allclose(other.info.mean, source.info.mean, atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"preset": "hard"}, "^preset: "),
        ({"train": 100, "val": 100}, "^val: "),
        ({"test": 0}, "^test: "),
        ({"shape_reliability": 1.2}, "^shape_reliability: "),
        ({"texture_reliability": -0.1}, "^texture_reliability: "),
    ],
)
def test_errors_name_the_key(arguments, key):
    with pytest.raises(ValueError, match=key):
        cues(**arguments)


def test_config_builds_the_defaults():
    spec = OmegaConf.to_container(OmegaConf.load(Path(__file__).parents[2] / "conf/data/cues.yaml"))
    assert build(spec) == cues()


def test_a_tenth_of_the_images_takes_a_second_or_so():
    cues(train=250, val=0).split("train")
    start = time.process_time()
    cues(train=2_500, val=0, seed=1).split("train")
    assert time.process_time() - start < 3
