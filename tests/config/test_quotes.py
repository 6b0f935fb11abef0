"""Paths with blanks, umlauts and the like are read as they are typed."""

import doctest

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kdbias.config import quotes
from kdbias.config.overrides import key_of
from kdbias.config.quotes import with_quotes


@pytest.mark.parametrize("path", ["Meine Bilder/für Kühe", "/a/(1)/b", "a&b #2", "写真/猫", "a;b", "~x/ü", "50 %/ä"])
def test_a_path_is_read_as_it_is_typed(path):
    (word,) = with_quotes([f"data.root={path}"])
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == ("data.root", path)
    (word,) = with_quotes([f"runs=[plain,{path}]"])
    assert OverridesParser.create().parse_override(word).value() == ["plain", path]
    (word,) = with_quotes([f"study.cnn_weights={path}"])
    assert OverridesParser.create().parse_override(word).value() == path


@pytest.mark.parametrize(
    "word",
    ["data.root=data", "data.root='ü'", 'data.root="ü"', "name=ü", "runs=[a,b", "loss=[ce, kl", "-m", "data.root=${x}"],
)
def test_other_words_stay_as_they_are(word):
    assert with_quotes([word]) == [word]


def test_what_is_quoted_can_be_read_and_the_examples_hold():
    assert key_of(with_quotes(["hydra.run.dir=Läufe/1"])[0]) == "hydra.run.dir"
    assert doctest.testmod(quotes).failed == 0
