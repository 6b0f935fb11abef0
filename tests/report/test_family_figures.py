"""Figures of the probes that are defined for any family."""

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from axes_of import assert_fits_a_card, assert_shares_end_at_0_and_100
from matplotlib.image import imread

from kdbias.probes.base import Result
from kdbias.report import features, frequency, gradcam, receptive_field, shift, shuffle, style
from kdbias.report.images import image_grid


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 60)  # a quarter of the time


def random(seed, *shape):
    return np.random.default_rng([7, seed]).uniform(0.2, 0.9, shape)


def shuffle_result(seed=0, epoch=0, n=1000):
    accuracy = np.sort(random(seed, 4))[::-1]
    interval = np.stack([accuracy - 0.02, accuracy + 0.02], axis=1)
    arrays = {"grids": np.array([1, 2, 4, 8]), "accuracy": accuracy, "accuracy_interval": interval}
    arrays |= {"retention": accuracy / accuracy[0], "retention_interval": interval / accuracy[0]}
    return Result("shuffle", {}, arrays, {"n": n, "classes": 10, "epoch": epoch})


def shift_result(seed=0, epoch=0):
    arrays = {"shifts": np.array([0, 1, 4]), "consistency": random(seed, 3, 3), "accuracy": random(seed + 1, 3, 3)}
    return Result("shift", {}, arrays, {"n": 1000, "classes": 10, "epoch": epoch})


def frequency_result(seed=0, epoch=0):
    arrays = {"cutoffs": np.array([0.25, 0.5, 1.0])}
    for band in ("low", "high"):
        accuracy = random(seed, 3)
        arrays[f"accuracy_{band}"] = accuracy
        arrays[f"accuracy_{band}_interval"] = np.stack([accuracy - 0.02, accuracy + 0.02], axis=1)
    arrays["right"] = np.arange(1000) < 900
    return Result("frequency", {"accuracy": 0.9}, arrays, {"n": 1000, "classes": 10, "epoch": epoch})


def field_result(seed=0, epoch=0, layers=4):
    arrays = {"energy": random(seed, layers, 16, 16), "radius": np.sort(random(seed, layers)) * 8}
    arrays["magnitude_radius"] = 1.5 * arrays["radius"]
    arrays |= {"radii": np.arange(0, 12, 0.5), "curve": np.sort(random(seed, layers, 24)), "depth": np.arange(layers)}
    arrays |= {"uniform_radius": np.array(6.4), "uniform_curve": np.linspace(0, 1, 24)}
    names = [f"blocks.{i}" for i in range(layers)]
    return Result("receptive_field", {}, arrays, {"n": 64, "share": 0.5, "layers": names, "epoch": epoch})


def gradcam_result(seed=0, images=0, grid=4, names=("cat", "dog")):
    image = np.random.default_rng(images).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    arrays = {"image": image, "map": random(seed, 3, grid, grid), "target": np.array([0, 1, 1])}
    arrays["answer"] = np.array([0, 0, 1])
    return Result("gradcam", {}, arrays, {"n": 64, "names": list(names), "of": "answer"})


def features_result(seed=0):
    arrays = {"image": np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)}
    for layer, grid in enumerate((8, 4, 2)):
        arrays[f"norm_{layer}"] = random(seed, 2, grid, grid)
        arrays[f"components_{layer}"] = random(seed, 2, grid, grid, 3) - 0.5
    arrays["explained"] = random(seed, 3, 3) / 3
    return Result("features", {}, arrays, {"n": 64, "layers": ["layer1", "layer2", "layer3"]})


PROBES = {
    "shuffle": (shuffle, shuffle_result),
    "shift": (shift, shift_result),
    "frequency": (frequency, frequency_result),
    "receptive_field": (receptive_field, field_result),
    "gradcam": (gradcam, gradcam_result),
    "features": (features, features_result),
}
LINES = ("shuffle", "shift", "frequency", "receptive_field")
TRAINED = ("shuffle", "shift", "frequency", "receptive_field")


def drawn(name):
    module, result = PROBES[name]
    runs = {"student": [result(s) for s in range(3)], "base/alone": result(4), "fresh": result(5), "teacher": result(6)}
    return module.figures(runs, control="base/alone", initial="fresh")


def line(axes, label):
    return next(found for found in axes.lines if found.get_label() == label)


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


@pytest.mark.parametrize("name", PROBES)
def test_figures_are_named_and_render_the_same_twice(name):
    before = dict(mpl.rcParams)
    found = drawn(name)
    first = next(iter(found))
    assert all(key.startswith(name) and "/" not in key for key in found)  # they become file names
    pngs = {key: style.rendered(found[key]) for key in {first, list(found)[-1]}}
    assert style.rendered(drawn(name)[first]) == pngs[first]
    for key, png in pngs.items():
        image = imread(io.BytesIO(png))
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border[:, :3] == 1).all()  # nothing is cut off at the edge
        assert any("n = " in text or "images" in text for text in texts(found[key]))
        assert_shares_end_at_0_and_100(found[key])
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", LINES)
def test_control_and_untrained_have_their_styles_and_seeds_a_band(name):
    figure = drawn(name)[name]
    axes = figure.axes[-1]
    assert all(a.get_xlabel() and a.get_ylabel() for a in figure.axes)
    assert line(axes, "base/alone (control)").get_linestyle() == "--"
    assert line(axes, "fresh (untrained)").get_color() == style.QUIET
    assert line(axes, "student (3 seeds)").get_color() == style.COLOURS[0]
    assert line(axes, "teacher").get_color() == style.COLOURS[1]
    assert axes.collections


@pytest.mark.parametrize("name", TRAINED)
def test_training(name):
    module, result = PROBES[name]
    for results in ([result(0)], [result(s, epoch=10 * s) for s in range(4)]):
        figure = module.training(results)
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
        assert any("validation images" in text for text in texts(figure))
        assert_fits_a_card(figure)
        assert_shares_end_at_0_and_100(figure)


def test_accuracy_lines_are_means_in_percent_with_chance():
    runs = [shuffle_result(s) for s in range(3)]
    axes = shuffle.figures({"a": runs, "b": runs[0]})["shuffle"].axes[0]
    accuracy = 100 * np.stack([run.arrays["accuracy"] for run in runs])
    np.testing.assert_allclose(line(axes, "a (3 seeds)").get_ydata(), accuracy.mean(0))
    band, single = (collection.get_paths()[0].get_extents() for collection in axes.collections)
    assert (band.ymin, band.ymax) == pytest.approx((accuracy.min(), accuracy.max()))
    assert (single.ymin, single.ymax) == pytest.approx((accuracy[0].min() - 2, accuracy[0].max() + 2))
    assert any(list(found.get_ydata()) == [10, 10] for found in axes.lines)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1×1", "2×2", "4×4", "8×8"]
    unlike = shuffle.figures({"a": runs[0], "b": shuffle_result(n=500)})["shuffle"]
    assert "n = 500 to 1,000 images" in texts(unlike)


def test_high_pass_begins_with_the_images_themselves():
    result = frequency_result()
    axes = frequency.figures({"a": result})["frequency"].axes[1]
    assert line(axes, "a").get_xdata().tolist() == [0, 0.25, 0.5, 1.0]
    np.testing.assert_allclose(line(axes, "a").get_ydata(), 100 * np.append(0.9, result.arrays["accuracy_high"]))


def test_radius_has_the_line_of_the_uniform_map():
    axes = drawn("receptive_field")["receptive_field"].axes[0]
    assert any(list(found.get_ydata()) == [6.4, 6.4] for found in axes.lines)
    assert axes.get_ylabel() == "radius of 50 % energy (pixels)"


def test_overlay_colours_the_map_only():
    image = np.random.default_rng(0).uniform(size=(8, 8, 3))
    heat = np.zeros((2, 2))
    grey = gradcam.overlay(image, heat)
    assert np.ptp(grey[..., 0] - (1 - gradcam.STRENGTH) * image.mean(-1)) < 1e-9
    heat[0, 1] = 1.0
    bright = gradcam.overlay(image, heat)
    assert (bright[0, 7] > grey[0, 7]).any()
    np.testing.assert_array_equal(bright[7, 0], grey[7, 0])


def test_unlike_images_have_figures_of_their_own():
    found = gradcam.figures({"a": gradcam_result(), "b": gradcam_result(grid=8), "c": gradcam_result(images=1)})
    assert list(found) == ["gradcam", "gradcam-2"]
    assert {"a", "b"} <= set(texts(found["gradcam"]))
    assert "✗ cat" in texts(found["gradcam"])
    assert "class 1" in texts(gradcam.figures({"a": gradcam_result(names=())})["gradcam"])


def test_nothing_to_draw_is_an_error():
    for module, _ in PROBES.values():
        with pytest.raises(ValueError, match="nothing to draw"):
            module.figures({})


def test_the_band_of_a_high_pass_has_the_interval_of_the_images_themselves():
    figure = frequency.figures({"student": frequency_result()})["frequency"]
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    low, high = np.sort(band[np.isclose(band[:, 0], 0), 1])[[0, -1]]
    assert low == pytest.approx(87.99, abs=0.01)  # Wilson, 900 of 1,000
    assert high == pytest.approx(91.71, abs=0.01)


def test_maps_over_training_are_rows_by_epoch_and_components_those_of_the_last():
    seen = [gradcam_result(seed) for seed in range(7)]
    for epoch, result in enumerate(seen):
        result.meta["epoch"] = 10 * epoch
    figure = gradcam.training(seen)
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["image, class", "untrained", "epoch 20", "epoch 30", "epoch 40", "epoch 60"]
    many = gradcam_result(images=12)
    assert_fits_a_card(gradcam.training([replace(many, meta={**many.meta, "epoch": 0})]))
    last = features_result()
    last.meta["epoch"] = 20
    assert any("epoch 20" in text for text in texts(features.training([last])))


def test_long_names_of_classes_do_not_cross_each_other():
    names = ("German short-haired pointer, bird dog", "West Highland white terrier, lap dog")
    figure = gradcam.figures({"student": gradcam_result(names=names)})["gradcam"]
    style.rendered(figure)
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.title.get_text()]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert figure.axes[0].get_title(loc="center").endswith("…")


def test_labels_beyond_the_columns_are_refused():
    rows = {"clean": np.zeros((2, 4, 4, 3))}
    assert [axes.get_title(loc="center") for axes in image_grid(rows, columns=["a"]).axes] == ["a", ""]
    with pytest.raises(ValueError, match="a grid of 2 columns got 3 labels"):
        image_grid(rows, columns=["a", "b", "c"])


def test_the_name_of_a_level_crosses_no_line_and_no_band():
    figure = drawn("receptive_field")["receptive_field"]
    style.rendered(figure)
    for axes in figure.axes[:2]:
        (name,) = axes.texts
        box = name.get_window_extent()
        lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
        bands = [band.get_transform().transform_path(path) for band in axes.collections for path in band.get_paths()]
        assert not any(line.intersects_bbox(box, filled=False) for line in lines)
        assert not any(band.intersects_bbox(box, filled=True) for band in bands)


def test_an_empty_map_says_so():
    result = gradcam_result()
    result.arrays["map"][1] = 0
    found = texts(gradcam.figures({"student": result})["gradcam"])
    assert found.count(gradcam.EMPTY) == 1
