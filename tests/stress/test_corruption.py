"""The corruptions of CIFAR-10-C: their published parameters, and each effect against a closed form."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from sets import NODES, pixels

from kdbias.stress import corruption_blur, corruption_digital, corruption_frost, corruption_noise, corruption_weather
from kdbias.stress.corruption import COLOURED, COMMON, EVERY, EXTRA, Corruption
from kdbias.stress.corruption_blur import disc, enlarged, moved
from kdbias.stress.corruption_weather import equalised, plasma

IMAGES = pixels(20)[0]
GREY = np.full((32, 32, 3), 128, np.uint8)
PUBLISHED = {
    (corruption_noise, "GAUSSIAN"): ".04 .06 .08 .09 .10",
    (corruption_noise, "SHOT"): "500 250 100 75 50",
    (corruption_noise, "IMPULSE"): ".01 .02 .03 .05 .07",
    (corruption_noise, "SPECKLE"): ".06 .1 .12 .16 .2",
    (corruption_blur, "GAUSSIAN"): ".4 .6 .7 .8 1",
    (corruption_blur, "DEFOCUS"): ".3 .4  .4 .5  .5 .6  1 .2  1.5 .1",
    (corruption_blur, "GLASS"): ".05 1 1  .25 1 1  .4 1 1  .25 1 2  .4 1 2",
    (corruption_blur, "MOTION"): "6 1  6 1.5  6 2  8 2  9 2.5",
    (corruption_blur, "ZOOM"): "1.06 1.11 1.16 1.21 1.26",
    (corruption_weather, "SNOW"): ".1 .2 1 .6 8 3 .95  .1 .2 1 .5 10 4 .9  .15 .3 1.75 .55 10 4 .9  "
    ".25 .3 2.25 .6 12 6 .85  .3 .3 1.25 .65 14 12 .8",
    (corruption_weather, "FOG"): ".2 3  .5 3  .75 2.5  1 2  1.5 1.75",
    (corruption_weather, "SPATTER"): ".62 .1 .7 .7 .5 0  .65 .1 .8 .7 .5 0  .65 .3 1 .69 .5 0  "
    ".65 .1 .7 .69 .6 1  .65 .1 .5 .68 .6 1",
    (corruption_frost, "FROST"): "1 .2  1 .3  .9 .4  .85 .4  .75 .45",
    (corruption_digital, "BRIGHTNESS"): ".05 .1 .15 .2 .3",
    (corruption_digital, "CONTRAST"): ".75 .5 .4 .3 .15",
    (corruption_digital, "SATURATE"): ".3 0  .1 0  1.5 0  2 .1  2.5 .2",
    (corruption_digital, "JPEG"): "80 65 58 50 40",
    (corruption_digital, "PIXELATE"): ".95 .9 .85 .75 .65",
    (corruption_digital, "ELASTIC"): "0 0 .08  .05 .2 .07  .08 .06 .06  .1 .04 .05  .1 .03 .03",
}


def rng(seed=0):
    return np.random.default_rng(seed)


def at(kind, image, severity, seed=0):
    return Corruption(kind)(image, 0, severity / 5, rng(seed))


@pytest.mark.parametrize(("place", "expected"), PUBLISHED.items(), ids=lambda one: one[1] if len(one) == 2 else "")
def test_the_parameters_are_the_published_ones(place, expected):
    found = np.ravel(getattr(*place))
    np.testing.assert_allclose(found, [float(number) for number in expected.split()])


def test_there_are_fifteen_and_four_and_a_yaml_names_each():
    assert (len(COMMON), len(EXTRA)) == (15, 4)
    kinds = [node["kind"] for node in NODES.values() if node["_target_"].endswith("Corruption")]
    assert sorted(kinds) == sorted(EVERY)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.99])
def test_a_strength_between_severities_is_refused(strength):
    with pytest.raises(ValueError, match=r"\.2, \.4, \.6, \.8 and 1"):
        Corruption("contrast")(GREY, 0, strength, rng())
    with pytest.raises(ValueError, match="kind must be one of"):
        Corruption("rain")


@pytest.mark.parametrize("severity", range(1, 6))
def test_noises_have_their_size(severity):
    x = np.full((200, 200, 3), 128, np.uint8)
    at_half = 128 / 255
    sizes = {
        "gaussian_noise": corruption_noise.GAUSSIAN[severity - 1],
        "shot_noise": np.sqrt(at_half / corruption_noise.SHOT[severity - 1]),
        "speckle_noise": at_half * corruption_noise.SPECKLE[severity - 1],
    }
    for kind, size in sizes.items():
        assert at(kind, x, severity).std() == pytest.approx(255 * size, rel=0.02), kind
    hit = at("impulse_noise", x, severity)
    share = corruption_noise.IMPULSE[severity - 1]
    assert set(np.unique(hit)) == {0, 128, 255}
    assert (hit == 255).mean() == pytest.approx(share / 2, rel=0.1)
    assert (hit == 0).mean() == pytest.approx(share / 2, rel=0.1)


@pytest.mark.parametrize("severity", range(1, 6))
def test_brightness_contrast_and_saturation_have_closed_forms(severity):
    colour = np.tile(np.array([[[100, 60, 80], [100, 60, 80]]], np.uint8), (2, 1, 1))
    value = 100 / 255 + corruption_digital.BRIGHTNESS[severity - 1]
    expected = np.array([100, 60, 80]) / 100 * value * 255
    assert np.abs(at("brightness", colour, severity)[0, 0] - expected).max() <= 1
    two = np.zeros((2, 2, 3), np.uint8)
    two[0] = 200
    kept = corruption_digital.CONTRAST[severity - 1]
    expected = 100 + np.array([100, -100]) * kept
    assert np.abs(at("contrast", two, severity)[:, 0, 0] - expected).max() <= 1
    factor, addend = corruption_digital.SATURATE[severity - 1]
    low = 100 * (1 - min(1, 0.4 * factor + addend))
    assert at("saturate", colour, severity)[0, 0, 1] == pytest.approx(low, abs=1)


def test_pixels_and_compression_are_pillows():
    image = Image.fromarray(IMAGES[0])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=58)
    np.testing.assert_array_equal(at("jpeg_compression", IMAGES[0], 3), np.asarray(Image.open(file)))
    box = Image.Resampling.BOX
    expected = np.asarray(image.resize((24, 24), box).resize((32, 32), box))
    np.testing.assert_array_equal(at("pixelate", IMAGES[0], 4), expected)


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind.endswith("_blur")] + ["elastic_transform"])
def test_what_moves_pixels_leaves_a_plain_image_as_it_is(kind):
    for severity in range(1, 6):
        assert np.abs(at(kind, GREY, severity).astype(int) - 128).max() <= 1


def test_a_disc_is_even_and_grows():
    widths = [disc(*one) for one in corruption_blur.DEFOCUS]
    for kernel in widths:
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, np.rot90(kernel))
    reach = [(kernel.sum(0) * np.arange(-3, 4) ** 2).sum() for kernel in widths]
    assert reach == sorted(reach)
    assert np.count_nonzero(disc(1.5, 0.1) > 0.1) == 9


def test_motion_draws_a_point_out_along_its_angle():
    point = np.zeros((31, 31, 1), np.uint8)
    point[15, 15] = 255
    for angle, line in ((0, np.s_[15, :16]), (-90, np.s_[15:, 15]), (90, np.s_[:16, 15])):
        found = moved(point, 6, 2.0, angle)[..., 0]
        assert found.sum() == pytest.approx(255, abs=7)
        assert found[line].sum() == found.sum()
    diagonal = moved(point, 6, 2.0, 45)[..., 0]
    assert np.trace(diagonal[:16, :16]) == diagonal.sum()


def test_enlarging_keeps_the_size_and_the_middle():
    image = IMAGES[0] / 255
    for factor in (1.0, 1.05, 1.25, 2.25):
        assert enlarged(image, factor).shape == image.shape
    np.testing.assert_array_equal(enlarged(image, 1.0), image)
    centre = np.zeros((32, 32, 1))
    centre[12:20, 12:20] = 1
    assert enlarged(centre, 2.0).sum() == pytest.approx(4 * 64, rel=0.15)


def test_glass_takes_each_pixel_from_up_to_one_place_a_round_to_the_upper_left():
    ramp = np.repeat(np.arange(0, 224, 7, dtype=np.uint8)[None, :, None], 32, 0)
    for severity, rounds in ((1, 1), (4, 2)):
        sigma = corruption_blur.GLASS[severity - 1][0]
        found = np.stack([at("glass_blur", ramp, severity, seed) for seed in range(10)]).astype(int)
        steps = np.rint((found - ramp)[:, 3:31, 4:30] / 7)
        assert sigma < 0.3  # too little to blur a ramp
        assert set(np.unique(steps)) == set(range(-rounds, 1))
        assert steps.mean() == pytest.approx(-rounds / 2, abs=0.04)  # four standard errors


def test_a_cloud_fills_its_range_and_its_detail_fades_with_the_decay():
    rough, smooth = plasma(64, 1.75, rng()), plasma(64, 3.0, rng())
    for cloud in (rough, smooth):
        assert (cloud.min(), cloud.max()) == (0, 1)
        assert cloud.shape == (64, 64)
    assert np.abs(np.diff(rough)).mean() > 1.3 * np.abs(np.diff(smooth)).mean()


def test_fog_keeps_the_brightest_value_and_snow_and_mud_their_colours():
    image = IMAGES[0]
    assert at("fog", image, 5).max() <= image.max()
    assert at("snow", image, 5).mean() > image.mean() + 10
    black = np.zeros((32, 32, 3), np.uint8)
    mud = at("spatter", black, 5).reshape(-1, 3)
    assert (mud.max(0) <= [63, 42, 20]).all()
    assert (mud.max(0) >= 0.8 * np.array([63, 42, 20]) - 1).all()
    water = at("spatter", black, 2).reshape(-1, 3).max(0)
    assert water.tolist() == pytest.approx([87, 119, 119], abs=1)
    assert 0.01 < (mud > 0).mean() < 0.9


def test_equalised_values_are_spread_as_opencv_does():
    values = np.array([[1, 1, 2, 3]], np.uint8)
    assert equalised(values).tolist() == [[0, 0, 128, 255]]
    assert equalised(np.full((2, 2), 7, np.uint8)).tolist() == [[7, 7], [7, 7]]


def test_frost_adds_a_photograph_or_says_what_is_missing(monkeypatch, tmp_path):
    home = tmp_path / "imagecorruptions"
    (home / "frost").mkdir(parents=True)
    shown = np.zeros((300, 400, 3), np.uint8)
    shown[2::5, 2::5] = [10, 200, 100]  # what scaling by a fifth reads
    for name in corruption_frost.FILES:
        Image.fromarray(shown).save(home / "frost" / name.replace("jpg", "png"))
        Image.fromarray(shown).save(home / "frost" / name, "PNG")
    spec = type("Spec", (), {"origin": str(home / "__init__.py")})
    monkeypatch.setattr(corruption_frost, "find_spec", lambda name: spec)
    corruption_frost._photograph.cache_clear()
    try:
        for severity, (own, others) in enumerate(corruption_frost.FROST, 1):
            expected = np.floor(own * 128 + others * np.array([10, 200, 100]) + 1e-9)
            assert np.abs(at("frost", GREY, severity) - expected).max() <= 1
        large = np.full((400, 400, 3), 128, np.uint8)
        assert at("frost", large, 1).shape == large.shape
    finally:
        corruption_frost._photograph.cache_clear()
    monkeypatch.setattr(corruption_frost, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape("kdbias[frost]") + ".*~stress.frost"):
        Corruption("frost")


@pytest.mark.parametrize("size", [28, 48])
def test_every_corruption_takes_other_sizes_and_one_channel(size):
    image = np.resize(IMAGES[0], (size, size, 3)).astype(np.uint8)
    for kind in EVERY:
        if kind == "frost":
            continue  # its photographs are an extra
        assert at(kind, image, 5).shape == (size, size, 3)
        if kind == "saturate":
            assert "no colour" in Corruption(kind).refuses(size, 1)
        else:
            assert Corruption(kind).refuses(size, 1) == ""
            assert at(kind, image[..., :1].copy(), 5).shape == (size, size, 1)
    assert set(COLOURED) < set(EVERY)


def test_contrast_keeps_the_mean_of_each_channel():
    two = np.zeros((2, 2, 3), np.uint8)
    two[0], two[1] = [200, 100, 0], [0, 40, 120]
    kept = corruption_digital.CONTRAST[2]
    means = two.mean((0, 1))
    assert np.abs(at("contrast", two, 3) - (means + kept * (two - means))).max() <= 1


def test_zoom_blur_is_the_mean_of_the_image_and_of_enlarged_ones_from_its_own_size_on():
    x = IMAGES[0] / 255
    factors = np.arange(1, corruption_blur.ZOOM[4], 0.01)
    expected = (x + sum(enlarged(x, float(one)) for one in factors)) / (len(factors) + 1)
    assert np.abs(at("zoom_blur", IMAGES[0], 5) - 255 * expected).max() <= 1.01


def test_motion_goes_up_as_often_as_down():
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    found = np.stack([at("motion_blur", point, 5, seed)[..., 0].astype(float) for seed in range(60)])
    below = (found * (np.arange(31)[:, None] - 15)).sum((1, 2)) > 0
    assert 15 <= below.sum() <= 45


def test_flakes_fall_in_two_directions():
    black = np.zeros((32, 32, 3), np.uint8)
    found = at("snow", black, 5)
    assert found.std() > 5
    np.testing.assert_array_equal(np.rot90(found, 2), found)


def test_an_elastic_image_is_bent_and_not_only_sheared():
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 32, 0).repeat(3, 2)
    found = at("elastic_transform", ramp, 5)[8:24, 8:24, 0].astype(float)
    rows, columns = np.mgrid[:16, :16].reshape(2, -1)
    plane = np.column_stack([rows, columns, np.ones(256)])
    left = found.ravel() - plane @ np.linalg.lstsq(plane, found.ravel(), rcond=None)[0]
    assert left.std() > 1
