"""The look of every figure, and its way into a file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbias.files import write_bytes

T = TypeVar("T")

INK = "#1a1a1a"
QUIET = "#6e6e6e"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b07d00")
"""Told apart with any colour vision, and dark enough for thin lines on white (Okabe and Ito 2008, yellow left out)."""
MARKERS = ("o", "s", "^", "D", "v", "P")

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
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house style inside the block; matplotlib's own settings come back afterwards."""
    with mpl.rc_context(STYLE):
        yield


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 3.1, squeeze: bool = True
) -> tuple[Figure, Any]:
    """Make a figure of ``width`` × ``height`` inches with ``rows`` × ``columns`` axes, outside pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=squeeze)


def look(place: int) -> dict[str, Any]:
    """Give the colour and the marker of the network in the given place; they repeat after six."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def legend_beside(axes: Axes) -> None:
    """Put the legend to the right of ``axes``, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def seeds(runs: T | Sequence[T], kind: type[T]) -> list[T]:
    """Give a list of runs from one run or several seeds of it."""
    return [runs] if isinstance(runs, kind) else list(runs)  # type: ignore[arg-type]


def rendered(figure: Figure, kind: Literal["png", "svg"] = "png") -> bytes:
    """Render ``figure``; drawn again from the same Results it gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with styled():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` to ``path``, a ``.png`` or ``.svg``, making its folder; give the path."""
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"a figure is saved as .png or .svg, got {path.name!r}")
    write_bytes(path, rendered(figure, "svg" if kind == "svg" else "png"))
    return path
