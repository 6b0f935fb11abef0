"""Shares in rows: an axis from 0 to 100, with intervals that may go beyond."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdbias.report.rows import arm, percent_row_axis
from kdbias.stats import Estimate


def test_an_interval_ends_at_the_axis_and_a_mark_at_its_end_is_whole():
    axes = Figure().add_subplot()
    style = {"marker": "o", "color": "k"}
    for row, found in enumerate((Estimate(0.11, -0.27, 0.49), Estimate(0.0, 0.0, 0.0), Estimate(0.5, 0.4, 0.6))):
        arm(axes, found, row, style, 100.0)
    percent_row_axis(axes)
    assert axes.get_xlim()[0] == 0
    whole = [artist for artist in axes.get_children() if isinstance(artist, Line2D) and not artist.get_clip_on()]
    assert {0.0, 11.0, 50.0} <= {float(np.asarray(one.get_xdata())[0]) for one in whole if one.get_marker() == "o"}
    cut = [artist for artist in axes.get_children() if artist.get_clip_on() and artist not in whole]
    assert any(isinstance(one, Line2D) and np.min(one.get_xdata()) < 0 for one in cut)  # the cap at -27
    assert all(bars.get_clip_on() for bars in axes.collections)
