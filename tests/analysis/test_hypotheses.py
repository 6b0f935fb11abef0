"""Verdicts on made-up scores: which are supported, which contradicted, and which these seeds do not decide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdbias.analysis.hypotheses import Score, Scores, judged, score
from kdbias.analysis.report import levels
from kdbias.analysis.study_node import Hypothesis, measure
from kdbias.probes.base import Result
from kdbias.report.judged import verdict_csv, verdict_figure, verdict_table, written_p
from kdbias.stats import power

NOISE = (-0.01, 0.0, 0.01, 0.004, -0.004)
CLAIM = Hypothesis(
    "gain", "It gains.", measure("test/accuracy"), ("student",), ("control",), "higher", 0.05, 0.01, 3
)  # fmt: skip


def scores(**groups: list[float]) -> dict[str, Scores]:
    return {"test/accuracy": Scores({name: dict(enumerate(map(Score, values))) for name, values in groups.items()})}


def shifted(by: float, seeds: int = 5, spread: float = 1.0) -> dict[str, Scores]:
    """A control whose seeds differ, and a student that is ahead of it by ``by``, within the noise."""
    control = [0.5 + 0.1 * seed for seed in range(seeds)]
    student = [value + by + spread * NOISE[seed] for seed, value in enumerate(control)]
    return scores(control=control, student=student)


@pytest.mark.parametrize(
    ("direction", "by", "spread", "seeds", "verdict"),
    [
        ("higher", 0.1, 1.0, 5, "supported"),
        ("higher", -0.1, 1.0, 5, "contradicted"),
        ("lower", -0.1, 1.0, 5, "supported"),
        ("lower", 0.1, 1.0, 5, "contradicted"),
        ("higher", 0.0, 1.0, 5, "contradicted"),  # shown to be smaller than what matters
        ("higher", 0.02, 1.0, 5, "contradicted"),  # there, but shown to be smaller than what matters
        ("higher", 0.1, 10.0, 3, "not decided"),
        ("higher", 0.1, 1.0, 1, "not decided"),
        ("equal", 0.0, 1.0, 5, "supported"),
        ("equal", 0.02, 1.0, 5, "supported"),  # a difference is shown, and it is smaller than what matters
        ("equal", 0.1, 1.0, 5, "contradicted"),
        ("equal", 0.0, 10.0, 5, "not decided"),
    ],
)
def test_the_verdict_is_what_the_seeds_show(direction, by, spread, seeds, verdict):
    (found,) = judged([replace(CLAIM, direction=direction)], shifted(by, seeds, spread))
    assert found.verdict == verdict
    assert found.seeds == seeds
    assert found.sentence.startswith(verdict.capitalize())
    assert found.difference.estimate.value == pytest.approx(by + spread * np.mean(NOISE[:seeds]))


@pytest.mark.parametrize(
    ("direction", "by", "heading"),
    [
        ("higher", 0.02, "Contradicted in size, though a smaller difference is shown"),
        ("lower", -0.02, "Contradicted in size, though a smaller difference is shown"),
        ("lower", 0.02, "Contradicted"),  # a smaller one is shown, on the other side
        ("higher", -0.1, "Contradicted"),
        ("higher", 0.0, "Contradicted in size"),
        ("equal", 0.1, "Contradicted"),
        ("equal", 0.0, "Supported"),
        ("equal", 0.02, "Supported, though a smaller difference is shown"),
        ("equal", 0.055, "Not decided at 5 seeds, though a difference is shown"),
        ("higher", 0.1, "Supported"),
        ("lower", -0.055, "Supported, but not shown to be as large as what matters"),
    ],
)
def test_the_heading_says_what_is_shown_of_the_size_of_a_difference(direction, by, heading):
    (found,) = judged([replace(CLAIM, direction=direction)], shifted(by))
    assert found.heading == heading


def test_what_could_have_been_shown_has_a_power_of_eight_tenths():
    (found,) = judged([CLAIM], shifted(0.1))
    sd = float(np.std(NOISE, ddof=1))
    assert found.could is not None
    assert power(found.could, sd, 5) == pytest.approx(0.8, abs=1e-6)
    assert f"{100 * found.could:.1f} points" in found.shows
    (alone,) = judged([CLAIM], shifted(0.1, seeds=1))
    assert alone.could is None
    assert alone.evidence.endswith(
        "3 seeds could show a difference of 5.0 points at the assumed standard deviation of 1.0 points"
    )
    (alone,) = judged([replace(CLAIM, direction="equal")], shifted(0.1, seeds=1))
    assert "3 seeds could show equality within 5.0 points at" in alone.evidence


@pytest.mark.parametrize("direction", ["higher", "equal"])
def test_seeds_that_all_gave_the_same_are_not_tested(direction):
    of = scores(student=[0.9, 0.8, 0.7], control=[0.4, 0.3, 0.2])
    (found,) = judged([replace(CLAIM, direction=direction)], of)
    assert (found.verdict, found.p) == ("not decided", None)
    assert "(student against control: +50.0 points, all seeds gave the same, which shows no noise" in found.sentence


def test_hypotheses_of_a_study_are_corrected_together_also_those_without_numbers():
    claims = [CLAIM, replace(CLAIM, name="other", of=("nothing",)), replace(CLAIM, name="third", of=("nothing",))]
    (alone,), (first, second, _) = judged(claims[:1], shifted(0.1)), judged(claims, shifted(0.1))
    assert first.p == pytest.approx(3 * alone.p)
    assert second.verdict == "not decided"
    assert "no seed is done in all groups" in second.sentence


def test_two_groups_on_a_side_are_their_difference_and_times_scales_the_other_side():
    given = scores(a=[0.9, 0.8], b=[0.5, 0.3], c=[0.4, 0.4], d=[0.3, 0.3])
    (found,) = judged([replace(CLAIM, of=("a", "b"), than=("c", "d"))], given)
    assert found.difference.estimate.value == pytest.approx(0.45 - 0.1)
    assert found.compared == "a - b against c - d"
    (found,) = judged([replace(CLAIM, of=("a",), than=("b",), times=0.5)], given)
    assert found.difference.estimate.value == pytest.approx(0.85 - 0.2)


def test_only_seeds_of_all_groups_are_paired():
    given = Scores({"student": {0: Score(0.5), 2: Score(0.9)}, "control": {2: Score(0.6), 3: Score(0.1)}})
    (found,) = judged([CLAIM], {"test/accuracy": given})
    assert (found.seeds, round(found.difference.estimate.value, 3)) == (1, 0.3)


def test_groups_of_unlike_loss_are_not_compared():
    claim = replace(CLAIM, matched=measure("hessian/loss"), within=0.1)
    loss = Scores({name: dict.fromkeys(range(5), Score(at)) for name, at in (("student", 1.5), ("control", 1.3))})
    (found,) = judged([claim], {**shifted(0.1), "hessian/loss": loss})
    assert found.verdict == "not decided"
    assert "not comparable: hessian/loss is 1.5 and 1.3" in found.sentence
    assert (found.seeds, found.p) == (5, None)  # the seeds are there, and nothing was tested
    assert verdict_table([found]).rows[0][4:] == ["-", found.written(0.05), "-", "5 of 3"]
    (found,) = judged([replace(claim, within=0.3)], {**shifted(0.1), "hessian/loss": loss})
    assert found.verdict == "supported"


def test_the_loss_is_compared_over_the_seeds_that_are_tested_and_of_every_group():
    claim = replace(CLAIM, matched=measure("hessian/loss"), within=0.1)
    loss = {"student": {0: Score(0.70)}, "control": {seed: Score(1.0 - 0.28 * (seed == 0)) for seed in range(5)}}
    (found,) = judged([claim], {**shifted(0.1), "hessian/loss": Scores(loss)})
    assert found.difference.estimate.reason == "hessian/loss is not known for seed 1, 2, 3, 4 of all groups"
    four = replace(claim, of=("a", "b"), than=("c", "d"))
    given = scores(a=[0.9, 0.8], b=[0.5, 0.3], c=[0.4, 0.4], d=[0.3, 0.3])
    levels_of = {
        name: dict.fromkeys(range(2), Score(at)) for name, at in zip("abcd", (0.2, 3.0, 0.2, 3.0), strict=True)
    }
    (found,) = judged([four], {**given, "hessian/loss": Scores(levels_of)})
    assert found.difference.estimate.reason.startswith("not comparable: hessian/loss is 0.2, 3, 0.2 and 3, more than")


def test_two_seeds_that_agree_by_accident_are_as_noisy_as_their_images():
    rng = np.random.default_rng(0)
    right = {name: {seed: rng.random(100) < share for seed in (0, 1)} for name, share in (("a", 0.6), ("b", 0.4))}
    ours, theirs = (np.array(list(right[name].values()), dtype=float) for name in "ab")
    sd = float((ours - theirs).std(axis=1).mean() / 10)
    of = {name: {seed: Score(share, right[name][seed]) for seed in (0, 1)} for name, share in (("a", 0.6), ("b", 0.4))}
    (found,) = judged([replace(CLAIM, of=("a",), than=("b",))], {"test/accuracy": Scores(of)})
    assert found.difference.estimate.high - found.difference.estimate.low == pytest.approx(
        2 * 12.706 * sd / 2**0.5, rel=1e-3
    )
    assert found.verdict == "not decided"


def test_a_score_is_a_scalar_a_mean_over_layers_or_a_moment_of_the_training(tmp_path: Path):
    layers = np.arange(12.0).reshape(6, 2)
    results = {"attention": Result("attention", {"distance": 5.5}, {"distance": layers}, {"n": 1})}
    assert score(measure("attention/distance"), tmp_path, results).value == 5.5
    assert score(measure("attention/distance[1-3]"), tmp_path, results).value == layers[1:4].mean()
    (tmp_path / "metrics.csv").write_text("epoch,val/accuracy\n0,.1\n1,.2\n2,\n3,.4\n")
    assert score(measure("val/accuracy@.5"), tmp_path, {}).value == 0.2
    assert score(measure("val/accuracy@1"), tmp_path, {}).value == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attention/nothing", "has no 'nothing'; it has distance"),
        ("attention/distance[4-6]", "has 6 layers"),
        ("attention/other[0-1]", "no such array"),
        ("cka/diversity", "no Result of the probe cka"),
        ("hessian/trace", "not defined here"),
        ("shuffle/accuracy_2", "is not a number"),
        ("shuffle/distance[0-1]", "distance.0-1. is not a number"),
        ("val/loss@.5", "val/loss@.5 is not a number"),
        ("val/accuracy@.25", "first measured after epoch 2 of 4"),
    ],
)
def test_a_score_that_is_not_there_says_what_is(tmp_path: Path, text: str, message: str):
    results = {
        "attention": Result("attention", {"distance": 5.5}, {"distance": np.zeros((6, 2))}, {"n": 1}),
        "hessian": Result("hessian", {}, {}, {"n": 0, "refused": "not defined here"}),
        "shuffle": Result("shuffle", {"accuracy_2": float("nan")}, {"distance": np.array([np.nan, 0.2])}, {"n": 1}),
    }
    (tmp_path / "metrics.csv").write_text("epoch,val/accuracy,val/loss\n0,,\n1,.2,nan\n3,.4,inf\n")
    with pytest.raises(ValueError, match=message):
        score(measure(text), tmp_path, results)


def test_tables_and_figure_of_the_verdicts():
    claims = [CLAIM, replace(CLAIM, name="other", direction="equal"), replace(CLAIM, name="third", of=("nothing",))]
    found = judged(claims, shifted(0.1))
    assert [row[2] for row in verdict_table(found).rows] == ["supported", "contradicted", "not decided"]
    lines = verdict_csv(found).splitlines()
    assert lines[1].startswith("gain,supported,test/accuracy,student against control,higher,0.0999")
    assert len(lines) == 4
    assert verdict_figure(found) is not None
    assert verdict_figure(found[2:]) is None


@pytest.mark.parametrize(
    ("direction", "by", "verdict", "size"),
    [
        ("higher", 0.1, "supported", "larger"),
        ("lower", -0.055, "supported (size not shown)", "not shown"),
        ("higher", 0.02, "contradicted in size", "smaller"),
        ("equal", 0.02, "supported", "smaller"),
        ("equal", 0.055, "not decided", "not shown"),
    ],
)
def test_table_and_csv_say_what_is_shown_of_the_size(direction, by, verdict, size):
    found = judged([replace(CLAIM, direction=direction)], shifted(by))
    assert verdict_table(found).rows[0][2] == verdict
    head, row = (line.split(",") for line in verdict_csv(found).splitlines())
    assert (row[1], row[head.index("size")]) == (found[0].verdict, size)


def test_the_p_of_a_verdict_is_that_of_the_test_it_rests_on():
    (small,) = judged([CLAIM], shifted(0.02))
    assert (small.difference.shown, small.difference.equal) == (True, True)
    assert small.p == small.difference.equal_corrected != small.difference.corrected
    (large,) = judged([CLAIM], shifted(0.1))
    assert large.p == large.difference.corrected
    equal, far = (judged([replace(CLAIM, direction="equal")], shifted(by))[0] for by in (0.0, 0.1))
    assert ", smaller than the 5.0 points that matter, p of equality" in small.evidence
    assert ", within ±5.0 points, p of equality" in equal.evidence
    assert "matter" not in large.evidence + far.evidence
    said = ((small, " (equality)"), (large, ""), (equal, " (equality)"), (far, " (too large a difference)"))
    for one, test in said:
        name = f"of {test[2:-1]} " if test else ""
        assert one.evidence.endswith(f"p {name}{written_p(one.p)}")
        assert verdict_table([one]).rows[0][4] == f"{written_p(one.p)}{test}"
    equal = replace(CLAIM, direction="equal")
    for by, name in ((0.02, "equal_corrected"), (0.055, "equal_corrected"), (0.1, "larger_corrected")):
        found = judged([equal, replace(equal, name="other")], shifted(by))[0]
        assert found.p == getattr(found.difference, name)
        assert (found.p < 0.05) == (found.verdict != "not decided")


@pytest.mark.parametrize("direction", ["equal", "lower"])
def test_no_verdict_goes_against_an_interval_within_what_matters(direction):
    """Whole interval within ±.2, but its equality does not survive the correction over six: no equality is refuted."""
    each = [-0.13 + 0.036 * one for one in (-1.34, -0.45, 0.45, 1.34)]
    claim = replace(CLAIM, direction=direction, smallest=0.2, measure=measure("attention/distance[1-3]"))
    of = {
        "attention/distance[1-3]": Scores(
            {"student": dict(enumerate(map(Score, each))), "control": dict(enumerate([Score(0.0)] * 4))}
        )
    }
    found = judged([claim, *(replace(claim, name=str(n), of=("nothing",)) for n in range(5))], of)[0]
    low, high = found.difference.estimate.low, found.difference.estimate.high
    assert -0.2 < low < high < 0
    assert (found.difference.shown, found.difference.equal) == (True, False)
    assert (
        found.heading
        == {
            "equal": "Not decided at 4 seeds, though a difference is shown",
            "lower": "Supported, but not shown to be as large as what matters",
        }[direction]
    )


def test_the_levels_are_those_that_a_hypothesis_reads():
    claim = replace(CLAIM, measure=measure("attention/distance"), matched=measure("test/loss"), within=0.1)
    of = Scores({name: {0: Score(1.0), 1: Score(2.0)} for name in ("student", "control", "other")})
    accuracies = {name: Scores({"student": {0: Score(0.5)}}) for name in ("test/accuracy", "test/loss")}
    found = levels([CLAIM, claim], accuracies | {"attention/distance": of})
    assert [(one.measure, one.group, dict(one.by_seed)) for one in found] == [
        ("attention/distance", "student", {0: 1.0, 1: 2.0}),
        ("attention/distance", "control", {0: 1.0, 1: 2.0}),
        ("test/loss", "student", {0: 0.5}),
    ]
