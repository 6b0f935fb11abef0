"""The CSV of a run that is resumed holds what was logged before."""

import csv

from kdbias.modules.loggers import csv as csv_logger


def test_resumed_csv_goes_on(tmp_path):
    first = csv_logger(str(tmp_path))
    first.log_metrics({"val/accuracy": 0.5}, step=1)
    first.save()
    second = csv_logger(str(tmp_path))
    second.log_metrics({"val/accuracy": 0.75, "lr": 1.0}, step=2)
    second.save()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["val/accuracy"], row["lr"]) for row in rows] == [("1", "0.5", ""), ("2", "0.75", "1.0")]
