import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from config_base import composed
from omegaconf import OmegaConf
from planting import plant

from kdbias.config.conf import conf_dir
from kdbias.config.control import TeacherUse, teacher_use
from kdbias.config.spec import differences, flat, plain, spec, spec_hash
from kdbias.controls.base import Control

CONFIG = {
    "name": "a",
    "seed": 0,
    "epochs": 3,
    "paths": {"run": "${hydra:runtime.output_dir}"},
    "data": {"_target_": "kdbias.data.cues.cues", "root": "here", "download": True, "seed": "${seed}"},
    "loss": {"alpha": 0.5, "kl": {"weight": "${loss.alpha}", "temperature": 4.0}},
    "trainer": {"precision": "32-true", "devices": 1, "layers": [3, 6]},
    "callback": {"ema": {"decay": 0.99}, "probe_cka": {"every": 5}, "best": {"folder": "${paths.run}", "mode": "max"}},
    "teacher": {"name": "resnet20", "weights": None},
    "resume": None,
}


def with_key(key: str, value):
    cfg = OmegaConf.create(CONFIG)
    OmegaConf.update(cfg, key, value, force_add=True)
    return cfg


def changed(key: str, value):
    cfg = OmegaConf.create(CONFIG)
    OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "resume",
        "compile",
        "paths.run",
        "data.root",
        "data.download",
        "trainer.devices",
        "callback.probe_cka.every",
        "callback.best.folder",
        "chosen",
    ],
)
def test_what_does_not_change_the_result_is_not_in_the_hash(key):
    assert spec_hash(changed(key, "other")) == spec_hash(CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("epochs", 4),
        ("loss.alpha", 0.25),
        ("trainer.precision", "bf16-mixed"),
        ("trainer.layers", [6, 3]),
        ("callback.ema.decay", 0.9),
        ("callback.best.mode", "min"),
        ("teacher.weights", "no/such/file.safetensors"),
        ("data.seed", 7),
    ],
)
def test_what_changes_the_result_changes_the_hash(key, value):
    assert spec_hash(changed(key, value)) != spec_hash(CONFIG)


def test_whole_floats_are_ints_and_truth_is_no_number():
    assert spec_hash({"a": 1}) == spec_hash({"a": 1.0})
    assert len({spec_hash({"a": value}) for value in (1, 1.5, True, "1", None)}) == 5


def test_the_hash_is_the_same_in_another_process_and_for_another_order_of_keys():
    code = (
        "import json, sys; from kdbias.config.spec import spec_hash\n"
        "print(spec_hash({'b': {'y': [1.0, None], 'x': 'ü'}, 'a': 1e-5}), 'torch' in sys.modules)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == [spec_hash({"a": 1e-5, "b": {"x": "ü", "y": [1, None]}}), "False"]


def test_a_saved_and_loaded_config_has_the_same_hash(tmp_path):
    cfg = OmegaConf.create(CONFIG | {"paths": {"run": "here"}, "switch": "on", "small": 1e-8, "text": "1"})
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    assert spec_hash(OmegaConf.load(tmp_path / "config.yaml")) == spec_hash(cfg)


def test_weights_count_by_their_content(tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, content in zip(files, (b"1", b"1", b"2"), strict=True):
        file.write_bytes(content)
    one, same, other = (spec_hash(changed("teacher.weights", str(file))) for file in files)
    assert one == same != other


@pytest.mark.parametrize("key", ["model.weights", "teacher.model.weights", "loss.vlfkd.linguistic.weights"])
def test_weights_of_a_model_count_by_their_content(tmp_path, key):
    for name, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
        (tmp_path / name).write_bytes(content)
    one, same, other = (spec_hash(with_key(key, str(tmp_path / name))) for name in "abc")
    assert one == same != other


def test_a_recipe_counts_by_its_content_where_it_trains_the_teacher(tmp_path, monkeypatch):
    monkeypatch.setattr("kdbias.config.spec.conf_dir", lambda: str(tmp_path))
    cfg = with_key("teacher.recipe", "strong")
    assert spec(cfg)["teacher"]["recipe"] == "strong"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "strong.yaml").write_text("epochs: 1\n")
    before = spec_hash(cfg)
    (tmp_path / "experiment" / "strong.yaml").write_text("epochs: 2\n")
    digest = hashlib.sha256(b"epochs: 2\n").hexdigest()[:12]
    assert spec(cfg)["teacher"]["recipe"] == f"strong@{digest}"
    assert spec_hash(cfg) != before
    assert cfg.teacher.recipe == "strong"
    cfg.teacher.weights = "given"
    assert spec(cfg)["teacher"]["recipe"] == "strong"


NONE = {"_target_": "kdbias.controls.none.NoTeacher"}
COPY = {"_target_": "kdbias.controls.self.Self", "weights": None}
FAMILY = {"_target_": "kdbias.controls.same_family.SameFamily", "vit": "a", "cnn": "b", "weights": None}
GRADED = {"a": {"weights": None}, "b": {"weights": None}}
MATCHED = {"_target_": "kdbias.controls.accuracy_matched.AccuracyMatched", "graded": GRADED}


def under(control, **teacher):
    return CONFIG | {"control": control, "teacher": CONFIG["teacher"] | teacher}


@pytest.mark.parametrize("control", [NONE, COPY, FAMILY])
def test_a_teacher_that_the_control_makes_no_use_of_is_not_in_the_hash(control):
    assert spec_hash(under(control)) == spec_hash(under(control, name="resnet56", epochs=3, weights="w"))
    assert spec_hash(under(control)) != spec_hash(CONFIG)


def test_of_a_teacher_that_is_replaced_by_one_of_the_family_its_images_count():
    assert spec_hash(under(FAMILY, data={"x": 0})) != spec_hash(under(FAMILY, data={"x": 1}))
    assert spec_hash(under(COPY, data={"x": 0})) == spec_hash(under(COPY, data={"x": 1}))


def test_the_batch_of_a_teacher_of_the_family_counts_where_it_is_set():
    assert spec_hash(under(FAMILY)) == spec_hash(under({**FAMILY, "batch_size": None}))
    assert spec_hash(under(FAMILY)) != spec_hash(under({**FAMILY, "batch_size": 64}))


def test_a_teacher_that_others_use_stays_in_the_hash():
    for control in (MATCHED, {"_target_": "kdbias.controls.shuffled.Shuffled"}):
        assert spec_hash(under(control)) != spec_hash(under(control, name="resnet56"))


class Other(Control):
    """A control of another name that makes of its teachers what is not known beforehand."""

    kind = "other"
    uses_teacher = False
    keeps_of_teacher = ("epochs",)

    @classmethod
    def teachers_named(cls, control):
        yield control["mentor"], None


def test_a_control_says_itself_what_counts_of_its_teachers(named, monkeypatch):
    plant(monkeypatch, "control", "kdbias.controls.base", Other)
    control = {"_target_": "kdbias.controls.base.Other", "mentor": "b"}
    found = spec(under(control, epochs=3, recipe="a"))
    assert found["teacher"] == {"epochs": 3}
    assert found["control"]["teachers"].keys() == {"b"}


@pytest.mark.parametrize(
    "control", [None, "none", 3, [1], {}, {"_target_": "kdbias.no.Such"}, {"_target_": "os.getcwd"}]
)
def test_without_a_control_that_is_known_the_teacher_counts(control):
    assert teacher_use({"control": control}) is TeacherUse
    assert spec(under(control))["teacher"] == CONFIG["teacher"]


def test_every_control_says_what_it_makes_of_the_teacher():
    controls = [OmegaConf.load(path) for path in Path(conf_dir(), "control").glob("*.yaml")]
    uses = {use.kind: use for use in (teacher_use({"control": control}) for control in controls)}
    assert len(uses) == len(controls) == 7
    assert {kind for kind, use in uses.items() if not use.uses_teacher} == {"none", "self", "same_family"}
    assert {kind for kind, use in uses.items() if not use.uses_teacher_weights} == {"random"}


@pytest.mark.parametrize(
    ("control", "known"),
    [
        (None, "6f99bb9cd944a1fb"),
        (NONE, "6cd08c691fba0e14"),
        (COPY, "7d685b5154493193"),
        (FAMILY, "f69d5cb77a6f6541"),
        (MATCHED, "8611e3d3412438b3"),
        ({**MATCHED, "among": "graded"}, "3469ca6f9b941423"),
        ({"_target_": "kdbias.controls.random.Random"}, "e4801682628e1c45"),
    ],
)
def test_hashes_stay_what_they_were_when_runs_were_saved_under_them(control, known):
    teacher = {"name": "resnet20", "weights": None, "data": {"x": 0}}
    assert spec_hash({"name": "a", "seed": 0, "epochs": 3, "teacher": teacher, "control": control}) == known


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The teachers a and b, trained by the recipes of these names."""
    monkeypatch.setattr("kdbias.config.spec.conf_dir", lambda: str(tmp_path))
    for group in ("teacher", "experiment"):
        (tmp_path / group).mkdir()
    for name in "ab":
        (tmp_path / "teacher" / f"{name}.yaml").write_text(f"name: {name}\nwidth: 8\nweights: null\nrecipe: {name}\n")
        (tmp_path / "experiment" / f"{name}.yaml").write_text("epochs: 1\n")
    return tmp_path


@pytest.mark.parametrize("control", [FAMILY, {**MATCHED, "among": "graded"}])
@pytest.mark.parametrize("file", ["experiment/b.yaml", "teacher/b.yaml"])
def test_teachers_that_a_control_names_count_by_their_configs_and_recipes(named, control, file):
    before = spec_hash(under(control))
    digest = hashlib.sha256(b"epochs: 1\n").hexdigest()[:12]
    assert spec(under(control))["control"]["teachers"]["b"]["recipe"] == f"b@{digest}"
    (named / file).write_text("epochs: 2\n")
    assert spec_hash(under(control)) != before


def test_recipes_that_train_nothing_do_not_count(named):
    given = {**FAMILY, "weights": "w"}
    runs = [CONFIG, under(NONE), under(given), under(MATCHED | {"among": "training"})]
    before = [spec_hash(run) for run in runs]
    (named / "experiment" / "b.yaml").write_text("epochs: 2\n")
    assert [spec_hash(run) for run in runs] == before
    assert "teachers" not in spec(runs[-1])["control"]


def test_plain_is_resolved_and_of_plain_types_only():
    found = plain(OmegaConf.create({"a": "${b.c}", "b": {"c": [1, {"d": Path("x/y")}]}, "m": "???"}))
    assert found == {"a": [1, {"d": "x/y"}], "b": {"c": [1, {"d": "x/y"}]}, "m": "???"}
    assert type(found["a"]) is list
    assert type(found["b"]["c"][1]) is dict


def test_another_type_is_refused_with_its_key():
    with pytest.raises(TypeError, match=r"a\.b must be .* got bytes"):
        plain({"a": {"b": b"x"}})


def test_differences_name_keys_and_values():
    other = changed("loss.alpha", 0.25)
    other.extra = 1
    assert differences(CONFIG, other) == [
        "extra: '(absent)' -> 1",
        "loss.alpha: 0.5 -> 0.25",
        "loss.kl.weight: 0.5 -> 0.25",
    ]


def test_flat_and_spec():
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
    assert not {"name", "paths", "resume"} & spec(CONFIG).keys()


@pytest.mark.parametrize(
    ("experiment", "key"),
    [
        ("exp1_resnet_kl", "065ad780b30a2832"),
        ("exp3_dino", "dfcf3c90dad4d53a"),
        ("demo_control", "402c5b46e4a98195"),
        ("teacher_resnet18", "501d4f05e7828abf"),
        ("teacher_ssl_vit", "ae2f5225b7739ee3"),
    ],
)
def test_the_hash_of_an_experiment_stays(experiment: str, key: str) -> None:
    """A new key in the defaults of ``train.yaml`` would make every run that is done, and every teacher, a new one."""
    assert spec_hash(composed([f"experiment={experiment}", "trainer=cpu", "trainer.precision=32-true"])) == key


@pytest.mark.parametrize("cache", [None, "epochs"])
@pytest.mark.parametrize("kind", ["auto", "exact"])
def test_answers_that_are_kept_exactly_for_every_epoch_are_no_other_recipe(cache, kind):
    teacher = CONFIG["teacher"] | {"cache": cache, "cache_dtype": kind, "cache_layers": "all"}
    assert spec_hash(CONFIG | {"teacher": teacher}) == spec_hash(CONFIG)


def test_fewer_draws_and_rounded_answers_are_other_recipes():
    settings = [
        {"cache": 1},
        {"cache": 2},
        {"cache": 2, "cache_dtype": "bf16"},
        {"cache": 2, "cache_dtype": "exact"},
        {"cache": "epochs", "cache_dtype": "fp16"},
    ]
    hashes = {spec_hash(CONFIG | {"teacher": CONFIG["teacher"] | one}) for one in settings}
    assert len(hashes | {spec_hash(CONFIG)}) == 1 + len(settings)
    named = CONFIG["teacher"] | {"cache": 2, "cache_dtype": "fp16"}
    assert spec_hash(CONFIG | {"teacher": named}) in hashes  # what auto means


def test_the_draws_of_a_run_without_its_teacher_are_those_of_the_run_with_it():
    control = {"_target_": "kdbias.controls.none.NoTeacher"}
    assert spec(under(control, cache=2))["teacher"] == {"cache": 2}
    assert spec(under(control, cache="epochs"))["teacher"] == {}
    assert spec(under(control, cache="epochs", cache_dtype="fp16"))["teacher"] == {}  # it keeps no answers
    assert spec(under(control, cache="epochs", cache_seed=5))["teacher"] == {"cache": "epochs", "cache_seed": 5}
    assert spec(under(control, cache=2, cache_seed=5))["teacher"] == {"cache": 2, "cache_seed": 5}


@pytest.mark.parametrize("key", ["limit_train_batches", "limit_val_batches", "limit_test_batches"])
def test_all_batches_are_not_one_batch(key):
    def of(value):
        return spec_hash(CONFIG | {"trainer": {**CONFIG.get("trainer", {}), key: value}})

    assert of(1.0) == of(None) != of(1)
    assert of(2.0) == of(2)


def test_draws_of_another_seed_are_another_recipe_and_those_of_the_own_seed_are_not():
    def key(**settings) -> str:
        return spec_hash(CONFIG | {"teacher": CONFIG["teacher"] | settings})

    own = CONFIG["seed"]
    assert key(cache=2, cache_seed=own) == key(cache=2) != key(cache=2, cache_seed=own + 1)
    assert key(cache="epochs", cache_seed=own) == key() != key(cache="epochs", cache_seed=own + 1)
    assert key(cache_seed=own + 1) == key()  # without kept draws it is the seed of nothing
    assert key(cache=2, cache_seed="none") != key(cache=2)  # the check of the config refuses the word


def test_how_answers_are_kept_counts_where_a_control_keeps_them():
    kinds, cases = ("auto", "fp16", "bf16", "exact"), ((NONE, 1), (COPY, 3), (FAMILY, 3))
    for control, count in cases:
        assert len({spec_hash(under(control, cache=4, cache_dtype=kind)) for kind in kinds}) == count
    known = [spec_hash(under(control, cache=4)) for control, _ in cases]
    assert known == ["4451e14db9de27b2", "9ae349f3fac0179e", "2109878a75a721a6"]  # those of before it counted
