"""The transfer between three networks, on made-up Results: over images, with refused rows and corrected verdicts."""

import numpy as np
import pytest
from bias_results import result

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


def test_other_images_are_refused():
    one, other = measured(CONTROL, 1), measured(TEACHER, 2)
    other.arrays["index"] += 1
    with pytest.raises(ValueError, match="other images"):
        transfer_table(one, one, other)
