"""The transfer between three networks, on made-up Results: over images, with refused rows and corrected verdicts."""

import numpy as np
import pytest
from bias_results import result

from kdbias.probes.base import Result, refused
from kdbias.report.bias_networks import transfer_table
from kdbias.stats import Difference

CONTROL = {"clean": 0.8, "grey": 0.5, "rotate": 0.4, "noise": 0.6}
TEACHER = {"clean": 0.9, "grey": 0.8, "rotate": 0.2, "noise": 0.675}
HALF = {"clean": 0.85, "grey": 0.6553, "rotate": 0.3, "noise": 0.64}


def measured(shares, seed):
    found = result(shares, seed)
    found.arrays["index"] = np.arange(2000)
    found.meta["split"] = "test"
    return found


def rows(student, control=CONTROL, teacher=TEACHER):
    table = transfer_table(*(measured(shares, seed) for seed, shares in enumerate((student, control, teacher))))
    return {str(row[0]): row[1:] for row in table.rows}, table


def test_the_index_and_the_difference_follow_from_the_scores():
    found, table = rows(HALF)
    assert {"retention, grey", "retention, rotate", "retention, noise"} <= set(found)
    student, control, teacher, apart, index = found["retention, grey"]
    assert apart.estimate.value == pytest.approx(student.value - control.value)
    assert index.value == pytest.approx((student.value - control.value) / (teacher.value - control.value))
    assert index.low < index.value < index.high
    assert apart.verdict == "higher"
    assert found["retention, rotate"][3].verdict == "lower"
    assert apart.corrected > apart.p
    assert "over images" in table.caption


def test_what_is_not_shown_is_called_so_and_no_index_stands_without_a_gap():
    found, table = rows(CONTROL)
    for name in ("grey", "rotate", "noise"):
        assert found[f"retention, {name}"][3].verdict == "no difference shown"
    assert found["retention, noise"][4].refused  # the teacher keeps what the control keeps
    assert "there is nothing to transfer" in found["retention, noise"][4].reason
    assert "no difference shown [" in table.html() == table._repr_html_()


def test_a_network_that_guesses_has_refused_rows_and_not_wrong_ones():
    found, _ = rows({**dict.fromkeys(HALF, 0.1)})
    apart, index = found["retention, grey"][3:]
    assert isinstance(apart, Difference)
    assert apart.estimate.refused
    assert "nothing to retain" in index.reason


def asked(shares, seed):
    """A Result with all that says what the network was asked."""
    found = measured(shares, seed)
    target, shape = np.arange(2000) % 10, np.arange(9)
    found.arrays.update(target=target, conflict_shape=shape, conflict_texture=shape + 1)
    sets = {name: {"_target_": f"kdbias.stress.{name}", "grid": 2} for name in ("grey", "rotate", "noise")}
    found.meta.update(seed=0, sets=sets, precision="fp32", teacher=None, reference=None)
    return found


OTHER = {
    "images": [
        lambda one: one.arrays.update(index=one.arrays["index"] + 1),
        lambda one: one.arrays.update(target=one.arrays["target"][::-1]),
        lambda one: one.meta.update(split="val"),
    ],
    "number of classes": [lambda one: one.meta.update(classes=100)],
    "sets and strengths": [
        lambda one: one.meta["versions"][0].update(strength=0.25),
        lambda one: one.meta["versions"].pop(),
    ],
    "settings of the sets": [lambda one: one.meta["sets"]["grey"].update(grid=8)],
    "seed": [lambda one: one.meta.update(seed=1)],
    "cue-conflict images": [
        lambda one: one.arrays.update(conflict_texture=np.arange(9) + 2),
        lambda one: one.arrays.pop("conflict_shape"),
    ],
}


@pytest.mark.parametrize("what", OTHER)
def test_results_that_were_asked_something_else_are_refused(what):
    for change in OTHER[what]:
        for place, name in ((1, "control"), (2, "teacher")):
            three = [asked(shares, seed) for seed, shares in enumerate((HALF, CONTROL, TEACHER))]
            change(three[place])
            with pytest.raises(ValueError, match=rf"other images or sets: {name} and student differ in their {what}:"):
                transfer_table(*three)


def test_what_does_not_change_the_answers_is_not_compared(tmp_path):
    """A teacher beside which another network was measured, the order of the sets, and what a file makes of a tuple."""
    shares = [{key: one[key] for key in ("clean", "grey")} for one in (HALF, CONTROL, TEACHER)]
    student, control, teacher = (asked(one, seed) for seed, one in enumerate(shares))
    student.meta.update(teacher="resnet18", reasons={"x": "y"})
    control.meta["sets"] = dict(reversed(control.meta["sets"].items()))
    for one in (student, control, teacher):
        one.meta["sets"]["grey"]["sides"] = (1, 2)
    teacher.save(tmp_path)
    table = transfer_table(student, control, Result.load(tmp_path, "bias"))
    assert [row[0] for row in table.rows] == ["retention, grey"]
    assert table.title == "Transfer of bias, 2,000 images"


def test_a_network_of_which_nothing_was_measured_is_named():
    with pytest.raises(ValueError, match="nothing was measured of the teacher: it has no classifier"):
        transfer_table(asked(HALF, 0), asked(CONTROL, 1), refused("bias", "it has no classifier"))
