"""A figure as a notebook shows it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown:
    """A figure that a notebook shows as a PNG when it is the last line of a cell; pyplot and its backend play no part.

    ``figure`` is matplotlib's.
    """

    def __init__(self, figure: Figure, dpi: int) -> None:
        self.figure, self.dpi = figure, dpi

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the figure to a ``.png`` or ``.svg``, and give the path."""
        from kdbias.report.style import save

        return save(self.figure, Path(path))

    def _repr_png_(self) -> bytes:
        from kdbias.report.style import rendered

        return rendered(self.figure, "png", self.dpi)

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return f"figure of {width:.1f} × {height:.1f} inches"


def show(figure: Figure, dpi: int = 100) -> Shown:
    """Give a figure, such as one of ``Results.figures()``, as a notebook shows it, with ``dpi`` pixels an inch."""
    return Shown(figure, dpi)
