"""Tables of bias transfer: methods in rows, stress sets in columns, with what shows no difference called so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdbias.probes.base import Result
from kdbias.report.bias_rows import estimate
from kdbias.report.bias_transfer import Direction, differences, index, results_of, score, stress_sets
from kdbias.report.estimate_text import format_difference
from kdbias.report.group import Group, scalar_over_seeds
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.stats import Difference, Estimate

CLEAN = "clean"
SHARES = ("shape_share", "decided", "share_without_guesses", "mean_error")
OVER_CORRUPTIONS = ("mean_error", "mce", "relative_mce")
CUES = (*SHARES, "mce", "sensitivity_shape", "sensitivity_texture")
OVER = "Intervals: 95 %, Student's over seeds; of a teacher, which is one network, over images."


@dataclass(frozen=True)
class Transfer:
    """What the section of a page shows.

    ``published`` are ratios of an earlier report by method and set; ``setting`` says how they came about. ``smallest``
    is the smallest difference of the retention that matters; without one, nothing is called equal.
    """

    directions: Sequence[Direction]
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    setting: str = ""
    smallest: float | None = None

    @property
    def rows(self) -> dict[str, Group | Result]:
        """The rows of the tables of scores, each once: those of each direction in turn."""
        return {label: row for way in self.directions for label, row in way.rows.items()}

    @property
    def sets(self) -> list[str]:
        """The stress sets, in order."""
        return stress_sets(self.directions)

    def compared(self) -> list[tuple[str, str, dict[str, Difference]]]:
        """Give for each method with a control its label, the control's, and the differences by set."""
        return [
            (one.label, way.control.label, differences(one, way.control, stress_sets([way]), self.smallest))
            for way in self.directions
            if way.control is not None
            for one in way.methods
        ]


def tables(found: Transfer) -> dict[str, Table]:
    """Give the tables by file name: accuracy first, then ratio, retention, difference, transfer index, cues."""
    made = {
        "bias_accuracy": accuracy_table(found),
        "bias_ratio": ratio_table(found),
        "bias_retention": retention_table(found),
        "bias_difference": difference_table(found),
        "bias_index": index_table(found),
        "bias_cues": cue_table(found),
    }
    return {name: table for name, table in made.items() if table is not None and table.rows}


def accuracy_table(found: Transfer) -> Table:
    """Give the raw accuracy of methods, controls and teachers on clean images and on each set."""
    runs = [run for row in found.rows.values() for run in results_of(row)]
    chance = " or ".join(f"{100 / count:.1f} %" for count in sorted({int(run.meta["classes"]) for run in runs}))
    note = f"Each set at its highest strength; chance is {chance}. {OVER}"
    names = [CLEAN, *found.sets]
    columns = [Column("group"), *(percent(name) for name in names)]
    return Table("Accuracy under stress sets", columns, _rows(found, "accuracy", names), note)


def ratio_table(found: Transfer) -> Table:
    """Give accuracy / clean accuracy, with the earlier report's number below that of the same method."""
    rows: list[list[Cell]] = []
    for row in _rows(found, "ratio", found.sets):
        rows.append(row)
        if (own := found.published.get(str(row[0]))) is not None:
            rows.append([f"{row[0]}, published", *(own.get(name, "-") for name in found.sets)])
    note = f"Accuracy on the set / clean accuracy; a network that guesses keeps chance / clean accuracy. {OVER}"
    if len(rows) > len(found.rows):
        note += f" Published: {found.setting}. Nothing is tested against it."
    return Table('Ratio, the "bias" of the earlier report', _columns(found), rows, note)


def retention_table(found: Transfer) -> Table:
    """Give the share of the accuracy above chance that each set leaves."""
    note = (
        "(accuracy - chance) / (clean accuracy - chance): 1 keeps all, 0 is chance. Refused where clean accuracy "
        f"is not above chance. {OVER}"
    )
    return Table("Retention", _columns(found), _rows(found, "retention", found.sets), note)


def difference_table(found: Transfer) -> Table:
    """Give the difference of each method's retention from its control's."""
    compared = found.compared()
    rows: list[list[Cell]] = [
        [label, control, *(_cell(own.get(name)) for name in found.sets)] for label, control, own in compared
    ]
    many = " or ".join(map(str, sorted({len(own) for _, _, own in compared})))
    equal = "" if found.smallest is None else f" Equal: two one-sided tests against ±{found.smallest:g}."
    note = (
        f"Retention of the method - that of its control, paired by seed. Verdicts: p < .05 after Holm over the {many} "
        f"sets of a row. Intervals are Student's over seeds and not corrected.{equal}"
    )
    columns = [Column("group"), Column("control"), *(Column(name) for name in found.sets)]
    return Table("Difference from the control", columns, rows, note, corrected=True)


def index_table(found: Transfer) -> Table:
    """Give the transfer index of each method's retention on each set."""
    rows: list[list[Cell]] = [
        [one.label, *(index(one, way.control, way.teachers.get(one.label), name) for name in found.sets)]
        for way in found.directions
        if way.control is not None
        for one in way.methods
    ]
    note = (
        "(method - control) / (teacher - control) of the retention: 0 is the control, 1 the teacher. Fieller's 95 % "
        "interval over seeds, without the noise of the teacher; refused below three seeds, and where teacher and "
        "control are not apart."
    )
    return Table("Transfer index", _columns(found, digits=2), rows, note)


def cue_table(found: Transfer) -> Table | None:
    """Give which cue decides, the sensitivity to each, and errors under corruption; None if nothing was measured."""
    keys = [key for key in CUES if any(key in one.scalars for row in found.rows.values() for one in results_of(row))]
    if not keys:
        return None
    rows: list[list[Cell]] = [[label, *(_cue(row, key) for key in keys)] for label, row in found.rows.items()]
    heads = [percent(key) if key in SHARES else Column(key) for key in keys]
    note = "On conflict images, the shape share of decisions and the part decided; mean reciprocal rank on single cues."
    return Table("Cues and corruptions", [Column("group"), *heads], rows, f"{note} {OVER}")


def sentences(found: Transfer) -> list[str]:
    """Say of each method where a difference from its control is shown, and where none is."""
    return [_sentence(label, control, own) for label, control, own in found.compared()]


def _sentence(label: str, control: str, own: Mapping[str, Difference]) -> str:
    whole = f"all {len(own)} sets"
    refused = [name for name, one in own.items() if one.estimate.refused]
    known = {name: one for name, one in own.items() if name not in refused}
    shown = [f"{name} {format_difference(one)}" for name, one in known.items() if one.shown]
    equal = [name for name, one in known.items() if one.verdict == "equal"]
    nothing = [name for name, one in known.items() if one.verdict == "no difference shown"]
    said = [f"the retention differs on {', '.join(shown)}"] if shown else []
    said += [f"equal on {whole if len(equal) == len(own) else ', '.join(equal)}"] if equal else []
    said += [f"no difference shown on {whole if len(nothing) == len(own) else ', '.join(nothing)}"] if nothing else []
    said += [f"refused on {whole if len(refused) == len(own) else ', '.join(refused)}"] if refused else []
    said[-1] += f" ({own[refused[0]].estimate.reason})" if refused else ""
    return f"{label} against {control}: {'; '.join(said)}."


def _cell(found: Difference | None) -> Cell:
    """The cell of a comparison; one without a number is refused, not one that shows no difference."""
    if found is None:
        return "-"
    return found.estimate if found.estimate.refused else found


def _cue(row: Group | Result, key: str) -> Estimate | str:
    if isinstance(row, Result):
        return estimate(key)(row, key)
    results = results_of(row)
    corruptions = {tuple(sorted(name for name in one.scalars if name.startswith("error_"))) for one in results}
    if key in OVER_CORRUPTIONS and len(corruptions) > 1:
        return Estimate.refuse("its seeds have different corruptions")
    return scalar_over_seeds(results, key)


def _columns(found: Transfer, digits: int = 3) -> list[Column]:
    return [Column("group"), *(Column(name, digits=digits) for name in found.sets)]


def _rows(found: Transfer, kind: str, sets: Sequence[str]) -> list[list[Cell]]:
    """A row for each method, control and teacher, with a score by set."""
    return [[label, *(score(row, kind, name) for name in sets)] for label, row in found.rows.items()]
