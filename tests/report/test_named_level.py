"""Names of reference lines cross nothing drawn, whatever is drawn and however the figure is laid out."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kdbias.report.named_level import named_level
from kdbias.report.style import canvas, rendered, styled

X = np.arange(6)
FLAT = (4.08, 4.07, 4.03, 4.1, 4.07, 4.12)
OVER = (4.08, 4.15, 4.26, 4.27, 4.1, 4.24)


def drawn(*lines, levels=(4.14,), top=4.7, band=None):
    with styled():
        figure, axes = canvas(height=2.6)
        for y in lines:
            axes.plot(X, y, marker="o")
        if band is not None:
            axes.fill_between(X, *band)
        for value in levels:
            named_level(axes, value, f"level, {value:.2f}")
        axes.set(ylim=(0, top), xlabel="layer", title="a title that takes room")
        figure.legend(axes.lines[:1], ["below"], loc="outside lower center")
    return figure, axes


def boxes(figure, axes):
    """Give where the names lie once the figure is drawn."""
    agg = FigureCanvasAgg(figure)
    agg.draw()
    return [text.get_window_extent(agg.get_renderer()) for text in axes.texts]


def crossings(axes, box):
    """Count points of lines, taken densely, that lie in ``box``, and so of the area of bands."""
    found = 0
    for line in axes.lines:
        x, y = line.get_xdata(), line.get_ydata()
        dense = np.linspace(x[0], x[-1], 2000)
        points = line.get_transform().transform(np.stack([dense, np.interp(dense, x, y)], axis=1))
        found += box.count_contains(points)
    for band in axes.collections:
        grid = np.stack(np.meshgrid(np.linspace(box.x0, box.x1, 40), np.linspace(box.y0, box.y1, 20)), -1).reshape(
            -1, 2
        )
        found += sum(band.get_transform().transform_path(path).contains_points(grid).sum() for path in band.get_paths())
    return found


@pytest.mark.parametrize(
    "made",
    [
        {"lines": ()},
        {"lines": (FLAT, OVER)},
        {"lines": (FLAT, OVER), "top": 40},
        {"lines": (FLAT,), "band": (np.full(6, 4.2), np.full(6, 4.7))},
        {"lines": (np.linspace(0, 4.7, 6), np.linspace(4.7, 0, 6))},
    ],
)
def test_a_name_lies_within_the_axes_and_crosses_nothing(made):
    figure, axes = drawn(*made.pop("lines"), **made)
    (box,) = boxes(figure, axes)
    assert crossings(axes, box) == 0
    inside = axes.get_window_extent()
    assert inside.x0 <= box.x0 < box.x1 <= inside.x1
    assert inside.y0 <= box.y0 < box.y1 <= inside.y1


def test_the_nearest_free_place_is_taken():
    figure, axes = drawn(FLAT)  # below the level: there is room right above it
    (box,) = boxes(figure, axes)
    above = box.y0 - axes.transData.transform((0, 4.14))[1]
    assert 0 < above < 4 * figure.dpi / 72
    assert (box.x0 + box.x1) / 2 == pytest.approx(sum(axes.bbox.intervalx) / 2, abs=1)


def test_names_of_several_levels_lie_apart_and_stay_when_drawn_again():
    figure, axes = drawn(FLAT, levels=(4.1, 4.14, 4.2))
    first = boxes(figure, axes)
    assert not any(a.overlaps(b) for i, a in enumerate(first) for b in first[:i])
    assert sum(crossings(axes, box) for box in first) == 0
    rendered(figure, "svg")
    for a, b in zip(first, boxes(figure, axes), strict=True):
        np.testing.assert_allclose(a.extents, b.extents)


def test_where_nothing_is_free_it_crosses_least():
    figure, axes = drawn(*np.linspace(0, 4.7, 60)[:, None].repeat(6, 1), *[np.full(6, 4.14)] * 30)
    (box,) = boxes(figure, axes)
    inside = axes.get_window_extent()
    assert inside.y0 <= box.y0 < box.y1 <= inside.y1
    level = axes.transData.transform((0, 4.14))[1]
    assert box.y0 > level or box.y1 < level  # not on the thirty lines
