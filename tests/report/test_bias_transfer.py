"""The transfer of bias on made-up Results: a student that copies, one that does not, one that guesses."""

import csv
import io
import re
from functools import cache

import numpy as np
import pytest
from bias_results import SETS, group, known, result

from kdbias.report.bias_maps import figures
from kdbias.report.bias_tables import Transfer, sentences, tables
from kdbias.report.bias_transfer import directions, index, score
from kdbias.report.study import study_figures, study_markdown, study_page, study_tables
from kdbias.report.study_results import StudyResults
from kdbias.report.style import rendered
from kdbias.report.table import fitted
from kdbias.stats import difference, holm, image_noise, retention_noise

OWN = {"clean": 0.8, "grey": 0.5, "rotate": 0.4, "noise": 0.6, "texture": 0.3}  # of the control
BIASED = {"clean": 0.9, "grey": 0.8, "rotate": 0.2, "noise": 0.675, "texture": 0.33}  # of the teacher
COPIED = {"clean": 0.8, "grey": 0.71, "rotate": 0.185, "noise": 0.6, "texture": 0.3}
GUESSES = dict.fromkeys(OWN, 0.1)


def seeds(shares, first, count=4):
    """Networks whose accuracies scatter by a standard deviation of .01."""
    rng = np.random.default_rng(first)
    return [result({k: v + 0.01 * rng.normal() for k, v in shares.items()}, first + seed) for seed in range(count)]


@cache
def page() -> StudyResults:
    groups = [
        group("copies", seeds(COPIED, 10), "alone", "big"),
        group("keeps", seeds(OWN, 20), "alone", "big"),
        group("guesses", [result(GUESSES, 30 + seed) for seed in range(4)], "alone", "big"),
        group("alone", seeds(OWN, 40)),
    ]
    teacher = {"bias": result(BIASED, 50)}
    return StudyResults("A page", "", groups, teachers=dict.fromkeys(("copies", "keeps", "guesses"), teacher))


@cache
def found() -> Transfer:
    return page().transfer


def rows(name, of=None):
    """The rows of a table's CSV by their group."""
    return {row["group"]: row for row in csv.DictReader(io.StringIO(tables(of or found())[name].csv()))}


def test_a_student_that_copies_differs_where_its_teacher_does_and_has_an_index_of_one():
    way = found().directions[0]
    verdicts = {name: rows("bias_difference")["copies"][f"{name} verdict"] for name in SETS}
    assert verdicts == {
        "grey": "higher",
        "rotate": "lower",
        "noise": "no difference shown",
        "texture": "no difference shown",
    }
    for name in ("grey", "rotate"):
        transfer = index(way.methods[0], way.control, way.teachers["copies"], name)
        assert transfer.value == pytest.approx(1, abs=0.15)
        assert transfer.holds(1.0)
        assert not transfer.holds(0.0)


def test_a_student_that_keeps_its_own_bias_shows_no_difference_and_has_an_index_of_zero():
    way = found().directions[0]
    assert {rows("bias_difference")["keeps"][f"{name} verdict"] for name in SETS} == {"no difference shown"}
    assert "keeps against alone: no difference shown on all 4 sets." in sentences(found())
    for name in ("grey", "rotate"):
        transfer = index(way.methods[1], way.control, way.teachers["keeps"], name)
        assert transfer.holds(0.0)
        assert not transfer.holds(1.0)


def test_a_student_at_chance_has_an_accuracy_and_nothing_else():
    accuracy = rows("bias_accuracy")["guesses"]
    assert float(accuracy["clean"]) == pytest.approx(0.1)
    assert float(accuracy["grey"]) == pytest.approx(0.1)
    for name in ("bias_ratio", "bias_retention", "bias_difference", "bias_index"):
        row = rows(name)["guesses"]
        assert row["grey"] == ""
        assert "seed 0: clean accuracy 10.0% of 2000 images is not above chance" in row["grey reason"]
        cells = next(cells for cells in tables(found())[name].text()[0] if cells[0] == "guesses")
        assert all(re.fullmatch(r"- \(\d\)", cell) for cell in cells[-4:])
    assert "no difference" not in sentences(found())[2]
    assert "guesses against alone: refused on all 4 sets (seed 0: clean accuracy" in sentences(found())[2]


def test_rows_are_methods_then_the_control_then_the_teacher_and_accuracy_comes_first():
    made = tables(found())
    assert list(made) == ["bias_accuracy", "bias_ratio", "bias_retention", "bias_difference", "bias_index"]
    assert list(rows("bias_retention")) == ["copies", "keeps", "guesses", "alone", "teacher big"]
    assert list(rows("bias_difference")) == ["copies", "keeps", "guesses"]
    teacher = rows("bias_ratio")["teacher big"]
    assert float(teacher["rotate"]) == pytest.approx(0.2 / 0.9, abs=1e-3)
    assert float(teacher["rotate low"]) < 0.2 / 0.9 < float(teacher["rotate high"])


def test_nothing_to_transfer_where_the_teacher_is_as_the_control():
    way = found().directions[0]
    transfer = index(way.methods[0], way.control, way.teachers["copies"], "noise")
    assert transfer.refused
    assert "nothing to transfer" in transfer.reason


def test_two_seeds_give_no_index_and_one_no_interval():
    few = [group("few", seeds(COPIED, 10, 2), "alone", "big"), group("alone", seeds(OWN, 40, 2))]
    (way,) = directions(few, {"few": result(BIASED, 50)})
    assert "at least 3 are needed" in index(way.methods[0], way.control, way.teachers["few"], "grey").reason
    single = score(group("one", seeds(OWN, 1, 1)), "retention", "grey")
    assert np.isnan(single.low)
    assert "one seed" in single.reason


def made_up(by_seed, smallest=None):
    """Two methods with these differences from a control whose retentions are 0.5."""

    def of(each):
        return [known({name: 0.5 + change[seed] for name, change in each.items()}) for seed in range(4)]

    zero = {name: [0.0] * 4 for name in SETS}
    groups = [group(label, of({**zero, **each}), "alone") for label, each in by_seed.items()]
    return Transfer(directions([*groups, group("alone", of(zero))], {}), smallest=smallest)


FAINT = [0.02, 0.03, 0.01, 0.04]  # p = .03


def test_verdicts_follow_holm_over_the_sets_of_a_method():
    p = difference(FAINT, [0.0] * 4).p
    assert 0.0125 < p < 0.05
    sharp = {"grey": [0.1, 0.11, 0.1, 0.11]}
    alone = dict(made_up({"one": {"rotate": FAINT}}).compared()[0][2])
    assert alone["rotate"].corrected == pytest.approx(4 * p)
    assert alone["rotate"].verdict == "no difference shown"
    both = made_up({"one": {"rotate": FAINT, **sharp}, "other": {"rotate": FAINT}})
    own = both.compared()[0][2]
    expected = holm([difference(sharp["grey"], [0.0] * 4).p, p, 1.0, 1.0])
    assert [own[name].corrected for name in SETS] == pytest.approx(list(expected))
    table = tables(both)["bias_difference"]
    written = rows("bias_difference", both)
    assert float(written["one"]["rotate p after Holm"]) == pytest.approx(3 * p)
    assert float(written["other"]["rotate p after Holm"]) == pytest.approx(4 * p)
    assert "after Holm over the 4 sets of a row" in table.caption
    assert not any("comparisons of a column" in note for note in table.text()[1])


def test_pieces_of_the_table_for_a_narrow_terminal_have_the_same_verdicts():
    table = tables(made_up({"one": {"rotate": FAINT}}))["bias_difference"]
    parts = fitted(table, 60)
    assert len(parts) > 1
    cells = [cell for part in parts for cell in part.text()[0][0][1:]]
    assert cells == table.text()[0][0][1:]
    assert sum(cell.startswith("no difference shown") for cell in cells) == 4


def test_equal_is_said_only_within_a_stated_difference():
    near = {"grey": [0.001, -0.001, 0.0005, -0.0004]}
    without, within = (made_up({"one": near}, smallest).compared()[0][2]["grey"] for smallest in (None, 0.05))
    assert without.verdict == "no difference shown"
    assert within.verdict == "equal"
    assert "equal on grey" in sentences(made_up({"one": near}, 0.05))[0]
    assert "equal" not in sentences(made_up({"one": near}))[0]


def test_each_direction_has_its_own_control_and_a_group_without_one_has_scores_alone():
    groups = [
        group("vit", seeds(COPIED, 1), "vit alone", "cnn"),
        group("vit alone", seeds(OWN, 2)),
        group("cnn", seeds(COPIED, 3), "cnn alone", "vit"),
        group("cnn alone", seeds(OWN, 4)),
        group("stray", seeds(OWN, 5)),
    ]
    transfer = Transfer(directions(groups, {"vit": result(BIASED, 6), "cnn": result(BIASED, 7)}))
    assert [(label, control) for label, control, _ in transfer.compared()] == [
        ("vit", "vit alone"),
        ("cnn", "cnn alone"),
    ]
    assert list(transfer.rows) == ["vit", "vit alone", "teacher cnn", "cnn", "cnn alone", "teacher vit", "stray"]


def test_two_teachers_of_one_name_have_a_row_each():
    groups = [group(name, seeds(COPIED, 1, 1), None, "big") for name in ("kl", "crd", "token")]
    one, other = result(BIASED, 6), result(OWN, 7)
    (way,) = directions(groups, {"kl": one, "crd": one, "token": other})
    assert list(way.rows) == ["kl", "crd", "token", "teacher big", "teacher big of token"]


def test_teachers_of_one_name_in_two_directions_have_a_row_each():
    groups = [
        group(name, seeds(OWN, place, 1), control, "big" if control else None)
        for place, (name, control) in enumerate([("vit", "a"), ("a", None), ("cnn", "b"), ("b", None)])
    ]
    one, other = result(BIASED, 6), result(OWN, 7)
    rows_of = Transfer(directions(groups, {"vit": one, "cnn": other})).rows
    assert list(rows_of) == ["vit", "a", "teacher big", "cnn", "b", "teacher big of cnn"]
    assert (rows_of["teacher big"], rows_of["teacher big of cnn"]) == (one, other)


def test_a_published_ratio_stands_below_that_of_its_method():
    transfer = Transfer(found().directions, {"copies": {"noise": 0.66}}, "an earlier report")
    table = tables(transfer)["bias_ratio"]
    written = table.text()[0]
    assert [row[0] for row in written][:3] == ["copies", "copies, published", "keeps"]
    assert written[1][1:] == ["-", "-", "0.660", "-"]
    assert "Published: an earlier report. Nothing is tested against it." in table.caption
    assert "Published" not in tables(found())["bias_ratio"].caption


def test_the_map_colours_what_is_shown_and_says_so_of_the_rest():
    axes = figures(found())["bias_map"].axes[0]
    values = axes.images[0].get_array()
    assert np.ma.getmaskarray(values).tolist() == [[False, False, True, True], [True] * 4, [True] * 4]
    assert values[0, 0] > 0.2 > 0 > values[0, 1]
    texts = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert texts[0, 0].startswith("+0.")
    assert " ".join(texts[0, 1].split()) == "no difference shown"
    assert texts[0, 2] == "refused"
    assert len(axes.patches) == 2 + 4


def test_the_forest_fills_the_marks_of_differences_that_are_shown():
    (axes,) = figures(found())["bias_forest"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SETS)
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    filled = [line.get_markerfacecolor() != "white" for line in marks]
    assert filled == [True, True, False, False] + [False] * 4
    assert [text.get_text() for text in axes.texts] == ["–"] * 4
    assert rendered(figures(found())["bias_forest"]) == rendered(figures(found())["bias_forest"])


def test_eight_methods_have_eight_marks_in_the_forest():
    methods = [group(f"method {n}", seeds(COPIED, 100 + 10 * n), "alone", "big") for n in range(8)]
    several = StudyResults("A page", "", [*methods, group("alone", seeds(OWN, 40))])
    figure = figures(several.transfer)["bias_forest"]
    (legend,) = [artist for artist in (*figure.legends, figure.axes[0].get_legend()) if artist is not None]
    named = legend.get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in named}) == len(named) == 8
    assert {line.get_linestyle() for line in named} == {"None"}


def test_the_page_has_the_section_and_no_table_of_six_chosen_scalars():
    html = study_page(page())
    assert "<h2>Transfer of bias</h2>" in html
    assert "<h2>Bias</h2>" not in html
    assert html.index("Accuracy under stress sets") < html.index("Ratio, the") < html.index("Transfer index")
    assert {"bias_accuracy", "bias_index"} <= study_tables(page()).keys()
    assert "bias" not in study_tables(page())
    assert {"bias_map", "bias_forest"} <= study_figures(page()).keys()
    assert "* keeps against alone: no difference shown on all 4 sets." in study_markdown(page())
    assert "Transfer of bias" not in study_page(StudyResults("A page", "", [group("none", [])]))


def test_the_noise_of_the_images_is_that_of_accuracies_where_all_clean_images_are_right():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 3, 500)) < 0.6
    clean = np.ones_like(one)
    assert retention_noise(one, clean, other, clean, 10) == pytest.approx(image_noise(one, other) / 0.9)
    assert retention_noise(one, clean, one, clean, 10) == 0


def test_the_noise_of_the_images_is_the_spread_over_draws_of_images():
    rng = np.random.default_rng(1)
    pool = rng.random((4, 20_000)) < np.array([0.5, 0.8, 0.4, 0.7])[:, None]

    def drawn():
        one, whole, other, rest = pool[:, rng.integers(20_000, size=400)].mean(axis=1) - 0.1
        return one / whole - other / rest

    spread = np.std([drawn() for _ in range(2000)])
    part = pool[:, :400][:, None]
    assert retention_noise(*part, 10) == pytest.approx(spread, rel=0.1)


def test_seeds_that_agree_by_accident_do_not_show_a_difference_within_the_noise_of_the_images():
    close = [group("same", [result({**OWN, "grey": 0.51}, seed) for seed in range(3)], "alone"),
             group("alone", [result(OWN, 9 + seed) for seed in range(3)])]  # fmt: skip
    own = Transfer(directions(close, {})).compared()[0][2]["grey"]
    assert own.estimate.value == pytest.approx(0.01 / 0.7, abs=1e-3)
    assert own.estimate.low < 0 < own.estimate.high
    assert own.verdict == "no difference shown"
