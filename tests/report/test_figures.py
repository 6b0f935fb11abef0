import io
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from axes_of import assert_fits_a_card, assert_shares_end_at_0_and_100
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from kdbias.probes.base import Result
from kdbias.report import attention, cka, cka_teacher, curves, style
from kdbias.report.line_ends import apart, label_ends


def attention_result(level=3.0, seed=0, epoch=0, layers=6):
    distance = level + np.random.default_rng(seed).uniform(-0.5, 0.5, (layers, 3))
    uniform = {"uniform_distance": np.array(4.136), "uniform_entropy": np.array(np.log(64))}
    cls = {"cls_dispersion": 3 * distance, "cls_self": distance / 10, "uniform_dispersion": np.array(10.5)}
    arrays = {"distance": distance, "entropy": distance / 2, **uniform, **cls}
    return Result("attention", {}, arrays, {"n": 1024, "epoch": epoch, "collapse": 1.5})


def cka_result(rows=6, columns=6, n=2048, epoch=0):
    matrix = np.linspace(-0.1, 1, rows * columns).reshape(rows, columns)
    arrays = {"cka": matrix, "depth": np.arange(1, rows + 1) / rows}
    return Result("cka", {}, arrays, {"n": n, "estimator": "debiased", "epoch": epoch})


def teacher_cka_result(rows=6, columns=3, **settings):
    result = cka_result(rows, columns, **settings)
    arrays = result.arrays | {"nearest": np.arange(rows) * columns // rows}
    return replace(result, name="cka_teacher", arrays=arrays, meta=result.meta | {"other": "resnet18", "batch": 256})


def run(accuracy, epochs=4):
    nan = np.nan
    rows = [(e, nan, 2.0 - e / 10) for e in range(epochs)] + [(e, accuracy + e / 100, nan) for e in range(epochs)]
    return dict(zip(("epoch", "val/accuracy", "train/loss"), np.array(rows).T, strict=True))


def attention_of(name, results, control):
    return attention.figures({**results, "base": control}, control="base", initial="start")[name]


SEEDS = [attention_result(seed=s) for s in range(3)]
DRAWINGS = {
    "distance": lambda: attention.distance_by_layer({"student": SEEDS}, control=SEEDS[:2], initial=SEEDS[0]),
    "entropy": lambda: attention.figures({"student": SEEDS[0]})["attention-entropy"],
    "heads": lambda: attention_of("attention-sorted", {"a": SEEDS, "b": SEEDS[1]}, SEEDS[2]),
    "every head": lambda: attention_of("attention-heads", {"a": SEEDS, "b": SEEDS[1], "start": SEEDS[0]}, SEEDS[2]),
    "cls": lambda: attention_of("attention-cls", {"a": SEEDS, "b": SEEDS[1]}, SEEDS[2]),
    "cka by layer": lambda: cka.by_layer({"a": [cka_result(), cka_result()], "b": cka_result()}, control="b"),
    "cka of a teacher by layer": lambda: cka.by_layer({"a": teacher_cka_result(), "b": teacher_cka_result(4, 4)}),
    "cka in rows": lambda: cka.panels({str(i): cka_result(9, 9) for i in range(5)}),
    "attention training": lambda: attention.training([attention_result(epoch=e) for e in range(15)]),
    "cka": lambda: cka.heat_map(cka_result(12, 12)),
    "cka panels": lambda: cka.panels({"a": cka_result(12, 4), "b": cka_result(12, 4)}, other="teacher"),
    "cka training": lambda: cka.training([cka_result(), cka_result(epoch=3)]),
    "curves": lambda: curves.training_curves({"student": [run(0.7), run(0.8)]}, control=run(0.6)),
}


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_has_labelled_axes_and_renders_the_same_twice(name):
    before = dict(mpl.rcParams)
    figure = DRAWINGS[name]()
    assert_shares_end_at_0_and_100(figure)
    if name.endswith("training"):
        assert_fits_a_card(figure)
    for axes in figure.axes:
        assert axes.get_ylabel()
        assert axes.get_xlabel() or axes.get_label() == "<colorbar>"
    png = style.rendered(figure)
    assert style.rendered(DRAWINGS[name]()) == png
    assert dict(mpl.rcParams) == before
    image = imread(io.BytesIO(png))
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (border[:, :3] == 1).all()  # nothing is cut off at the edge


def line(axes, label):
    return next(found for found in axes.lines if found.get_label() == label)


def test_distance_shows_means_bands_the_uniform_line_control_and_untrained():
    figure = DRAWINGS["distance"]()
    axes = figure.axes[0]
    runs = np.stack([r.arrays["distance"].mean(1) for r in SEEDS])
    np.testing.assert_allclose(line(axes, "student (3 seeds)").get_ydata(), runs.mean(0))
    np.testing.assert_allclose(line(axes, "control, no teacher (2 seeds)").get_ydata(), runs[:2].mean(0))
    np.testing.assert_allclose(line(axes, "untrained").get_ydata(), runs[0])
    assert any(list(found.get_ydata()) == [4.136, 4.136] for found in axes.lines)
    assert "uniform attention, 4.14" in texts(figure)
    assert axes.get_ylabel() == "mean attention distance (patches)"
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((runs.min(), runs.max()))


def test_heads_are_sorted_within_each_seed():
    heads = line(DRAWINGS["heads"]().axes[0], "a (3 seeds)")
    expected = np.mean([np.sort(r.arrays["distance"].ravel()) for r in SEEDS], axis=0)
    np.testing.assert_allclose(heads.get_ydata(), expected)


def test_cka_says_how_many_images_and_puts_the_first_network_across():
    figure = cka.heat_map(cka_result(4, 3, n=1234), name="student", other="teacher")
    axes = figure.axes[0]
    assert "n = 1,234 images" in axes.get_title(loc="left")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "layer of teacher")
    assert axes.images[0].get_array().shape == (3, 4)
    assert axes.images[0].get_clim() == (0, 1)
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers[3, 0] == f"{cka_result(4, 3).arrays['cka'][3, 0]:.2f}"


def test_a_figure_a_question_of_attention_with_control_and_untrained_in_each():
    networks = {"student": SEEDS, "base": SEEDS[1], "start": SEEDS[0]}
    found = attention.figures(networks, control="base", initial="start")
    assert list(found) == ["attention", *(f"attention-{k}" for k in ("entropy", "sorted", "heads", "cls"))]
    for name in ("attention", "attention-entropy", "attention-sorted"):
        labels = {"student\n(3 seeds)", "base\n(control)", "start\n(untrained)"}  # at the ends of their lines
        assert labels <= set(texts(found[name]))
        assert found[name].axes[0].get_legend() is None
        assert found[name].axes[0].get_title(loc="left") == "n = 1,024 images"
    titles = [axes.get_title(loc="left") for axes in found["attention-heads"].axes]
    assert titles == ["student (3 seeds)", "base (control)", "start (untrained)"]
    without = replace(SEEDS[0], arrays={k: v for k, v in SEEDS[0].arrays.items() if "cls" not in k})
    assert "attention-cls" not in attention.figures({"gap": without})


def test_uniform_attention_has_a_line_for_each_grid():
    large = replace(SEEDS[0], arrays=SEEDS[0].arrays | {"uniform_distance": np.array(7.281)})
    found = texts(attention.distance_by_layer({"small": SEEDS[0], "large": large}))
    assert {"uniform attention, 4.14", "uniform attention, 7.28"} <= set(found)


def test_cka_figures_by_name_are_means_over_seeds():
    networks = {"exp1/a": [cka_result(), cka_result(n=1000)], "base": cka_result(4, 4)}
    networks["exp1/a"][1].arrays["cka"][0, 0] = 0.7
    found = cka.figures(networks, control="base")
    assert list(found) == ["cka", "cka-exp1-a", "cka-base", "cka-last"]
    first, second = found["cka"].axes[:2]
    assert first.get_title(loc="left").startswith("exp1/a\n(mean of 2 seeds)")
    assert second.get_title(loc="left").startswith("base (control)")
    assert first.images[0].get_array()[0, 0] == pytest.approx((0.7 - 0.1) / 2)
    assert found["cka-last"].axes[0].get_xlabel() == "depth of the layer (0 to 1)"  # six layers and four
    lines = {line.get_label(): line.get_ydata() for line in found["cka-last"].axes[0].lines}
    np.testing.assert_allclose(lines["base (control)"], cka_result(4, 4).arrays["cka"][:, -1])


def test_cka_with_a_teacher_names_it_and_its_minibatches():
    result = teacher_cka_result()
    found = cka_teacher.figures({"student": result})
    assert list(found) == ["cka_teacher", "cka_teacher-alignment"]
    axes = found["cka_teacher"].axes[0]
    assert axes.get_title(loc="left") == "student\nn = 2,048 images, debiased,\nminibatches of 256"
    assert axes.get_ylabel() == "layer of resnet18"
    line = found["cka_teacher-alignment"].axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), result.arrays["cka"][np.arange(6), [0, 0, 1, 1, 2, 2]])
    assert "resnet18" in cka_teacher.training([result]).axes[0].get_ylabel()


def test_cka_with_two_teachers_names_that_of_each_network():
    first = teacher_cka_result()
    second = replace(first, meta=first.meta | {"other": "small_vit"})
    found = cka_teacher.figures({"a": first, "b": second})
    assert [axes.get_ylabel() for axes in found["cka_teacher"].axes[:2]] == ["layer of resnet18", "layer of small_vit"]
    assert "CKA with resnet18 or small_vit" in found["cka_teacher-alignment"].axes[0].get_ylabel()


def test_curves_count_epochs_done_in_percent_and_end_with_the_shortest_seed():
    figure = curves.training_curves({"student": [run(0.7), run(0.8, epochs=3)]}, control=run(0.6))
    student = line(figure.axes[0], "student (2 seeds)")
    np.testing.assert_allclose(student.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(student.get_ydata(), [75, 76, 77])
    with pytest.raises(ValueError, match="no 'val/accuracy' by epoch among the metrics: epoch"):
        curves.training_curves({"student": {"epoch": np.zeros(1)}})


def test_metrics_come_from_the_csv_of_a_run(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/accuracy\n0,9,2.5,\n0,9,1.5,\n0,19,,0.25\n1,29,1.0,\n")
    metrics = curves.read_metrics(path)
    epochs, loss = curves.by_epoch(metrics, "train/loss")
    assert (epochs.tolist(), loss.tolist()) == ([1, 2], [2.0, 1.0])
    assert curves.by_epoch(metrics, "val/accuracy")[1].tolist() == [0.25]


def test_a_row_that_is_cut_short_counts_by_the_cells_that_it_has(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/accuracy\n0,9,3.5,\n0,9,2.5,\n0,9,")
    assert curves.by_epoch(curves.read_metrics(path), "train/loss")[1].tolist() == [3.0]


@pytest.mark.parametrize("damage", [b"\0" * 40, b"\xff\xfe", b"0,9,1.5,,,\n1,x,1.0,\n"])
def test_damaged_metrics_are_an_error_that_names_the_file(damage, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,step,train/loss,val/accuracy\n0,9,3.5,\n" + damage)
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
        curves.read_metrics(path)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="nothing to draw"):
        attention.distance_by_layer({})
    with pytest.raises(ValueError, match="nothing to draw"):
        cka.panels({})


def luminance(colour):
    channels = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_text_is_dark_on_white_and_lines_can_be_seen():
    for colour, least in [(style.INK, 7), (style.QUIET, 4.5), *((c, 2.3) for c in style.COLOURS)]:
        assert 1.05 / (luminance(colour) + 0.05) > least, colour


def test_save_takes_png_and_svg(tmp_path):
    figure = DRAWINGS["entropy"]()
    svg = style.save(figure, tmp_path / "a.svg").read_text()
    assert "mean attention entropy (nats)" in svg
    assert style.save(DRAWINGS["entropy"](), tmp_path / "b.svg").read_text() == svg
    assert style.save(figure, tmp_path / "figures" / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"saved as \.png or \.svg"):
        style.save(figure, tmp_path / "a.jpg")


def test_colours_of_cka_cover_the_values_that_occur_within_0_and_1():
    def of(low, high):
        return cka.occurring([np.array([[low, high], [high, low]])])

    assert of(0.62, 1.0) == pytest.approx((0.6, 1.0))
    assert of(-0.3, 0.41) == pytest.approx((0.0, 0.45))
    assert of(0.7, 0.7) == pytest.approx((0.7, 0.75))
    assert of(1.0, 1.0) == pytest.approx((0.95, 1.0))
    axes = cka.panels({"a": replace(cka_result(), arrays={"cka": np.full((6, 6), 0.62)})}).axes[0]
    assert axes.images[0].get_clim() == pytest.approx((0.6, 0.65))


def test_validation_accuracy_ends_at_0_and_100():
    left, right = DRAWINGS["curves"]().axes
    assert left.get_ylim() == (0, 100)
    assert right.get_ylim() != (0, 100)


@pytest.mark.parametrize("ends", [(1.0, 1.0, 1.0), (0.0, 0.01, 1.0), (3.0, 2.0, 1.0)])
def test_names_at_the_ends_of_lines_do_not_overlap_and_keep_their_order(ends):
    with style.styled():
        figure, axes = style.canvas()
        for number, end in enumerate(ends):
            axes.plot([0, 1], [0, end], label=f"network {number} (3 seeds)")
        label_ends(axes)
    agg = FigureCanvasAgg(figure)
    agg.draw()
    boxes = [text.get_window_extent(agg.get_renderer()) for text in axes.texts]
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    middles = [box.y0 + box.y1 for box in boxes]
    assert all(a >= b for (_, a), (_, b) in pairwise(sorted(zip(ends, middles, strict=True), reverse=True)))
    assert all(box.x0 > axes.get_window_extent().x1 for box in boxes)


def test_boxes_move_apart_by_as_little_as_possible():
    np.testing.assert_allclose(apart(np.array([0.0, 10.0]), np.array([4.0, 4.0])), [0, 10])
    np.testing.assert_allclose(apart(np.array([5.0, 5.0]), np.array([4.0, 4.0])), [7, 3])
