"""Fixtures of the tests of tasks."""

from typing import Any

import pytest
from matplotlib.figure import Figure

from kdbias.report import style

RENDERED = style.rendered


@pytest.fixture(autouse=True)
def figures_without_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave axes where matplotlib puts them first: arranging them takes most of a figure's time."""

    def rendered(figure: Figure, *how: Any) -> bytes:
        figure.set_layout_engine(None)
        return RENDERED(figure, *how)

    monkeypatch.setattr(style, "rendered", rendered)
