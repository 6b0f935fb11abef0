"""Why a run in its own process failed: it leaves the reason in its folder, where the waiting process reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdbias.files import write_json
from kdbias.runs.process import JOB

FAILURE = "failure.json"


@contextmanager
def noted(folder: Path) -> Iterator[None]:
    """Leave in ``folder`` why the block failed, if this is a child of ``kdbias.runs.process``; the error goes on.

    Of several processes of a run the first one's reason stays: the others fail because it is gone.
    """
    try:
        yield
    except Exception as error:
        if JOB in os.environ and not (folder / FAILURE).exists():
            write_json(folder / FAILURE, {"kind": type(error).__name__, "text": str(error)})
        raise


def forget(folder: Path) -> None:
    """Remove the reason of an earlier failure, before a run begins again."""
    (folder / FAILURE).unlink(missing_ok=True)


def reason(folder: Path) -> str | None:
    """Give why the run in ``folder`` failed, in one line; None if it left no reason, as a killed process does."""
    path = folder / FAILURE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return None  # cut short by the failure itself, such as a full disk
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        return None
    return f"{found['kind']}: {' '.join(str(found.get('text', '')).split())}"
