"""How much of a bias three networks hand on: a student beside its control and its teacher, over the same images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.report.bias_rows import estimate, last_versions
from kdbias.report.bias_transfer import number, paired_answers
from kdbias.report.table import Cell, Column, Table
from kdbias.stats import Difference, Estimate, difference, quotient_by_image, transfer_index_images

Pairs = npt.NDArray[np.float64]
NOTE = (
    "Intervals: 95 %, over images. They say nothing of other seeds: one network each is not the recipe. Index: "
    "(student - control) / (teacher - control); 0 is the control, 1 the teacher."
)


def transfer_table(student: Result, control: Result, teacher: Result) -> Table:
    """Give a row for each stress set and one for the shape share: the three scores, the difference, the index.

    The Results are of ``probe=bias`` on the same images. A set's score is the retention at its highest strength. The
    difference is student - control, its verdict corrected over the rows (Holm).

    Raises:
        ValueError: nothing was measured of a network, or the Results are of other images, classes or sets.
    """
    three = (student, control, teacher)
    _require_same({"student": student, "control": control, "teacher": teacher})
    rows: list[list[Cell]] = []
    for name in last_versions(student):
        scores = [number(one, "retention", name) for one in three]
        rows.append(_row(f"retention, {name}", scores, [_kept(one, name) for one in three]))
    if all("by_shape" in one.arrays for one in three):
        shares = [estimate("shape_share")(one, "") for one in three]
        rows.append(_row("shape share", shares, [_decided(one) for one in three]))
    columns = ["score", "student", "control", "teacher", "student - control", "transfer index"]
    title = f"Transfer of bias, {len(student.arrays['index']):,} images"
    return Table(title, [Column(name, digits=2) for name in columns], rows, NOTE)


def _require_same(named: Mapping[str, Result]) -> None:
    """Pass Results of the same images, classes and sets; the first is what the others must be like."""
    for name, one in named.items():
        if one.refused:
            raise ValueError(f"nothing was measured of the {name}: {one.refused}")
    (first, asked), *others = ((name, _asked(one)) for name, one in named.items())
    for name, other in others:
        if unlike := [what for what in asked if other[what] != asked[what]]:
            raise ValueError(
                f"the Results are of other images or sets: {name} and {first} differ in their {', '.join(unlike)}: "
                "measure all three on the same images, with the same settings of the probe"
            )


def _asked(result: Result) -> dict[str, Any]:
    """What a network was asked, by what a message calls it."""
    arrays, meta = result.arrays, result.meta
    versions = sorted((one["set"], one["kind"], one["strength"]) for one in meta["versions"])
    return {
        "images": [meta.get("split"), *(_numbers(arrays, key) for key in ("index", "target"))],
        "number of classes": meta["classes"],
        "sets and strengths": versions,
        "settings of the sets": json.dumps(meta.get("sets"), sort_keys=True),
        "seed": meta.get("seed"),
        "cue-conflict images": [_numbers(arrays, key) for key in ("conflict_shape", "conflict_texture")],
    }


def _numbers(arrays: Mapping[str, npt.NDArray[Any]], key: str) -> list[Any] | None:
    return arrays[key].tolist() if key in arrays else None


def _row(label: str, scores: list[Estimate], parts: list[Pairs | None]) -> list[Cell]:
    reason = next((one.reason for one in scores if one.refused), "")
    pairs = [one for one in parts if one is not None and len(one) and one[:, 1].sum() != 0]
    if not reason and (len(pairs) < len(parts) or len({len(one) for one in pairs}) > 1):
        reason = "the answers to the same images are not known"
    if reason:
        refused = Estimate.refuse(reason)
        return [label, *scores, Difference(refused, 1.0), refused]
    ours, theirs, taught = pairs
    apart = difference(quotient_by_image(*ours.T), quotient_by_image(*theirs.T), over="images")
    return [label, *scores, apart, transfer_index_images(ours, theirs, taught)]


def _kept(result: Result, name: str) -> Pairs | None:
    """Right answers on the set and on the clean images, above chance, of each image."""
    found = paired_answers(result, name)
    if found is None:
        return None
    return np.column_stack(found).astype(np.float64) - 1 / int(result.meta["classes"])


def _decided(result: Result) -> Pairs:
    """Whether a conflict image is decided for the shape, and whether for either cue."""
    return np.column_stack([result.arrays["by_shape"], result.arrays["decided"]]).astype(np.float64)
