"""The page of a study from made-up Results: the answers first, then figures and tables, all in one file."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_page_results import SHAPES, TEXTURES, attention, study
from study_page_results import cues as cue_result
from study_page_results import test as accuracy_result

from kdbias import cli
from kdbias.analysis.report import write
from kdbias.probes.base import Result
from kdbias.report.cue_examples import goes_by
from kdbias.report.cues import cue_accuracies
from kdbias.report.group import Group, levels_csv, scalar_table
from kdbias.report.networks import beside
from kdbias.report.study import HEADINGS, lead, study_markdown, study_page, study_tables, within_noise
from kdbias.report.study_attention import attention_parts, attention_sentence, distances_apart
from kdbias.report.study_cues import cue_parts, first_numbers, inheritance, networks_table, shown
from kdbias.report.study_level import Level
from kdbias.report.study_results import StudyResults
from kdbias.report.study_training import training_panels
from kdbias.report.table import percent
from kdbias.stats import Difference, Estimate, difference

FIGURES = (
    *("verdicts", "accuracy", "cues", "shape-share", "cue-accuracy"),
    *("training-accuracy", "training-loss"),
)


def words(html: str) -> str:
    """The text of a page, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.replace("\N{NO-BREAK SPACE}", " ")))


def test_the_page_answers_first_and_stands_alone_with_everything_beside_it(tmp_path):
    found = study()
    path = write(found, tmp_path, "toy")
    html = path.read_text()
    first = html[html.index("<body>") : html.index("<h2>")]
    order = [first.index(part) for part in ("<h1>", 'class="answers"', "<dfn>teacher</dfn>", "<img")]
    assert order == sorted(order)
    for one in found.judged:
        assert f"Supported: {one.says} {one.evidence}." in words(first)
    assert "http" not in html
    assert "<script" not in html
    assert (html.count("data:image/png;base64,"), html.count("data:image/svg+xml;base64,")) == (6, 7)
    assert all(re.search(r"\d", alt) for alt in re.findall(r'alt="([^"]*)"', html))
    for part in (
        "Shape or texture",
        "Where attention looks",
        "Training",
        "Transfer index",
        "Images are made on the spot",
    ):
        assert part in html
    assert first.count("Images are made on the spot") == 0
    assert {one.name for one in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
    }
    assert "Here the *teacher* trains" in (tmp_path / "toy.md").read_text()


def test_one_seed_decides_nothing_and_still_has_its_numbers(tmp_path):
    found = study(seeds=1)
    text = words(write(found, tmp_path, "toy").read_text())
    assert {one.verdict for one in found.judged} == {"not decided"}
    for one in found.judged:
        assert one.heading == "Not decided at 1 seed"
        assert f"{one.heading}: {one.says} {one.evidence}." in text
        assert one.evidence.endswith("no interval from one seed; 5 seeds could show a difference of 20 points")
    assert "One seed does not show how much trainings differ, so it decides nothing." in lead(found)
    assert not re.search(r"Supported|Contradicted|\bnan\b|1 seeds", text)
    assert "one seed says nothing of other seeds" in inheritance(found)[0]
    assert "one seed decides nothing" in attention_sentence(found)
    assert [row[4] for row in study_tables(found)["hypotheses"].rows] == ["-"] * len(found.judged)  # no p from one seed
    rows = [row[0] for row in study_tables(found)["networks"].rows]
    assert rows == ["student", "control", "teacher"]
    assert (tmp_path / "networks.csv").is_file()
    assert networks_table(study(seeds=2)) is None


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({}, "The student took over"),
        ({"student": 0.05}, "The student moved away from its teacher's preference"),
        ({"student": 0.2}, "No difference shown: whether the student inherited"),
        ({"teacher": 0.2, "student": 0.2}, "Whether a preference was inherited cannot be said"),
    ],
)
def test_what_was_taken_over_claims_no_more_than_is_shown(made, says):
    (said,) = inheritance(study(**made))
    assert said.startswith(says)
    assert "nan" not in said


def test_examples_say_which_cue_each_network_goes_by():
    found = study()
    example = found.examples[2]
    assert example.caption == f"{SHAPES[2]} filled with {TEXTURES[5]}"
    networks = {"teacher": found.teachers["student"]["cues"]}
    networks |= {group.label: group.results["cues"][0] for group in found.groups}
    assert list(example.answers) == ["teacher", "control", "student"]
    for name, cues in networks.items():
        expected = "shape" if cues.arrays["by_shape"][2] else "texture" if cues.arrays["decided"][2] else "neither"
        assert example.answers[name] == goes_by(cues, 2) == expected
        assert f"the {name} names" in example.says


def test_curves_without_epochs_are_not_drawn():
    odd = {"train/loss": np.ones(2)}, {"train/loss": np.ones(2), "epoch": np.full(2, np.nan)}
    found = replace(study(), metrics={"student": odd, "control": study().metrics["control"]})
    assert "student" not in training_panels(found)["training-loss"].says
    assert "control from" in training_panels(found)["training-loss"].says


def test_the_networks_of_one_seed_stand_in_a_table_with_intervals_over_images():
    table = networks_table(study(seeds=1))
    assert table is not None
    assert table.columns[1] == percent("accuracy")
    assert all(cell.low < cell.value < cell.high for row in table.rows for cell in row[1:3])
    assert table.caption.startswith("Accuracy on 500 test images")


def test_the_table_of_networks_says_which_of_them_was_tested_on_fewer_images():
    found = study(seeds=1)
    few = Result("accuracy", {"accuracy": 0.5}, {"right": np.arange(100) % 2 == 0}, {"n": 100, "classes": 10})
    table = networks_table(replace(found, beside={**found.beside, "accuracy": {"teacher demo_shape": few}}))
    assert table is not None
    assert table.caption.startswith("Accuracy on 500 (student, control) or 100 (teacher) test images")


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_numbers_that_answer_the_question_stand_under_the_title(seeds):
    found = study(seeds=seeds)
    shares = [np.mean([one.scalars["shape_share"] for one in group.results["cues"].values()]) for group in found.groups]
    student, control = (f"{100 * one:.0f} %" for one in shares)
    numbers = (
        f"the student decides for the shape in {student} of its decisions, the control without a teacher in {control}"
    )
    page = words(study_page(found))
    assert numbers in page[: page.index("2 hypotheses, stated before the runs")]
    assert numbers in study_markdown(found).split("2 hypotheses")[0]
    untaught = replace(found, teachers={})
    assert first_numbers(untaught) == ""
    two = replace(found, groups=[*found.groups, replace(found.groups[0], label="other")])
    assert first_numbers(replace(two, teachers={**found.teachers, "other": found.teachers["student"]})) == ""


def test_groups_with_the_names_of_references_stand_beside_them():
    found = study(seeds=1)
    groups = [replace(one, label={"student": "teacher"}.get(one.label, one.label)) for one in found.groups]
    renamed = replace(found, groups=groups, teachers={"teacher": found.teachers["student"]})
    cues, tests = shown(renamed)
    assert list(cues) == list(tests) == ["teacher", "control", "teacher (2)"]
    assert cues["teacher"] == [groups[0].results["cues"][0]]
    assert cues["teacher (2)"] == [found.teachers["student"]["cues"]]
    assert [row[0] for row in networks_table(renamed).rows] == ["teacher", "control", "teacher (2)"]
    untrained = [replace(one, label={"student": "untrained"}.get(one.label, one.label)) for one in found.groups]
    alt = attention_parts(replace(found, groups=untrained))[1].panels[0].says
    assert "untrained 3.40, 3.40" in alt
    assert "untrained (2) 4.10, 4.10" in alt
    own = {"untrained": groups[0].results["attention"][0], "other": groups[1].results["attention"][0]}
    lines = beside(own, None, attention(4.1))
    assert [(line.label, line.runs[0].scalars["distance"]) for line in lines] == [
        *(("untrained (a run)", 3.4), ("other", 3.1), ("untrained", 4.1)),
    ]


def test_groups_of_one_seed_each_that_differ_are_not_called_one_seed():
    same, mixed = study(seeds=1), study(seeds=1)
    student, control = mixed.groups
    other = {name: {3: of[0]} for name, of in control.results.items()}
    mixed = replace(mixed, groups=[student, replace(control, facts={3: control.facts[0]}, results=other)])
    assert (same.one_seed, same.unrepeated) == (True, True)
    assert (mixed.one_seed, mixed.unrepeated) == (False, True)
    assert (study(seeds=2).one_seed, study(seeds=2).unrepeated) == (False, False)
    assert (replace(same, groups=[replace(student, facts={})]).unrepeated) is False
    assert "No group has a second seed" in lead(mixed)
    assert "One seed does not show" not in study_page(mixed)
    assert "of one seed each, not the same" in cue_parts(mixed)[0]
    assert networks_table(mixed) is not None  # each network has its interval over images all the same


def test_eight_networks_have_bars_of_eight_looks():
    networks = {f"network {n}": [cue_result(0.5, n)] for n in range(8)}
    figure = cue_accuracies(networks, {name: [accuracy_result(0.8, 1)] for name in networks}, control="network 7")
    bars = [container[0] for container in figure.axes[0].containers if container.get_label() in networks]
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == 8


def test_one_run_is_not_called_runs():
    found = replace(study(seeds=1), judged=[])
    assert lead(replace(found, groups=found.groups[:1])).startswith("1 run in 1 group; no hypotheses")
    assert "2 runs in 2 groups;" in lead(found)


def test_headings_are_those_of_probes_that_there_are():
    probes = {path.stem for path in (Path(cli.conf_dir()) / "probe").glob("*.yaml")}
    assert HEADINGS.keys() <= probes


def test_the_numbers_that_were_judged_stand_by_seed_with_teachers_accuracies():
    distance = "attention/distance[1-3]"
    levels = [Level(distance, "student", {1: 3.5, 0: 3.25}), Level("test/accuracy", "control", {0: 0.8}, True)]
    taught = Group("teacher cnn", 1, {0: {"test": {"accuracy": 0.807}}})
    tables = study_tables(replace(study(), levels=levels, trained=[taught]))
    first, second = tables["judged"].rows
    assert [first[0], first[1], first[3]] == [distance, "student", "3.25, 3.50"]
    assert str(first[2]).startswith("3.38 [")
    assert second == ["test/accuracy %", "control", "80.0", "80.0"]
    assert tables["accuracy"].text()[0][-1][0::2] == ["teacher cnn", "80.7", "-"]
    assert levels_csv(levels).splitlines()[1] == f"{distance},student,0,3.25"
    assert "teachers" not in study_tables(replace(study(), teachers={"student": {}}))


def test_what_could_not_be_compared_is_not_called_undecided_noise():
    one = study().judged[0]
    refused = replace(one, difference=Difference(Estimate.refuse("not comparable: the loss is 1 and 2"), 1.0))
    lines = within_noise(replace(study(), judged=[refused]))
    assert f"Not judged: {one.says.rstrip('.')} (not comparable: the loss is 1 and 2)." in lines


def test_what_one_seed_compares_is_not_within_noise():
    found = study(seeds=1)
    lines = within_noise(found)
    assert (
        "Not judged: accuracy of student against control (one seed shows no noise, so there is no interval)." in lines
    )
    assert not [line for line in lines if "no difference shown" in line or line.startswith("Not decided")]
    for one in found.judged:
        assert f"Not judged: {one.says.rstrip('.')} ({one.evidence})." in lines


def test_seeds_that_all_differ_alike_are_not_judged():
    groups = [
        Group(name, 2, {}, {"attention": {seed: attention(at + seed) for seed in (0, 1)}}, "control")
        for name, at in (("control", 3.0), ("taught", 3.5))
    ]
    lines = within_noise(replace(study(), groups=groups, judged=[]))
    assert [line for line in lines if "ttention" in line] == [
        "Not judged: attention distance over all layers of taught against control (all seeds gave the same, which "
        "shows no noise: there is no interval)."
    ]


def test_an_equality_with_a_shown_difference_is_not_within_noise_and_the_lead_tells_kinds_of_contradiction_apart():
    def one(value, p, equal_p, direction):
        estimate = Estimate(value, value - 0.03, value + 0.03)
        apart = Difference(estimate, p, smallest=0.2, corrected=p, equal_p=equal_p, equal_corrected=equal_p)
        return replace(study().judged[0], direction=direction, smallest=0.2, difference=apart)

    near, same = one(0.05, 0.01, 0.001, "equal"), one(0.01, 0.5, 0.001, "equal")
    lines = within_noise(replace(study(), judged=[near, same]))
    assert [one.sentence in lines for one in (near, same)] == [False, True]
    small, other = one(0.01, 0.5, 0.001, "higher"), one(-0.3, 0.001, 0.9, "higher")
    assert [one.heading for one in (small, other)] == ["Contradicted in size", "Contradicted"]
    for judged, said in (([small, other], "2 contradicted (1 in size)"), ([small], "1 contradicted (in size)")):
        assert lead(replace(study(), judged=judged)).endswith(f": {said}.")


def test_the_index_says_on_how_many_images_the_teacher_was_measured():
    found = study()
    note = study_tables(found)["teachers"].caption
    judged = {one.measure.partition("/")[0] for one in found.judged}
    assert ("images that the probes saw" in note) == ("test" in judged)
    of_test = [replace(found.judged[0], measure="test/accuracy")]
    taught = {label: {"accuracy": accuracy_result(0.9, 7)} for label in found.teachers}
    note = study_tables(replace(found, judged=of_test, teachers=taught))["teachers"].caption
    n = next(iter(taught.values()))["accuracy"].meta["n"]
    assert f"Teachers: accuracy on {n:,} images that the probes saw." in note


def test_attention_distances_of_several_groups_are_corrected_over_them():
    """One of six methods has p .04 alone; Holm's correction over the six makes it .25."""
    moves = {"taught": [0.05, 0.03, 0.06], **{f"m{n}": [0.05, -0.05, 0.05] for n in range(5)}}
    control = Group("control", 3, {}, {"attention": {seed: attention(3.8) for seed in range(3)}})
    groups = {
        name: Group(name, 3, {}, {"attention": {s: attention(3.8 + x) for s, x in enumerate(by)}}, "control")
        for name, by in moves.items()
    }
    alone = difference([3.8 + by for by in moves["taught"]], [3.8] * 3)
    assert alone.shown
    assert 0.02 < alone.p < 0.05
    page = replace(study(), groups=[control, *groups.values()], beside={})
    several = attention_sentence(page)
    assert "for any of 6 groups no difference from its control is shown" in several
    assert several.count("attends") == 1  # the control; with more than four groups the others are left to the table
    assert several.endswith("Differences are corrected over the 6 groups (Holm).")
    table = study_tables(page)["attention"]
    place = [column.name for column in table.columns].index("distance - control")
    assert [row[0] for row in table.rows if isinstance(row[place], Difference)] == list(groups)
    assert table.text()[0][1][place] == "no difference shown [+0.01, +0.08]"
    alone = next(row[place] for row in table.rows if row[0] == "taught")
    assert alone.p == pytest.approx(distances_apart(page)["taught"].p)  # corrected once
    note = "An interval that leaves out 0 is not corrected; the verdict beside it is (Holm)."
    assert note in within_noise(page)
    assert note not in within_noise(replace(page, groups=[control, *list(groups.values())[1:]]))
    shown = replace(groups["m0"], results={"attention": {seed: attention(3.9 + 0.001 * seed) for seed in range(3)}})
    some = attention_sentence(replace(page, groups=[control, groups["taught"], *list(groups.values())[2:], shown]))
    assert "m0 attends 3.90 patches away on average (against control: +0.10" in some
    assert "for taught, m1, m2, m3, m4 no difference from its control is shown" in some
    one = attention_sentence(replace(study(), groups=[control, groups["taught"]], beside={}))
    assert "taught attends 3.85 patches away on average (against control: +0.05 [+0.01, +0.08])" in one
    assert "Holm" not in one


def test_a_table_of_a_probe_names_the_teachers_and_has_no_mean_of_some_of_the_seeds():
    def one(other, **scalars):
        return Result("cka_teacher", {"alignment": 0.5, **scalars}, {}, {"n": 9, "other": other})

    groups = [
        Group("a", 2, {}, {"cka_teacher": {0: one("cnn", more=1.0), 1: one("cnn")}}),
        Group("b", 2, {}, {"cka_teacher": {0: one("vit", more=1.0), 1: one("vit", more=2.0)}}),
    ]
    table = scalar_table("cka_teacher", groups, {"untrained": one("cnn", more=0.0)})
    assert table.caption.endswith("Measured with: a cnn; b vit; untrained cnn.")
    assert [getattr(row[2], "reason", "") for row in table.rows] == ["not measured for every seed", "", ""]
    alone = scalar_table("cka_teacher", groups[:1], {"untrained": one("cnn", more=0.0)})
    assert "Measured with" not in alone.caption


def test_the_largest_value_of_a_scalar_has_four_digits_and_no_more_than_three_decimals():
    def one(more):
        scalars = {"trace": 5586.81 + more, "norm": 38.392, "distance": 4.14, "loss": float("nan"), "zero": 0.0}
        return Result("hessian", scalars, {}, {"n": 9})

    table = scalar_table("hessian", [Group("a", 2, {}, {"hessian": {0: one(-1), 1: one(1)}})], {"untrained": one(9)})
    assert [column.digits for column in table.columns[1:]] == [0, 2, 3, 3, 3]
    assert table.text()[0][0][1].startswith("5587 [55")
    small = scalar_table("hessian", [], {}), scalar_table("hessian", [Group("a", 1, {}, {"hessian": {0: one(0)}})], {})
    assert small[0] is None
    assert small[1].columns[1].digits == 0


def moved(found: StudyResults, moves: tuple[float, ...]) -> StudyResults:
    """The page with a student that attends farther than its control by ``moves``, for each seed."""
    student, control = found.groups
    near = {seed: attention(3.1 + 0.01 * seed + by) for seed, by in enumerate(moves)}
    return replace(found, groups=[replace(student, results={**student.results, "attention": near}), control])


def test_a_share_that_is_not_shown_to_be_taken_over_is_within_noise():
    lines = within_noise(study(student=0.2))
    assert any(line.startswith("Shape share of student against control: no difference shown (") for line in lines)


def test_what_is_within_noise_has_attention_and_equality_and_says_where_nothing_is_compared():
    found = moved(study(), (0.3, 0.32, 0.28))
    assert within_noise(found) == ["Every comparison of this page shows a difference."]
    (line,) = within_noise(moved(found, (0.1, -0.1, 0.02)))
    assert line.startswith("Attention distance over all layers of student against control: no difference shown [")
    apart = difference([0.5, 0.51, 0.5], [0.5, 0.5, 0.51], smallest=0.2)
    equal = replace(found.judged[0], direction="equal", difference=apart)
    assert equal.verdict == "supported"
    assert within_noise(replace(found, judged=[equal])) == [equal.sentence]
    later = replace(found.groups[1], facts={9: found.groups[1].facts[0]}, results={})
    (line,) = within_noise(replace(found, groups=[found.groups[0], later], judged=[], teachers={}, beside={}))
    assert line == "Not compared: student and its control control have no seed in common."
    alone = replace(found, groups=[replace(found.groups[0], control=None)], judged=[], beside={})
    assert within_noise(alone) == ["No group of this page is compared with another."]
