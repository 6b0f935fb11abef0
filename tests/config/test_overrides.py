"""Overrides are read by Hydra's grammar: keys, and where one ends in a line of several."""

import pytest

from kdbias.config.overrides import key_of, separate, sets

WORDS = [
    "seed=1",
    "++teacher.epochs=5",
    "~teacher.data",
    "~loss.kl=null",
    "teacher@other.place=none",
    "experiment=cnn_to_vit/a",
    "loss=[ce,kl]",
    "+nested=[[a,b],{c:[1,2],d:e}]",
    "+teacher.data={a:1,b:{c:2}}",
    "text='a, teacher=b, \\'c\\''",
    "text=\"a,b='c'\"",
    "text='ends in \\\\'",
    "x=a\\,b\\,c",
    "y=${complement:1,2}",
    "z=",
]
KEYS = [
    "seed",
    "teacher.epochs",
    "teacher.data",
    "loss.kl",
    "teacher",
    "experiment",
    "loss",
    "nested",
    "teacher.data",
    "text",
    "text",
    "text",
    "x",
    "y",
    "z",
]


@pytest.mark.parametrize(("word", "key"), zip(WORDS, KEYS, strict=True))
def test_the_key_has_no_sign_and_no_package(word: str, key: str) -> None:
    assert key_of(word) == key


@pytest.mark.parametrize("word", ["", "teacher", "text='open", "a=[1,2", "=3", "b c=1"])
def test_what_is_no_override_has_no_key(word: str) -> None:
    assert key_of(word) is None
    assert not sets(word, "teacher", "a", "text")


def test_a_line_falls_into_the_words_that_it_was_joined_of() -> None:
    assert separate(",".join(WORDS)) == WORDS
    assert separate(",".join(reversed(WORDS))) == WORDS[::-1]
    assert separate("") == []


@pytest.mark.parametrize("line", ["a=1,text='open,b=2", "a-1,b-2", ",", "a=1,,b=2", "a=[1,b=2"])
def test_what_cannot_be_read_stays_as_it_is(line: str) -> None:
    assert ",".join(separate(line)) == line


@pytest.mark.parametrize(
    ("word", "keys", "expected"),
    [
        ("~teacher.data", ("teacher",), True),
        ("teacher=a", ("loss", "teacher"), True),
        ("teacher@x=a", ("teacher",), True),
        ("hydra/launcher=joblib", ("hydra",), True),
        ("teacher_x=3", ("teacher",), False),
        ("model.teacher=3", ("teacher",), False),
        ("text='teacher=3'", ("teacher",), False),
        ("trainer=cpu", ("trainer.devices",), False),
    ],
)
def test_a_key_holds_what_lies_under_it(word: str, keys: tuple[str, ...], expected: bool) -> None:
    assert sets(word, *keys) is expected
