"""The tables over seeds in docs/results.md follow from the counts of each seed by the statistics of today."""

import csv
import importlib.util
import re
from collections import defaultdict
from pathlib import Path

import pytest

from kdbias.report.estimate_text import format_difference, format_estimate
from kdbias.stats import Difference, Estimate, difference, family, seed_mean, transfer_index

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "data"
PAGE = (ROOT / "docs" / "results.md").read_text()
TABLES = ("cnn", "cnn-long", "vit", "methods-cnn", "methods-vit", "relations-cnn")
COLUMNS = {"accuracy − control": ("right of 4000", None), "share − control": ("by shape", "decided of 4000")}


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scores(table: str, column: str) -> dict[str, list[float]]:
    """Accuracies or shape shares of each method, paired with the control's."""
    above, below = COLUMNS[column]
    found = defaultdict(list)
    for row in rows_of("preference-seeds"):
        if row["table"] == table:
            found[row["method"]].append(int(row[above]) / (int(row[below]) if below else 4000))
    return dict(found)


def differences(found: dict[str, list[float]]) -> dict[str, Difference]:
    control = found["no teacher"]
    names = [name for name in found if name != "no teacher"]
    return dict(zip(names, family([difference(found[name], control) for name in names]), strict=True))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("table", TABLES)
def test_differences_and_verdicts_follow_from_the_seeds(table, column):
    judged = differences(scores(table, column))
    rows = {row["method"]: row for row in rows_of(f"preference-{table}")}
    assert judged.keys() == rows.keys() - {"no teacher", "the teacher", "the teacher of capd"}
    for name, one in judged.items():
        row = rows[name]
        numbers = [float(row[f"{column}{end}"]) for end in ("", " low", " high", " p", " p after Holm")]
        expected = [one.estimate.value, one.estimate.low, one.estimate.high, one.p, one.corrected]
        assert numbers == pytest.approx(expected, abs=1e-9), name
        assert row[f"{column} verdict"] == one.verdict, name


@pytest.mark.parametrize("table", TABLES)
def test_the_index_follows_from_the_seeds(table):
    rows = {row["method"]: row for row in rows_of(f"preference-{table}")}
    shares = scores(table, "share − control")
    for name in shares.keys() - {"no teacher", "random"}:
        teacher = float(rows[f"the teacher{' of capd' if name == 'capd' else ''}"]["shape share"])
        found = transfer_index(shares[name], shares["no teacher"], teacher)
        numbers = [float(rows[name][f"index{end}"]) for end in ("", " low", " high")]
        assert numbers == pytest.approx([found.value, found.low, found.high], abs=1e-9), name


def test_the_page_has_the_rows_of_the_data():
    """Accuracy, share and both differences, as text."""
    for table in TABLES:
        sets = [scores(table, column) for column in COLUMNS]
        judged = [differences(found) for found in sets]
        for name in sets[0].keys() - {"no teacher"}:
            label = "random, with labels" if (table, name) == ("cnn-long", "random_labels") else name
            means: list[Estimate] = [seed_mean(found[name], within=(0, 1)) for found in sets]
            cells = []
            for mean, each, scale, digits in zip(means, judged, (100, 1), (1, 3), strict=True):
                cells += [format_estimate(mean, scale, digits), format_difference(each[name], scale, digits)]
            row = f"| {label} | " + " | ".join(cells).replace("no difference shown", "no diff.") + " |"
            assert row in PAGE, f"{table}: {row}"


def test_the_matrix_has_the_verdicts_of_its_seeds():
    rows = rows_of("cifar10-matrix")
    right = {row["row"]: [float(part) / 100 for part in row["by seed"].split(",")] for row in rows}
    right["no teacher"] = right.pop("control")
    column = "row − control, seeds"
    for name, one in differences(right).items():
        row = next(row for row in rows if row["row"] == name)
        numbers = [float(row[f"{column}{end}"]) for end in ("", " low", " high", " p", " p after Holm")]
        expected = [one.estimate.value, one.estimate.low, one.estimate.high, one.p, one.corrected]
        assert numbers == pytest.approx(expected, abs=1e-9), name
        assert row[f"{column} verdict"] == one.verdict == "no difference shown"
        assert re.search(rf"^\| {name} \|.*{re.escape(f'[{100 * one.estimate.low:+.2f}')}", PAGE, re.MULTILINE)


def bias_table():
    """The script that made the tables of stress sets."""
    spec = importlib.util.spec_from_file_location("bias_table", ROOT / "benchmarks" / "bias_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_accuracies_under_stress_sets_and_the_errors_under_corruption_of_the_data():
    script, measured = bias_table(), rows_of("cifar10-bias")
    for lines in (
        script.accuracy_rows(measured, False),
        script.accuracy_rows(measured, True),
        script.error_rows(rows_of("cifar10-mce")),
    ):
        assert len(lines) > 3
        assert "\n".join(lines) in PAGE


def test_no_number_under_stress_is_one_that_only_the_set_explains():
    """ResNet-56 is above chance on every set at full strength, and nothing makes a network more accurate."""
    measured = rows_of("cifar10-bias")
    clean = {(row["network"], row["n"]): float(row["accuracy high"]) for row in measured if row["set"] == "clean"}
    for row in measured:
        assert int(row["n"]) >= 400
        full = row["network"] == "ResNet-56" and float(row["strength"]) == 1
        assert not full or float(row["p of guessing"]) < 0.01, row["set"]
        if row["set"] != "silhouette":  # only where one was found
            assert float(row["accuracy"]) <= clean[row["network"], row["n"]], row
