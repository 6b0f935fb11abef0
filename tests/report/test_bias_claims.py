"""Claims of the earlier report on made-up Results: what stands, what falls, and what the seeds leave open."""

import csv
import io

import pytest
import scipy
from bias_results import group, known

from kdbias.report.bias_claims import claims, claims_table, tally
from kdbias.report.bias_tables import Transfer
from kdbias.report.bias_transfer import directions
from kdbias.report.study import study_markdown, study_tables
from kdbias.report.study_results import StudyResults

CONTROL = {"texture": 0.4, "shape": 0.3, "superpixel": 0.5, "scramble": 0.2, "noise": 0.7, "grey": 0.8}
SHIFT = {"texture": 0.1, "shape": 0.1, "superpixel": -0.1, "scramble": 0.0, "noise": 0.0, "grey": 0.1}
PUBLISHED = {
    "lm": {"texture": 0.5, "shape": 0.1, "superpixel": 0.41, "scramble": 0.35, "noise": 0.62},
    "alone": {"texture": 0.4, "shape": 0.2, "superpixel": 0.4, "scramble": 0.25, "noise": 0.60},
}
SAID = {"texture": "higher", "shape": "lower", "superpixel": "equal", "scramble": "higher", "noise": "equal"}


def page(spread: float, seeds: int = 4, smallest: float | None = 0.05, published=None) -> StudyResults:
    """A method whose retention differs from its control's by ``SHIFT`` and this much more or less, in turn."""
    draws = [spread * (-1) ** seed for seed in range(seeds)]
    method = [known({name: CONTROL[name] + SHIFT[name] + one for name in CONTROL}) for one in draws]
    groups = [group("lm", method, "alone", "big"), group("alone", [known(CONTROL)] * seeds)]
    return StudyResults("A page", "", groups, published=published or PUBLISHED, setting="one seed", smallest=smallest)


def verdicts(found: StudyResults) -> dict[str, str]:
    return {one.name: one.verdict for one in claims(found.transfer)}


def test_a_claim_stands_where_the_difference_is_shown_on_its_side_and_falls_where_it_is_not():
    found = page(0.005)
    assert {one.name: one.says for one in claims(found.transfer)} == SAID  # grey was not published
    assert verdicts(found) == {
        "texture": "stands",  # higher here too
        "shape": "falls",  # lower there, higher here
        "superpixel": "falls",  # equal there, lower here
        "scramble": "falls",  # higher there, shown to be equal here
        "noise": "stands",  # equal in both
    }
    assert tally(claims(found.transfer)).endswith("2 stand, 3 fall, 0 are not decided.")


@pytest.mark.parametrize("found", [page(0.3), page(0.005, seeds=1)], ids=["seeds that differ", "one seed"])
def test_nothing_is_decided_where_the_seeds_show_nothing(found):
    assert set(verdicts(found).values()) == {"not decided"}


def test_a_direction_falls_where_half_of_the_published_difference_is_excluded():
    """The seeds spread too much to show equality; half of +.9 or of -.9 is far outside all the same."""
    published = {
        "lm": {"texture": 0.9, "shape": 0.0, "superpixel": 0.5, "scramble": 0.5, "noise": 0.5},
        "alone": {"texture": 0.0, "shape": 0.9, "superpixel": 0.4, "scramble": 0.5, "noise": 0.4},
    }
    # texture and shape: +.1 here, uncertain by about .1; superpixel: -.1 and noise: 0, where +.1 was published
    found = {one.name: one for one in claims(page(0.05, published=published).transfer)}
    assert {name: (one.says, one.verdict) for name, one in found.items()} == {
        "texture": ("higher", "falls"),
        "shape": ("lower", "falls"),
        "superpixel": ("higher", "falls"),
        "scramble": ("equal", "not decided"),
        "noise": ("higher", "not decided"),
    }
    # by hand: differences .15, .05, .15, .05 against .45; after Holm the p value is once to five times as large
    alone = float(scipy.stats.t.sf((0.45 - 0.1) / (0.1 / 3**0.5 / 2), 3))
    assert alone * 0.999 <= found["texture"].half_p <= 5.001 * alone
    assert found["scramble"].half_p == 1
    assert found["noise"].half_p > 0.05


def test_a_direction_that_is_shown_stands_although_it_is_less_than_half_of_the_published_one():
    published = {"lm": {"texture": 0.9}, "alone": {"texture": 0.0}}
    (one,) = claims(page(0.005, published=published).transfer)
    assert (one.verdict, one.half_p < 0.001) == ("stands", True)
    table = claims_table(page(0.005, published=published).transfer)
    assert table.rows[0][5] == "<0.001"  # a p value is never written as 0


def test_one_seed_decides_nothing_and_the_sentence_says_so():
    noisy, alone = (tally(claims(found.transfer)) for found in (page(0.3), page(0.005, seeds=1)))
    assert noisy.endswith("5 are not decided.")
    assert alone.endswith("5 are not decided (one seed shows no noise, so there is no interval).")


def test_without_a_smallest_difference_no_claim_of_equality_stands():
    assert verdicts(page(0.005, smallest=None)) == {
        "texture": "stands",
        "shape": "falls",
        "superpixel": "falls",
        "scramble": "falls",  # half of the published .1 is excluded
        "noise": "not decided",
    }


def test_the_page_has_the_claims_in_a_table_and_in_a_sentence_and_only_where_they_were_published():
    found = page(0.005)
    rows = list(csv.DictReader(io.StringIO(study_tables(found)["bias_claims"].csv())))
    assert [(row["set"], row["published"], row["claim"], row["verdict"]) for row in rows][:2] == [
        ("texture", "+0.100", "higher", "stands"),
        ("shape", "-0.100", "lower", "falls"),
    ]
    assert "5 claims of the earlier report on these methods and sets: 2 stand" in study_markdown(found)
    alone = page(0.005, published={"lm": PUBLISHED["lm"]})
    assert "bias_claims" not in study_tables(alone)
    assert "claims of the earlier report" not in study_markdown(alone)
    assert not claims_table(Transfer(directions(found.groups, {}))).rows
