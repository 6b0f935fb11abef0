"""Methods of several seeds against each other: what is paired with what, and what the table says of it."""

import numpy as np
import pytest

from kdbias.probes.base import Result
from kdbias.report.compare import matrix
from kdbias.report.method import Method, over_images, over_seeds, paired, pairing
from kdbias.stats import ratio

N = 400


def answers(share: float, seed: int) -> Result:
    right = np.random.default_rng([seed, int(1000 * share)]).random(N) < share
    places = np.arange(N)
    return Result("accuracy", {}, {"right": right, "index": places, "target": places % 10}, {"n": N, "classes": 10})


def test_transfer_efficiency_of_one_seed_is_the_ratio_of_the_accuracies():
    student, teacher = answers(0.6, 0), answers(0.9, 1)
    method = Method("a", [0], "p", accuracy=[student], teacher="t", taught_by=[teacher])
    found, other = method.efficiency, ratio(student.arrays["right"], teacher.arrays["right"], 10)
    assert (found.value, found.low, found.high) == pytest.approx((other.value, other.low, other.high), abs=0.01)
    assert Method("a", [0], "p", accuracy=[student], teacher="t", taught_by=[None]).efficiency == "-"


def test_methods_are_paired_by_seed_on_the_same_images_only():
    one = Method("a", [0, 1, 2], "p", accuracy=[answers(share, 0) for share in (0.5, 0.6, 0.7)])
    other = Method("b", [2, 0], "p", accuracy=[answers(share, 1) for share in (0.65, 0.4)])
    by_seed = over_seeds(one, other)
    first = [answers(share, 0).arrays["right"] for share in (0.5, 0.7)]
    second = [answers(share, 1).arrays["right"] for share in (0.4, 0.65)]
    expected = np.mean(first) - np.mean(second)
    assert by_seed.estimate.value == pytest.approx(expected)
    assert over_images(one, other).estimate.value == pytest.approx(expected)
    elsewhere = Method("c", [0], "q", accuracy=[answers(0.5, 1)])
    assert over_images(one, elsewhere) == over_seeds(one, elsewhere) == "-"
    assert pairing([(one, other)]) == "Differences are paired by seed; a with b over seeds 0, 2 alone."
    assert pairing([(one, elsewhere)]) == ""
    again = Method("e", [1, 2, 0], "p", accuracy=one.accuracy)
    assert (pairing([(one, again)]), len(paired(one, again))) == ("Differences are paired by seed.", 3)


def test_pairs_that_are_alike_share_one_sentence():
    def method(label, *seeds, untrained=False):
        return Method(label, seeds, "p", accuracy=[answers(0.5, seed) for seed in seeds], untrained=untrained)

    control, exp1, exp2 = (method(label, 0, 1, 2) for label in ("control", "EXP-1", "EXP-2"))
    first, later = (method(label, 0, untrained=True) for label in ("untrained", "untrained, EXP-3"))
    short, old = method("EXP-3", 1, 2), method("old", 7)
    others = (control, exp1, exp2)
    compared = [(one, other) for one in (exp1, exp2, short, old, first, later) for other in others if one is not other]
    assert pairing(compared) == (
        "Differences are paired by seed; EXP-3 with control, EXP-1 and EXP-2 over seeds 1, 2 alone; "
        "old with control, EXP-1 and EXP-2 unpaired, by the means of all runs (no seed in common); "
        "the untrained networks with control, EXP-1 and EXP-2 over seed 0 alone."
    )
    assert pairing([(first, control)]) == "Differences are paired by seed; untrained with control over seed 0 alone."
    assert pairing([(short, old), (old, short)]).count("unpaired") == 1
    notes = matrix([exp1, old, method("older", 8), control], control="control").text()[1]
    assert [note for note in notes if "paired" in note] == ["(2) runs are paired by their seeds: no seed in common"]


@pytest.mark.parametrize(("seeds", "why"), [([None], "no seed in common"), ([0, 0], "one has two runs of a seed")])
def test_where_seeds_cannot_be_paired_the_table_says_so(seeds, why):
    one = Method("a", [0, 1], "p", accuracy=[answers(share, 0) for share in (0.5, 0.7)])
    other = Method("b", seeds, "p", accuracy=[answers(0.4 + 0.1 * place, 1) for place, _ in enumerate(seeds)])
    assert over_seeds(one, other).reason == f"runs are paired by their seeds: {why}"
    found = over_images(one, other)
    assert found.estimate.value == pytest.approx(one.right.mean() - other.right.mean())
    text = matrix([one, other], control="b").markdown()
    assert f"Differences are paired by seed; a with b unpaired, by the means of all runs ({why})." in text
    assert f"(1) runs are paired by their seeds: {why}" in text
