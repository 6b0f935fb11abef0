"""Saved configs of strangers: plain values are read, everything else is refused at once."""

import time
import tracemalloc

import pytest
from omegaconf import OmegaConf

from kdbias.config.saved import LARGEST, read_saved

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
        ("# " + "x" * LARGEST, "at most 1,000,000 are read"),
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
    assert time.process_time() - began < 5
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
