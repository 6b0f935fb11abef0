"""How much of a bias three networks hand on: a student beside its control and its teacher, over the same images."""

from __future__ import annotations

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
        ValueError: the Results are of other images.
    """
    three = (student, control, teacher)
    first = student.arrays["index"]
    if any(
        not np.array_equal(one.arrays["index"], first) or one.meta["split"] != student.meta["split"] for one in three
    ):
        raise ValueError("the Results are of other images: measure all three on the same")
    shared = [name for name in last_versions(student) if all(name in last_versions(one) for one in three)]
    rows: list[list[Cell]] = []
    for name in shared:
        scores = [number(one, "retention", name) for one in three]
        rows.append(_row(f"retention, {name}", scores, [_kept(one, name) for one in three]))
    if all("by_shape" in one.arrays for one in three):
        shares = [estimate("shape_share")(one, "") for one in three]
        rows.append(_row("shape share", shares, [_decided(one) for one in three]))
    columns = ["score", "student", "control", "teacher", "student - control", "transfer index"]
    title = f"Transfer of bias, {len(first):,} images"
    return Table(title, [Column(name, digits=2) for name in columns], rows, NOTE)


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
