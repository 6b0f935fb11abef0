"""``kdbias.stress_figure``: what ``python analyze.py task=show_stress`` draws, as a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdbias.analysis.tasks import TASKS
from kdbias.api.session import kept, own_hydra, running
from kdbias.api.words import command, listed
from kdbias.checks.command import require_command
from kdbias.config.spec import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def stress_figure(
    data: str | Mapping[str, Any],
    stress: str | list[str] | Mapping[str, Any],
    *,
    count: int | None = None,
    settings: Mapping[str, Any] | None = None,
    **named: Any,
) -> Figure:
    """Draw images under stress sets as ``python analyze.py task=show_stress`` does, and give the figure.

    Args:
        data: An option of ``conf/data``, or a mapping of it to its settings: ``{"cues": {"test": 100}}``.
        stress: Options of ``conf/stress``: ``["smooth", "scramble"]``, or a mapping of them to settings.
        count: How many images; as many as fit in 16 columns, if it is not given.
        settings: Values by their full key: ``{"stress.scramble.grid": 8}``.
        **named: Any other setting of ``conf/analyze.yaml``: ``strengths=[0.5, 1.0], split="val"``.

    Raises:
        ConfigError: an argument has a mistake, or a set refuses the images; the message is one line.
    """
    arguments = {**named, "data": data, "stress": listed(stress), "images": count}
    with own_hydra():
        words = [*command(arguments, settings), "task=show_stress"]
        require_command(words, "analyze", TASKS)
        with running("analyze", words) as cfg, kept():
            from kdbias.analysis import show_stress

            return show_stress.stress_figure(plain(cfg))
