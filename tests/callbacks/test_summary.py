import pytest
from rich.console import Console

from kdbias.callbacks.summary import closing_table, duration


def render(result):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(closing_table(result))
    return capture.get()


def test_table_shows_the_result():
    text = render(
        {
            "name": "exp1_resnet_kl",
            "test": {"accuracy": 0.90123},
            "objective": 0.9,
            "objective_name": "val/accuracy",
            "best_epoch": 6,
            "epochs": 10,
            "seconds": 125.2,
            "images_per_second": 1234.4,
            "parameters": 5_526_346,
            "teacher": "resnet18",
            "folder": "runs/x",
        }
    )
    for shown in ("exp1_resnet_kl", "90.12 %", "best val/accuracy", "0.9000", "7 of 10", "2 min 5 s", "1234 images/s"):
        assert shown in text
    for shown in ("5,526,346", "resnet18", "runs/x"):
        assert shown in text


def test_table_leaves_out_what_is_not_there():
    nothing = {"objective": float("nan"), "objective_name": None, "best_epoch": None}
    text = render({"name": "control", "teacher": None, "seconds": 3.0, "images_per_second": None, **nothing})
    assert "3.0 s" in text
    for hidden in ("teacher", "images/s", "accuracy", "folder", "None", "best", "nan"):
        assert hidden not in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (7384, "2 h 3 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
