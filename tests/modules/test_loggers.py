"""The CSV of a run that is resumed holds what was logged before."""

import csv

from kdbias.modules.loggers import csv as csv_logger
from kdbias.modules.loggers import keep_until


def test_resumed_csv_goes_on(tmp_path):
    first = csv_logger(str(tmp_path))
    first.log_metrics({"val/accuracy": 0.5}, step=1)
    first.save()
    second = csv_logger(str(tmp_path))
    second.log_metrics({"val/accuracy": 0.75, "lr": 1.0}, step=2)
    second.save()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["val/accuracy"], row["lr"]) for row in rows] == [("1", "0.5", ""), ("2", "0.75", "1.0")]


def test_rows_that_a_resumed_run_writes_again_are_left_out(tmp_path):
    logger = csv_logger(str(tmp_path))
    for step in (3, 6, 9):
        logger.log_metrics({"lr": float(step)}, step=step)
    logger.save()
    path = tmp_path / "metrics.csv"
    keep_until(path, 6)  # steps 0 to 5 are over
    assert [row["step"] for row in csv.DictReader(path.open())] == ["3"]
    keep_until(path, -1)
    assert list(csv.DictReader(path.open())) == []
    keep_until(tmp_path / "none.csv", 6)


def test_the_probe_after_the_last_step_stays_and_the_next_step_does_not(tmp_path):
    logger = csv_logger(str(tmp_path))
    for metrics, step in (({"lr": 1.0}, 5), ({"probe/cka/diversity": 0.5}, 6), ({"lr": 0.9}, 6)):
        logger.log_metrics(metrics, step=step)
    logger.save()
    keep_until(tmp_path / "metrics.csv", 6)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["lr"], row["probe/cka/diversity"]) for row in rows] == [
        ("5", "1.0", ""),
        ("6", "", "0.5"),
    ]
