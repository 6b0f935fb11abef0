"""What ``teacher.cache`` refuses is said in one line before anything is built."""

from types import SimpleNamespace

import pytest
from config_base import Dense, Mistake, assert_named_once, config
from planting import plant

from kdbias.checks import kept
from kdbias.checks.check import check
from kdbias.config import conf


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    plant(monkeypatch, "loss", "kdbias.losses.kl", Dense)


UNMIXED = {"augment.mix_probability": 0, "teacher.cache": 2}
MESSAGES: dict[str, Mistake] = {
    "no number": ({**UNMIXED, "teacher.cache": 0}, "teacher.cache", ("at least 1, or epochs", "got 0")),
    "another word": ({**UNMIXED, "teacher.cache": "all"}, "teacher.cache", ("or epochs", "got 'all'")),
    "true is no number": ({**UNMIXED, "teacher.cache": True}, "teacher.cache", ("a number of draws", "got True")),
    "other layers": ({**UNMIXED, "teacher.cache_layers": "last"}, "teacher.cache_layers", ("read, all",)),
    "another type": ({**UNMIXED, "teacher.cache_dtype": "fp8"}, "teacher.cache_dtype", ("exact, fp16, bf16",)),
    "no seed": ({**UNMIXED, "teacher.cache_seed": -1}, "teacher.cache_seed", ("or null for the run's seed", "got -1")),
    "a seed of no draws": (
        {"teacher.cache_seed": 1},
        "teacher.cache_seed",
        ("which is null: set teacher.cache too, or teacher.cache_seed to null",),
    ),
    "mixed images": (
        {"teacher.cache": "epochs"},
        "augment.mix_probability",
        ("MixUp and CutMix show two in one", "set it to 0, or choose augment=light"),
    ),
    "repeated images": (
        {**UNMIXED, "loader": {"_target_": "kdbias.data.resident.Resident", "repeats": 2}},
        "loader.repeats",
        ("one draw of an image in an epoch", "set loader.repeats=1"),
    ),
    "answers of other images": (
        {**UNMIXED, "control": {"_target_": "kdbias.controls.shuffled.Shuffled"}},
        "teacher.cache",
        ("belong to another image of each batch", "set it to null"),
    ),
    "dense answers": (
        {**UNMIXED, "loss.places": {"_target_": "kdbias.losses.kl.Dense"}},
        "loss.places",
        ("reads the teacher's dense, which teacher.cache does not keep", "leave places out"),
    ),
    "no teacher": (
        {**UNMIXED, "teacher.name": None, "loss": {"ce": {"_target_": "kdbias.losses.ce.CE", "dist": True}}},
        "teacher.cache",
        ("there is no teacher whose answers could be kept",),
    ),
}


@pytest.mark.parametrize(("changes", "key", "parts"), MESSAGES.values(), ids=MESSAGES)
def test_each_is_named_once(changes, key, parts):
    assert_named_once(changes, key, parts)


@pytest.mark.parametrize("cache", [1, "epochs", None])
def test_what_can_be_kept_is_no_mistake(cache):
    assert check(config({**UNMIXED, "teacher.cache": cache})) == []


def test_a_control_sees_the_draws_that_its_experiment_sees():
    """Without the teacher nothing is kept, but what no image could be drawn for is refused likewise."""
    control = {"control": {"_target_": "kdbias.controls.none.NoTeacher"}}
    assert check(config({**UNMIXED, **control})) == []
    assert_named_once({"teacher.cache": 2, **control}, "augment.mix_probability", ("MixUp and CutMix",))
    labels = {"control": {"_target_": "kdbias.controls.label_smoothing.LabelSmoothing"}}
    assert check(config({**UNMIXED, "teacher.cache": 2, **labels})) == []


def test_methods_that_read_more_than_answers_are_refused(monkeypatch):
    run = SimpleNamespace(augment=None, loader=None, terms={}, teacher=None, data=None, control=None)
    for name in ("capd.CAPD", "sskd.SSKD"):
        tree = {"teacher": {"name": "small", "cache": 1}, "module": {"_target_": f"kdbias.modules.{name}"}}
        (problem,) = kept.kept_answers(run, tree)
        assert problem.key == "teacher.cache"
        assert name in problem.text


def test_the_size_is_that_of_the_records_and_refused_where_the_disk_is_too_small(monkeypatch, tmp_path):
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda folder: SimpleNamespace(free=40_000))
    changes = {**UNMIXED, "paths.runs": str(tmp_path)}
    # 500 images, of 8 penultimate features and 10 logits, 2 bytes each, and 4 bytes of a checksum
    assert_named_once(
        {**changes, "teacher.cache": 3}, "teacher.cache", ("3 draws of 500 images, 40 bytes each, take 0.0 GB",)
    )
    assert check(config(changes)) == []
    draw = tmp_path / "answers" / "small-key" / "draw-0000.bin"
    draw.parent.mkdir(parents=True)
    draw.write_bytes(bytes(20_000))  # perhaps it is one of these
    assert check(config({**changes, "teacher.cache": 3})) == []
