"""Saved configs of strangers: plain values are read, everything else is refused at once."""

import re
import time
import tracemalloc

import pytest
from omegaconf import OmegaConf

from kdbias.config.saved import LARGEST, read_saved, require_known_choices

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
BOMB += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "it has aliases"),
        ("a: ${oc.env:HOME}", "is an interpolation"),
        ("a: [b, 'x${oc.env:HOME}']", "is an interpolation"),
        ("${oc.env:HOME}: 1", "is an interpolation"),
        ("a: !!python/object/apply:os.system ['true']", "it has the tag"),
        ("a: !!python/name:os.system", "it has the tag"),
        ("a: !!binary aGVsbG8=", "it has the tag"),
        ("a: " + "[" * 100_000, "nested deeper than 30"),
        ("a: " + "{b: " * 10_000, "nested deeper than 30"),
        ("- 1\n- 2\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("just words", "must hold a mapping"),
        ("a: [1, 2", "cut short or damaged"),
        ("a: 1\na: 2\n", "cut short or damaged"),
        ("a: b: c", "cut short or damaged"),
        ("\x00\x01", "cut short or damaged"),
        ("# " + "x" * LARGEST, "at most 256,000 are read"),
        ("\n".join(f"k{i}: {i}" for i in range(15_000)), "more than 10,000 entries"),
        ("a: [" + "1," * 20_000 + "]", "more than 10,000 entries"),
        ("a: " + "1" * 5_000, "a text in it is longer than 4,000 characters"),
        ("1" * 5_000 + ": a", "a text in it is longer than 4,000 characters"),
        ("a: 1" + ":00" * 2_000, "a text in it is longer than 4,000 characters"),
        ("a: 0x_", "cut short or damaged"),
        ("a: 0b_", "cut short or damaged"),
    ],
)
def test_what_is_more_than_plain_values_is_refused_soon(tmp_path, text, reason):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ValueError, match=reason) as error:
        read_saved(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(error.value)
    assert time.process_time() - began < 3
    assert peak < 100e6


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ValueError, match="cut short or damaged"):
        read_saved(path)
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_saved(tmp_path / "none.yaml")


def test_a_config_that_a_run_saves_comes_back(tmp_path):
    saved = {"lr": 1e-05, "n": 3, "on": True, "none": None, "text": "1e3", "date": "2026-01-01"}
    saved["deep"] = {"a": [1, {"b": 2.5}]}
    OmegaConf.save(OmegaConf.create(saved), tmp_path / "config.yaml", resolve=True)
    assert read_saved(tmp_path / "config.yaml") == saved


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"teacher": {"recipe": "../../evil"}}, "teacher.recipe is '../../evil', which names no option"),
        ({"teacher": {"recipe": "/tmp/evil"}}, "which names no option"),
        ({"teacher": {"name": "../outside"}}, "teacher.name is"),
        ({"chosen": {"data": "../x"}}, "chosen.data is"),
        ({"chosen": {"trainer": ["cpu"]}}, "chosen.trainer is"),
        ({"control": {"vit": "../x"}}, "control.vit is"),
        ({"control": {"graded": {"../x": {}}}}, "control.graded"),
        ({"chosen": {"overrides": ["augment=../../x"]}}, "names no option of augment"),
        ({"chosen": {"overrides": ["loss=[ce,/x/y]"]}}, "names no option of loss"),
        ({"chosen": {"overrides": ["+experiment=../x"]}}, "names no option of experiment"),
        ({"chosen": {"overrides": ["hydra.searchpath=[file:///x]"]}}, "sets something of Hydra's"),
        ({"chosen": {"overrides": ["hydra/launcher=x"]}}, "sets something of Hydra's"),
        ({"chosen": {"overrides": ["experiment@hydra=x"]}}, "sets something of Hydra's"),
        ({"chosen": {"overrides": ["x=[1"]}}, "is no override"),
        ({"chosen": {"overrides": "x=1"}}, "is no list of texts"),
        ({"chosen": {"overrides": [3]}}, "is no list of texts"),
        ({"chosen": "cifar10"}, "chosen is no mapping"),
        ({"chosen": None}, "chosen is no mapping"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, tree, reason):
    """Hydra follows ``..`` in a choice, and what it would load there may name any callback or log formatter."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        require_known_choices(tree, tmp_path / "config.yaml")


def test_choices_of_every_run_pass(tmp_path):
    overrides = ["experiment=exp1_kl", "loss=[ce,kl]", "data.root=../x", "~control", "teacher=resnet56", "seed=1"]
    overrides += ["+loss.a.b={c: 1}", "preset=as_published", "resume=/a/b", "name=x y"]
    tree = {"chosen": {"data": "cifar10", "trainer": "cpu", "overrides": overrides}}
    tree |= {"teacher": {"name": "resnet18", "recipe": "teacher_resnet18"}, "control": None}
    require_known_choices(tree, tmp_path / "config.yaml")
