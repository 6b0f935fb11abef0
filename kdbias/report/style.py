"""The style of every figure, and writing figures to files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.files import write_bytes

T = TypeVar("T")

INK = "#1a1a1a"
QUIET = "#6e6e6e"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b07d00")
"""Distinct under any colour vision, and dark enough for thin lines on white (Okabe and Ito 2008, without yellow)."""
CARD = 5.2  # inches: a card of TensorBoard shows 400 to 600 pixels, and wider figures with smaller letters
LETTERS, TITLE = 15, 8  # of a title above a figure: letters per inch, and size in points
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ((0, (4, 1.5, 1, 1.5)), (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)))  # of the second, third and fourth six networks

CONTROL: Mapping[str, Any] = {"color": INK, "linestyle": (0, (5, 2)), "marker": "o", "markerfacecolor": "white"}
INITIAL: Mapping[str, Any] = {"color": QUIET, "linestyle": (0, (1, 1.5)), "marker": ""}
REFERENCE: Mapping[str, Any] = {"color": QUIET, "linewidth": 0.9, "linestyle": "-", "zorder": 1}

STYLE: Any = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 2.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "kdbias",
    "text.parse_math": False,  # a $ in a name that a person gave is a $
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house style inside the block; matplotlib's settings are restored afterwards."""
    with mpl.rc_context(STYLE):
        yield


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 3.1, squeeze: bool = True
) -> tuple[Figure, Any]:
    """Make a figure of ``width`` × ``height`` inches with ``rows`` × ``columns`` axes, outside pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=squeeze)


def card(rows: int = 1, *, height: float = 2.8) -> tuple[Figure, Any]:
    """Make a figure of ``rows`` axes above one another, each ``height`` inches, as wide as a card of TensorBoard."""
    return canvas(rows, 1, width=CARD, height=height * rows)


def panel_grid(
    count: int, across: int, *, width: float, height: float, aside: float = 0.9, above: float = 0.3
) -> tuple[Figure, Any]:
    """Make a figure of ``count`` panels of ``width`` × ``height`` inches, up to ``across`` in a row: ``(count,)`` axes.

    ``aside`` and ``above`` are room for legends and titles (inches). Empty axes of the last row are removed.
    """
    columns = min(across, count)
    rows = -(-count // columns)
    size = {"width": width * columns + aside, "height": height * rows + above}
    figure, grid = canvas(rows, columns, squeeze=False, **size)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, grid.flat[:count]


def heading(figure: Figure, *parts: str) -> None:
    """Put a title above the whole figure; each part has lines of its own, wrapped at the figure's width."""
    room = int(LETTERS * figure.get_figwidth())
    lines = [line for part in parts for given in part.split("\n") for line in wrap(given, width=room)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=TITLE)


def look(place: int) -> dict[str, Any]:
    """Give the colour, marker and line of network number ``place``; colours repeat after six, looks after 24.

    >>> look(0)["color"] == look(6)["color"], look(0) == look(6)
    (True, False)
    """
    again, colour = divmod(place, len(COLOURS))
    line = {"linestyle": LINES[(again - 1) % len(LINES)]} if again else {}
    return {"color": COLOURS[colour], "marker": MARKERS[(colour + again) % len(MARKERS)], **line}


def legend_beside(axes: Axes, handles: Sequence[Artist] | None = None, *, title: str | None = None) -> None:
    """Put the legend, of ``handles`` or of everything drawn, to the right of ``axes``, where it covers nothing."""
    there: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    shown = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.legend(handles=shown, title=title, title_fontsize=8, **there)


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend for several axes below them; each network appears once."""
    found = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(4, len(found)))


def seeds(runs: T | Sequence[T], kind: type[T]) -> list[T]:
    """Give a list of runs from one run or several seeds of it."""
    return [runs] if isinstance(runs, kind) else list(runs)  # type: ignore[arg-type]


def rendered(figure: Figure, kind: Literal["png", "svg"] = "png", dpi: int | None = None) -> bytes:
    """Render ``figure``, with ``dpi`` pixels an inch (None: the style's); the same Results give the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with styled():
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=STYLE["savefig.dpi"] if dpi is None else dpi)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` to ``path``, a ``.png`` or ``.svg``, make its folder if needed, and give the path.

    Raises:
        ValueError: ``path`` ends in neither.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"a figure is saved as .png or .svg, got {path.name!r}")
    write_bytes(path, rendered(figure, "svg" if kind == "svg" else "png"))
    return path
