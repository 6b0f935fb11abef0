"""Weight schedules: values at and between their places, complements, and errors that name the key."""

import pytest
from omegaconf import OmegaConf

from kdbias.losses.schedule import Schedule


@pytest.mark.parametrize(
    ("weight", "expected"),  # at progress 0, .25, .5, 1
    [
        (0.5, [0.5, 0.5, 0.5, 0.5]),
        (1, [1, 1, 1, 1]),
        ({"kind": "constant", "value": 2.0}, [2, 2, 2, 2]),
        ({"kind": "linear", "start": 0.0, "end": 1.0}, [0, 0.25, 0.5, 1]),
        ({"kind": "linear", "start": 1.0, "end": 0.0, "begin": 0.25, "until": 0.75}, [1, 1, 0.5, 0]),
        ({"kind": "cosine", "start": 0.0, "end": 0.6}, [0, 0.3 * (1 - 0.5**0.5), 0.3, 0.6]),
        ({"kind": "warmup", "value": 2.0, "until": 0.5}, [0, 1, 2, 2]),
        ({"kind": "warmup", "value": 2.0, "begin": 0.25, "until": 0.75}, [0, 0, 1, 2]),
        ({"kind": "step", "values": [0, 1], "at": [0.5]}, [0, 0, 1, 1]),
        ({"kind": "step", "values": [3, 2, 1], "at": [0.25, 0.6]}, [3, 2, 2, 1]),
        ({"kind": "cosine", "start": 0.0, "end": 0.6, "complement": True}, [1, 0.7 + 0.3 * 0.5**0.5, 0.7, 0.4]),
    ],
)
def test_values(weight, expected):
    schedule = Schedule.of(weight)
    assert [schedule(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(expected)


def test_a_config_node_is_a_mapping():
    node = OmegaConf.create({"kind": "step", "values": [0, 1], "at": [0.5]})
    assert Schedule.of(node) == Schedule.of({"kind": "step", "values": [0, 1], "at": [0.5]})


def test_with_its_complement_it_sums_to_one():
    spec = {"kind": "linear", "start": 0.1, "end": 0.9, "begin": 0.2}
    one, other = Schedule.of(spec), Schedule.of({**spec, "complement": True})
    assert [one(p / 10) + other(p / 10) for p in range(11)] == pytest.approx([1.0] * 11)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            {"kind": "cosin", "start": 0},
            "weight.kind must be one of constant, linear, cosine, warmup, step, got 'cosin'",
        ),
        ({"start": 0}, "got None"),
        (
            {"kind": "linear", "start": 0, "stop": 1, "x": 2},
            "unknown stop, x; missing end; it takes start, end, .begin.",
        ),
        ({"kind": "warmup", "value": "high", "until": 0.1}, "value must be a number, got 'high'"),
        ({"kind": "step", "values": 1, "at": [0.5]}, "values must be a list of numbers, got 1"),
        ({"kind": "step", "values": [0, 1], "at": [0.5, 0.7]}, "one place for each value"),
        ({"kind": "warmup", "value": 1.0, "until": 20}, r"within 0..1 \(parts of training\)"),
        ({"kind": "linear", "start": 0, "end": 1, "begin": 0.5, "until": 0.5}, "must rise"),
        ({"kind": "constant", "value": 1.0, "complement": "yes"}, "complement must be true or false"),
        ({"kind": "constant", "value": 1.5, "complement": True}, "finite and >= 0, got -0.5"),
        (-0.1, "finite and >= 0, got -0.1"),
        (float("nan"), "finite"),
        (True, "weight must be a number, got True"),
        ("0.5", "weight must be a number"),
    ],
)
def test_errors(weight, message):
    with pytest.raises(ValueError, match=message):
        Schedule.of(weight)
