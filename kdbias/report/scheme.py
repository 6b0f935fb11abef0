"""Colours of a page and of the figures in it, on light and on dark ground."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from kdbias.report.style import COLOURS, INK, QUIET, STYLE

LIGHT: Mapping[str, str] = {
    "ink": INK,
    "quiet": QUIET,
    "line": "#e6e6e6",
    "paper": "#ffffff",
    "soft": "#f5f5f5",
    **{f"c{place}": colour for place, colour in enumerate(COLOURS)},
}
"""Colours by name. A figure that is drawn in the house style has no others, but those of maps and images."""
DARK: Mapping[str, str] = {
    "ink": "#ececec",
    "quiet": "#a6a6a6",
    "line": "#3a3a3a",
    "paper": "#16181b",
    "soft": "#22252a",
    **dict(
        zip(
            [f"c{place}" for place in range(len(COLOURS))],
            ["#4aa3e0", "#f0803c", "#2fbf93", "#dd94bb", "#7cc8f2", "#d9a82e"],
            strict=True,
        )
    ),
}
"""The same names where the reader's system asks for dark pages."""


def variables() -> str:
    """Give the style sheet that sets every name as a custom property, for light and for dark ground."""
    light, dark = ("; ".join(f"--{name}: {value}" for name, value in of.items()) for of in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark}; }} }}\n"
        f"@media print {{ :root {{ {light}; }} }}\n"
    )


def adaptive(figure: Figure) -> str:
    """Draw ``figure`` as an SVG without ground, whose house colours follow the reader's choice of light or dark.

    Text is drawn as outlines, so that no name gets wider than the room that was left for it where a font is missing.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    drawn = buffer.getvalue()
    for name, value in LIGHT.items():
        drawn = re.sub(rf"{value}\b", f"var(--{name})", drawn)
    return re.sub(r"(<svg\b[^>]*>)", rf"\1\n<style>{variables()}</style>", drawn, count=1)
