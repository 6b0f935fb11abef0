"""The CSV of a run that is resumed holds what was logged before."""

import csv

import pytest

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


def test_frozen_features_after_the_last_step_stay_and_what_else_is_logged_there_does_not(tmp_path):
    logger = csv_logger(str(tmp_path))
    frozen = {"val/knn": 0.5, "val/linear": 0.25, "epoch": 1}
    for metrics, step in (({"lr": 1.0}, 5), (frozen, 6), ({"val/knn": 0.75, "val/accuracy": 0.9}, 6), (frozen, 12)):
        logger.log_metrics(metrics, step=step)
    logger.save()
    keep_until(tmp_path / "metrics.csv", 6)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["val/knn"], row["val/linear"]) for row in rows] == [("5", "", ""), ("6", "0.5", "0.25")]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"lr,step\n0.1,1\n0.2,", ["1"]),  # cut short
        (b"lr,step\n0.1,1\n0.2", ["1"]),
        (b"lr,step\n0.1,1\n0.\0\0\0\0", ["1"]),
        (b"lr,step\n0.1,1\n0.2,two\n", ["1"]),
        (b"lr,step\n0.1,1\n0.2,2.0\n", ["1"]),
        (b"lr,step\n0.1,1\n0.2,-2\n", ["1"]),
        (b"lr,step\n0.1,1\n0.2," + b"9" * 5000 + b"\n", ["1"]),
        (b"lr,step\n0.1,1\n0.2,2,3\n", ["1"]),
        (b"lr\n0.1\n", []),
        (b"\xff\xfe\n", []),
    ],
)
def test_a_damaged_file_ends_no_run_and_is_kept_aside(tmp_path, capsys, content, kept):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    keep_until(path, 6)
    assert f"{path}: " in capsys.readouterr().out
    assert (tmp_path / "metrics.damaged.csv").read_bytes() == content
    logger = csv_logger(str(tmp_path))
    logger.log_metrics({"lr": 1.0}, step=6)
    logger.save()
    assert [row["step"] for row in csv.DictReader(path.open())] == [*kept, "6"]


@pytest.mark.parametrize("content", ["", "lr,step\n", "step,lr\n1,0.1\n"])
def test_a_whole_file_is_not_called_damaged(tmp_path, capsys, content):
    (tmp_path / "metrics.csv").write_text(content)
    keep_until(tmp_path / "metrics.csv", 6)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "metrics.damaged.csv").exists()
