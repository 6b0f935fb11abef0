"""``python analyze.py task=list``: the runs below paths.runs, with seed, swept values, accuracy and state."""

from __future__ import annotations

from pathlib import Path

from kdbias.config.spec import Tree
from kdbias.runs.listing import listing


def list(tree: Tree) -> None:
    """Print the list. Nothing is loaded or written; a damaged run is one line."""
    print("\n".join(listing(Path(str(tree["paths"]["runs"])))))
