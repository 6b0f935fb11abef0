"""Two kinds of rows of ``preference.py`` beside each other: whether one kind of loss carries more of a preference."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from kdbias.report.table import Column, Table
from kdbias.stats import Estimate, difference


@dataclass(frozen=True)
class Shares:
    """The shape shares of a row, one a seed; ``certain`` are those without what guesses explain.

    ``certain`` is None where a seed decides for either cue no more often than by guesses.
    """

    plain: list[float]
    certain: list[float] | None


def parse_kinds(text: str) -> tuple[str, list[str]]:
    """Read ``logits=kl,dist``: a kind and its rows.

    Raises:
        argparse.ArgumentTypeError: there is no name or no row.
    """
    name, _, rows = text.partition("=")
    found = [row for row in rows.split(",") if row]
    if not name or not found:
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=ROW,ROW, such as logits=kl,dist")
    return name, found


def require_kinds(kinds: Mapping[str, Sequence[str]], rows: Iterable[str]) -> None:
    """Pass two kinds whose rows are all among ``rows``.

    Raises:
        ValueError: not two kinds, or a row that does not run.
    """
    if len(kinds) != 2:
        raise ValueError(f"--kinds: expected two kinds of unlike names, got {sorted(kinds)}")
    missing = sorted({row for named in kinds.values() for row in named} - set(rows))
    if missing:
        raise ValueError(f"--kinds: no such row here: {', '.join(missing)}; --methods names those that run")


def kinds_table(student: str, shares: dict[str, Shares], kinds: dict[str, list[str]]) -> Table:
    """Give the difference of the kinds' means, then a row for each pair; both columns are corrected over all rows.

    ``shares`` has the values of each row, paired by seed; ``kinds`` names two kinds and their rows.

    Raises:
        ValueError: as ``require_kinds``.
    """
    require_kinds(kinds, shares)
    (name, own), (other_name, others) = kinds.items()
    rows: list[list[Any]] = [[f"{name} − {other_name}, means", *_beside(_mean(shares, own), _mean(shares, others))]]
    rows += [[f"{a} − {b}", *_beside(shares[a], shares[b])] for a, b in product(own, others)]
    n = len(shares[own[0]].plain)
    note = (
        f"Shape shares, paired by seed, {n} seeds; intervals: 95 %, Student's. {name}: {', '.join(own)}; {other_name}: "
        f"{', '.join(others)}. The first row is the difference of the two means of a seed."
    )
    columns = [Column("difference"), Column("shape share"), Column("share without guesses")]
    return Table(f"{name} beside {other_name}: {student} student, {n} seeds", columns, rows, note)


def _beside(a: Shares, b: Shares) -> list[Any]:
    return [_difference(a.plain, b.plain), _difference(a.certain, b.certain)]


def _difference(a: list[float] | None, b: list[float] | None) -> Any:
    if a is None or b is None:
        return Estimate.refuse("a seed decides for either cue no more often than by guesses")
    return difference(a, b) if len(a) > 1 else "-"


def _mean(shares: dict[str, Shares], rows: list[str]) -> Shares:
    certain = [found for row in rows if (found := shares[row].certain) is not None]
    plain = np.mean([shares[row].plain for row in rows], axis=0)
    return Shares(plain.tolist(), np.mean(certain, axis=0).tolist() if len(certain) == len(rows) else None)
