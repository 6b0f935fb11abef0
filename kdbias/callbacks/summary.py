"""The table that closes a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kdbias.files import typed
from kdbias.runs.clock import duration as duration


def closing_table(result: Mapping[str, Any]) -> Table:
    """Give the table of what ``result.json`` holds; what a result does not have is left out.

    It reads ``name``, ``test`` (``accuracy``, ``knn``, ``linear``), ``stopped``, ``objective`` with
    ``objective_name``, ``best_epoch`` (from 0), ``epochs``, ``seconds``, ``images_per_second``, ``parameters``,
    ``teacher``, ``refused`` (what was not measured, and why) and ``folder``.
    """
    table = Table(title=str(result.get("name", "")), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in _rows(result):
        table.add_row(label, text)
    return table


def _rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if (accuracy := (result.get("test") or {}).get("accuracy")) is not None:
        rows.append(("test accuracy", f"{100 * accuracy:.2f} %"))
    for key, label in (("knn", "test k-NN"), ("linear", "test linear probe")):
        if (value := (result.get("test") or {}).get(key)) is not None:
            rows.append((label, f"{100 * value:.2f} %"))
    if result.get("stopped"):
        rows.append(("stopped", str(result["stopped"])))
    if (objective := result.get("objective")) is not None and not math.isnan(objective):
        rows.append((f"best {result.get('objective_name', 'objective')}", f"{objective:.4f}"))
    if (epoch := result.get("best_epoch")) is not None:
        rows.append(("best epoch", f"{epoch + 1} of {result['epochs']}" if "epochs" in result else str(epoch + 1)))
    if (seconds := result.get("seconds")) is not None:
        rows.append(("time", duration(seconds)))
    if (rate := result.get("images_per_second")) is not None:
        rows.append(("training", f"{rate:.0f} images/s"))
    if (parameters := result.get("parameters")) is not None:
        rows.append(("parameters", f"{parameters:,}"))
    if result.get("teacher"):
        rows.append(("teacher", str(result["teacher"])))
    rows += [(name, f"refused: {reason}") for name, reason in (result.get("refused") or {}).items()]
    if "folder" in result:
        rows.append(("folder", typed(result["folder"])))
    return rows
