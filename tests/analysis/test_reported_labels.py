"""How ``task=report runs=...`` calls its groups."""

from kdbias.analysis.reported import _labels


def test_each_group_has_the_words_in_which_it_differs_from_those_of_its_name():
    named = {
        "a": ("exp1_kl", ["data=cues", "teacher=resnet20"]),
        "b": ("exp1_kl", ["data=cues", "teacher=resnet32"]),
        "c": ("exp1_kl, control none", ["data=cues", "teacher=resnet20"]),
        "d": ("exp1_kl", ["data=cues"]),
    }
    assert list(_labels(named).values()) == [
        "exp1_kl teacher=resnet20",
        "exp1_kl teacher=resnet32",
        "exp1_kl, control none",
        "exp1_kl",
    ]


def test_groups_that_words_do_not_tell_apart_have_numbers_and_long_names_an_end():
    named = {str(place): ("kl", ["x=1"]) for place in range(2)} | {"long": ("kl", ["y=" + "z" * 200])}
    assert list(_labels(named).values()) == ["kl x=1", "kl x=1 (1)", "kl …"]
