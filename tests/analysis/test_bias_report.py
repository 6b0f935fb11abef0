"""What ``task=report`` hands to the section on bias: controls by direction, teachers, published numbers, ``effect``."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from kdbias.analysis.control_group import Candidate, control_of
from kdbias.analysis.published import ON, published
from kdbias.analysis.report import results_of, smallest_difference, teacher_nodes
from kdbias.analysis.reported import Reported, ReportedGroup, reported_runs
from kdbias.analysis.results import Measured
from kdbias.config.errors import ConfigError
from kdbias.config.spec import flat, spec_hash
from kdbias.probes.base import Result
from kdbias.report.bias_tables import tables
from kdbias.report.page import Code

VIT = {"_target_": "deit.vit", "width": 64}
CNN = {"_target_": "resnet.cnn", "width": 16}


def written(
    root: Path, name: str, teacher: str | None, *, folder="", kind: str | None = None, kept=(), **config
) -> None:
    folder = root / (folder or f"{name}-0")
    folder.mkdir()
    control = {"control": {"_target_": f"kdbias.controls.{kind}.Control"}} if kind else {}
    tree = {"name": name, "seed": 0, "epochs": 2, "teacher": {"name": teacher, **dict(kept)}, **control, **config}
    OmegaConf.save(OmegaConf.create(tree), folder / "config.yaml")
    facts = {"teacher": teacher, "test": {"accuracy": 0.5}, "spec_hash": spec_hash(tree)}
    (folder / "result.json").write_text(json.dumps({**facts, "control": kind and {"kind": kind}}))


def controls(root: Path) -> dict[str, str | None]:
    found = reported_runs({"runs": [str(root)], "out": str(root / "out")})
    return {group.label: group.control for group in found.groups}


def test_groups_of_one_experiment_are_named_by_what_was_typed_otherwise(tmp_path):
    """The words that all share say nothing; a name that is too long ends at a word."""
    shared = [
        "experiment=cnn_to_vit/independent",
        "trainer=cpu",
        "epochs=12",
        "callback=[checkpoint]",
        "data.val=1000",
    ]
    many = [f"model.setting_{n}=1000" for n in range(9)]
    for folder, width, own in [("a", 64, []), ("b", 65, ["model.distilled=true"]), ("c", 66, many), ("d", 67, [])]:
        chosen = {"overrides": [*shared, f"seed={width}", *own, f"resume={tmp_path}/{folder}"]}
        written(tmp_path, "alone", None, folder=folder, model={**VIT, "width": width}, chosen=chosen)
    first, second, long, same = controls(tmp_path)
    assert (first, second, same) == ("alone", "alone model.distilled=true", "alone (3)")
    assert long.startswith("alone model.setting_0=1000 model.setting_1=1000")
    assert long.endswith("=1000 …")
    assert len(long) <= 102


def grouped(root: Path) -> list[set[int]]:
    """The seeds of each group."""
    return [set(group.folders) for group in reported_runs({"runs": [str(root)], "out": "out"}).groups]


@pytest.mark.parametrize("control", [None, "none.NoTeacher", "self.Self"])
@pytest.mark.parametrize("cache", [4, "epochs"])
def test_seeds_that_see_the_draws_of_one_of_them_are_one_group(tmp_path, cache, control):
    config = {"control": control and {"_target_": f"kdbias.controls.{control}"}}
    for draws in (0, 7):
        for seed in (0, 1, 2):
            kept = {"cache": cache, "cache_seed": draws}
            written(tmp_path, "lm", "resnet", folder=f"{draws}-{seed}", kept=kept, seed=seed, **config)
    assert grouped(tmp_path) == [{0, 1, 2}, {0, 1, 2}]


@pytest.mark.parametrize("cache", [4, "epochs"])
def test_seeds_that_name_their_own_draws_are_one_group(tmp_path, cache):
    """As ``teacher.cache_seed=${seed}`` does; with fewer draws than epochs it is that of runs which name none."""
    for seed in (0, 1, 2):
        kept = {"cache": cache, "cache_seed": seed if seed < 2 or cache == "epochs" else None}
        written(tmp_path, "lm", "resnet", folder=f"{seed}", kept=kept, seed=seed)
    assert grouped(tmp_path) == [{0, 1, 2}]


@pytest.mark.parametrize(
    ("own", "shared", "groups"),
    [
        ([0], [1, 2], [{0, 1, 2}]),
        ([0, 1], [1, 2], [{0, 1}, {1, 2}]),  # a sweep of seeds that see draws of their own
        ([0], [0, 1], [{0}, {0, 1}]),
        ([3], [1, 2], [{3}, {1, 2}]),  # it sees other draws
        ([1, 2], [0], [{0, 1, 2}]),
    ],
)
@pytest.mark.parametrize("control", [None, "none.NoTeacher"])
@pytest.mark.parametrize(("cache", "before"), [(4, 4), ("epochs", "epochs"), ("epochs", None)])
def test_a_run_that_a_sweep_with_a_seed_of_draws_reused_is_of_its_group(
    tmp_path, own, shared, groups, control, cache, before
):
    config = {"control": control and {"_target_": f"kdbias.controls.{control}"}}
    for seed in own:
        written(tmp_path, "lm", "resnet", folder=f"a-{seed}", kept={"cache": before}, seed=seed, **config)
    for seed in shared:
        kept = {"cache": cache, "cache_seed": 0}
        written(tmp_path, "lm", "resnet", folder=f"b-{seed}", kept=kept, seed=seed, **config)
    assert grouped(tmp_path) == groups


def test_each_direction_of_a_sweep_has_its_own_control(tmp_path):
    written(tmp_path, "vit_alone", None, model=VIT)
    written(tmp_path, "vit_lm", "resnet", model=VIT)
    written(tmp_path, "vit_token", "resnet", model={**VIT, "dist": True})
    written(tmp_path, "vit_cskd", "resnet", model={"_target_": "deit.deit"})
    written(tmp_path, "cnn_alone", None, model=CNN)
    written(tmp_path, "cnn_lm", "vit", model=CNN)
    written(tmp_path, "mlp_lm", "vit", model={"_target_": "mlp.mlp"})
    assert controls(tmp_path) == {
        "vit_alone": None,
        "vit_lm": "vit_alone",
        "vit_token": "vit_alone",
        "vit_cskd": "vit_alone",
        "cnn_alone": None,
        "cnn_lm": "cnn_alone",
        "mlp_lm": None,
    }


def test_a_control_with_smoothed_labels_has_the_plain_one_as_its_own_control(tmp_path):
    written(tmp_path, "lm", "resnet", model=VIT)
    written(tmp_path, "plain", None, kind="none", model=VIT)
    written(tmp_path, "smooth", None, kind="label_smoothing", model=VIT)
    plain, smooth = "plain, control none", "smooth, control label_smoothing"
    assert controls(tmp_path) == {"lm": plain, plain: None, smooth: plain}


def test_of_two_controls_of_one_kind_a_run_has_the_one_of_its_own_network_and_data(tmp_path):
    written(tmp_path, "alone", None, model=VIT)
    written(tmp_path, "wide_alone", None, model={**VIT, "width": 128})
    written(tmp_path, "wide_lm", "resnet", model={**VIT, "width": 128})
    written(tmp_path, "wider_lm", "resnet", model={**VIT, "width": 256})
    written(tmp_path, "few_lm", "resnet", model=VIT, data={"limit": 100})
    found = controls(tmp_path)
    assert found["wide_lm"] == "wide_alone"
    assert found["wider_lm"] is None
    assert found["few_lm"] is None


def test_a_token_in_the_student_has_the_control_with_that_token(tmp_path):
    """CSKD's student differs from its own control in how it answers, and from the plain one in its token too."""
    written(tmp_path, "alone", None, model={**VIT, "dist": False, "answer": "mean"})
    written(tmp_path, "alone_dist", None, model={**VIT, "dist": True, "answer": "mean"})
    written(tmp_path, "lm", "resnet", model={**VIT, "dist": False, "answer": "mean"})
    written(tmp_path, "cskd", "resnet", model={**VIT, "dist": True, "answer": "dense"})
    assert controls(tmp_path) == {"alone": None, "alone_dist": None, "lm": "alone", "cskd": "alone_dist"}


def test_a_network_of_no_common_seed_is_no_control(tmp_path):
    """A ViT that was trained to teach CNNs lies in the same folder, with the data and the network of the control."""
    written(tmp_path, "alone", None, model=VIT)
    written(tmp_path, "teacher_vit", None, model=VIT, epochs=30, seed=1000)
    written(tmp_path, "lm", "resnet", model=VIT)
    assert controls(tmp_path) == {"alone": None, "teacher_vit": None, "lm": "alone"}


def test_the_page_names_the_command_with_its_probes_and_its_smallest_difference(tmp_path):
    written(tmp_path, "alone", None, model=VIT)
    tree = {"runs": [str(tmp_path)], "out": str(tmp_path / "out")}
    (plain,) = (part.text for part in reported_runs(tree).how if isinstance(part, Code))
    assert plain.startswith(f"python analyze.py task=report 'runs=[{tmp_path}]'\n")
    (full,) = (part.text for part in reported_runs({**tree, "probe": {"bias": {}}, "effect": 0.05}).how[1:])
    assert full.startswith(f"python analyze.py task=report 'runs=[{tmp_path}]' 'probe=[bias]' effect=0.05\n")


def test_the_page_names_run_folders_as_they_can_be_typed(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    written(tmp_path / "runs", "alone", None, model=VIT)
    tree = {"runs": [str(tmp_path / "runs")], "out": str(tmp_path / "out")}
    (far,) = (part.text for part in reported_runs(tree).how if isinstance(part, Code))
    assert f": {tmp_path}/runs/" in far
    monkeypatch.chdir(tmp_path)
    (near,) = (part.text for part in reported_runs(tree).how if isinstance(part, Code))
    assert ": runs/" in near
    assert f": {tmp_path}" not in near


FAIR = {
    "model": VIT,
    "epochs": 200,
    "batch_size": 512,
    "data": {"_target_": "kdbias.data.cifar.cifar10", "val": 5000, "split_seed": 0, "limit": None},
    "augment": {"_target_": "kdbias.data.augment.Augment", "crop": 4, "flip": True, "mixup": 0.8},
    "optim": {"optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 1e-3, "betas": [0.9, 0.999]}, "clip": 1.0},
    "trainer": {"accumulate": 1, "limit_train_batches": None, "limit_test_batches": None},
}


def candidate(label: str, config: dict, *, taught: bool = False) -> Candidate:
    return Candidate(label, flat(config), taught, frozenset({0}))


def one_apart(key: str, value: object) -> dict:
    """The fair recipe but for one setting."""
    return OmegaConf.to_container(OmegaConf.merge(FAIR, OmegaConf.from_dotlist([f"{key}={json.dumps(value)}"])))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("epochs", 10, "epochs 10 for 200"),
        ("batch_size", 64, "batch_size 64 for 512"),
        ("data._target_", "kdbias.data.mnist.mnist", "data._target_ kdbias.data.mnist.mnist for kdbias.data.cifar."),
        ("data.val", 100, "data.val 100 for 5000"),
        ("data.split_seed", 1, "data.split_seed 1 for 0"),
        ("data.limit", 100, "data.limit 100 for null"),
        ("data.part", [0, 0.2], "data.part [0, 0.2] for null"),
        ("augment.crop", 0, "augment.crop 0 for 4"),
        ("optim.optimizer.lr", 0.1, "optim.optimizer.lr 0.1 for 0.001"),
        ("optim.clip", None, "optim.clip null for 1"),
        ("trainer.limit_train_batches", 9, "trainer.limit_train_batches 9 for null"),
        ("init", "sha256:ab", "init sha256:ab for null"),
        ("loader", {"repeats": 3}, "loader.repeats 3 for 1"),
        ("callback.ema", {"decay": 0.9}, "callback.ema.decay 0.9 for null"),
        ("callback.swa", {"start": 0.8}, "callback.swa.start 0.8 for null"),
        ("callback.early_stopping", {"patience": 3}, "callback.early_stopping.patience 3 for null"),
    ],
)
def test_a_group_of_another_recipe_is_no_control_and_a_sentence_says_why(key, value, says):
    lm, base = candidate("lm", FAIR, taught=True), candidate("base", one_apart(key, value))
    for others in ([], [candidate("cnn_base", {**FAIR, "model": CNN})]):
        control, said = control_of(lm, [lm, base, *others])
        assert control is None
        assert said.startswith(f"lm has no control: base has another recipe, {says}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("data.part", None), ("augment.view", "clean")),
        *(("augment.teacher_stress", "smooth"), ("augment.mixup", 0.8), ("augment.policy", "none")),  # its default
        *(("loader", {"repeats": 1}), ("teacher.cache", 4), ("loss.kl.temperature", 4), ("model.layers", [1])),
        ("module", {"_target_": "kdbias.modules.capd.CAPD"}),
    ],
)
def test_what_a_method_or_a_teacher_sets_leaves_the_control(key, value):
    lm, base = candidate("lm", one_apart(key, value), taught=True), candidate("base", FAIR)
    assert control_of(lm, [lm, base]) == ("base", "")
    assert control_of(base, [lm, base]) == (None, "")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("trainer.precision", "bf16-mixed", "trainer.precision null for bf16-mixed"),
        ("objective", "val/loss", "objective null for val/loss"),
    ],
)
def test_a_control_of_other_precision_or_objective_is_one_and_a_sentence_says_so(key, value, says):
    lm, base = candidate("lm", one_apart(key, value), taught=True), candidate("base", FAIR)
    assert control_of(lm, [lm, base]) == ("base", f"lm and its control base differ: {says}.")


def test_a_method_that_makes_its_views_itself_keeps_its_control_and_the_page_names_the_augmentation(tmp_path):
    """SSKD needs augment=none; what else differs still makes another recipe."""
    views = {
        "augment": {**FAIR["augment"], "crop": 0, "flip": False},
        "module": {"_target_": "kdbias.modules.sskd.SSKD"},
    }
    written(tmp_path, "base", None, **FAIR)
    written(tmp_path, "sskd", "resnet", **{**FAIR, **views})
    written(tmp_path, "sskd_short", "resnet", **{**FAIR, **views, "epochs": 10})
    assert controls(tmp_path) == {"base": None, "sskd": "base", "sskd_short": None}
    said = reported_runs({"runs": [str(tmp_path)], "out": "out"}).how[-1]
    assert said == (
        "sskd and its control base differ: augment.crop 4 for 0, augment.flip True for False "
        "(its method makes its views itself). sskd_short has no control: base has another recipe, epochs 200 for 10."
    )


def test_another_network_is_no_control_even_if_it_is_the_only_one_without_a_teacher(tmp_path):
    written(tmp_path, "teacher_cnn", None, model=CNN)
    written(tmp_path, "lm", "resnet", model=VIT)
    assert controls(tmp_path) == {"teacher_cnn": None, "lm": None}


def test_a_control_whose_network_has_other_settings_is_named(tmp_path):
    written(tmp_path, "alone", None, model=VIT)
    written(tmp_path, "token", "resnet", model={**VIT, "dist": True, "layers": [1]})
    found = reported_runs({"runs": [str(tmp_path)], "out": "out"})
    assert found.groups[1].control == "alone"
    assert found.how[-1] == "token and its control alone differ: model.dist null for True."


def test_a_run_without_a_result_of_its_own_config_is_left_out_and_named(tmp_path, capsys):
    """It stopped early, or its folder was used for another config whose run has not ended."""
    for folder in ("stopped", "unhashed", "again", "renamed", "moved"):
        written(tmp_path, "lm", "resnet", folder=folder, model=VIT)
    for folder, stopped in {"stopped": "loss is NaN", "unhashed": None}.items():
        path = tmp_path / folder / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "spec_hash": None, "stopped": stopped}))
    config = OmegaConf.load(tmp_path / "again" / "config.yaml")
    OmegaConf.save(OmegaConf.merge(config, {"epochs": 7}), tmp_path / "again" / "config.yaml")
    later = (tmp_path / "again" / "result.json").stat().st_mtime + 60
    os.utime(tmp_path / "again" / "config.yaml", (later, later))
    path = tmp_path / "moved" / "result.json"  # its hash was that of a file of weights that has gone since
    path.write_text(json.dumps({**json.loads(path.read_text()), "spec_hash": "another"}))
    shutil.move(tmp_path / "moved", tmp_path / "apart")
    config = OmegaConf.load(tmp_path / "renamed" / "config.yaml")
    neutral = {"name": "other", "paths": {"run": "elsewhere"}}
    OmegaConf.save(OmegaConf.merge(config, neutral), tmp_path / "renamed" / "config.yaml")
    apart = tmp_path / "apart"
    ((gone,),) = [
        g.folders.values() for g in reported_runs({"runs": [str(apart)], "out": str(tmp_path / "out")}).groups
    ]
    assert gone == apart
    shutil.rmtree(apart)
    found = reported_runs({"runs": [str(tmp_path)], "out": str(tmp_path / "out")})
    out = capsys.readouterr().out
    ((folder,),) = ([path.name for path in group.folders.values()] for group in found.groups)
    assert folder == "renamed"
    assert f"{tmp_path / 'stopped'} stopped early (loss is NaN): left out" in out
    assert f"{tmp_path / 'again'} has the result of another run (spec hash " in out
    assert f"{tmp_path / 'unhashed'} stopped early (its result has no spec hash): left out" in out
    said = found.how[-1]
    assert said.startswith("Left out: ")
    assert [said.count(str(tmp_path / name)) for name in ("stopped", "unhashed", "again", "renamed")] == [1, 1, 1, 0]
    shutil.rmtree(tmp_path / "renamed")
    with pytest.raises(ConfigError, match=r"none is finished \(3 are not\)"):
        reported_runs({"runs": [str(tmp_path)], "out": str(tmp_path / "out")})


def network(name: str, label: str, role: str = "network", **about) -> Measured:
    facts = {"seed": 0, "experiment": label, "teacher": None, "teacher_key": None, "control": None, "split": "test"}
    facts["families"] = ["cnn", "vit"] if "vit_to_cnn" in about.get("experiment", label) else ["vit", "cnn"]
    bias = {
        "accuracy": 0.8,
        "accuracy_noise": 0.4,
    }
    arrays = {f"version_{score}": np.array([0.4]) for score in ("accuracy", "ratio", "retention")}
    arrays |= {f"{key}_interval": np.array([[0.3, 0.5]]) for key in arrays}
    versions = [{"set": "noise", "strength": 1.0, "kind": "", "suppresses": False}]
    meta = {"n": 9, "classes": 10, "versions": versions, "teacher": None}
    result = Result("bias", bias, {**arrays, "accuracy_interval": np.array([0.7, 0.9])}, meta)
    return Measured(name, label, role, {**facts, "source": {"_target_": ON}, **about}, {"bias": result})


def test_only_runs_of_the_earlier_reports_methods_on_its_data_have_its_numbers():
    runs = [
        network("a", "cnn_to_vit_lm"),
        network("b", "other", experiment="vit_to_cnn_capd"),
        network("c", "smoothed", experiment="cnn_to_vit_lm", control={"kind": "label_smoothing"}),
        network("d", "drawn", experiment="cnn_to_vit_lm", source={"_target_": "kdbias.data.cues.cues"}),
        network("e", "resnet18", "teacher", experiment="cnn_to_vit_lm"),
        network("f", "mine"),
        network("g", "turned", experiment="cnn_to_vit_lm", families=["cnn", "vit"], teacher="vit_small_cifar"),
        network("h", "of a vit", experiment="cnn_to_vit_lm", families=["vit", "vit"], teacher="vit_small_cifar"),
        network("i", "unknown", experiment="cnn_to_vit_lm", families=None, teacher="resnet18"),
        network("j", "alone", experiment="cnn_to_vit_independent", families=["vit", None]),
    ]
    found, setting = published(runs)
    assert found.keys() == {"cnn_to_vit_lm", "other", "alone"}
    assert found["cnn_to_vit_lm"] == {
        "texture": 0.3674,
        "shape": 0.1759,
        "superpixel": 0.4124,
        "scramble": 0.2519,
        "noise": 0.6631,
    }
    assert "near chance" in setting


def test_the_section_has_methods_control_teacher_and_published_numbers(tmp_path):
    lm, alone = "cnn_to_vit_lm", "cnn_to_vit_independent"
    folders = {label: tmp_path / label for label in (lm, alone)}
    groups = [
        ReportedGroup(lm, 1, {0: folders[lm]}, {0: {"teacher": "resnet18"}}, alone),
        ReportedGroup(alone, 1, {0: folders[alone]}, {0: {"teacher": None}}),
    ]
    measured = [
        network(f"{tmp_path.name}/cnn_to_vit_lm", "cnn_to_vit_lm", teacher="resnet18", teacher_key="k"),
        network(f"{tmp_path.name}/cnn_to_vit_independent", "cnn_to_vit_independent"),
        network("teacher/resnet18", "resnet18", "teacher", teacher="resnet18", teacher_key="k"),
    ]
    what = Reported("runs", "report", "A page", "", {}, groups, [], tmp_path)
    ratio = tables(results_of(what, [], measured).transfer)["bias_ratio"]
    assert [row[0] for row in ratio.text()[0]] == [
        "cnn_to_vit_lm",
        "cnn_to_vit_lm, published",
        "cnn_to_vit_independent",
        "cnn_to_vit_independent, published",
        "teacher resnet18",
    ]
    assert ratio.text()[0][1] == ["cnn_to_vit_lm, published", "0.663"]


def test_teachers_are_asked_too_and_not_beside_themselves():
    nodes = {"bias": {"_target_": "kdbias.probes.bias.BiasProbe", "seed": 1}, "cka": {"_target_": "x"}}
    found = teacher_nodes({}, nodes)
    assert found["bias"] == {**nodes["bias"], "teacher": None}
    assert found.keys() == {"accuracy", "bias"}


@pytest.mark.parametrize("value", [0, -0.1, "much", True, float("inf"), float("nan")])
def test_an_effect_that_is_no_number_above_0_is_refused(value):
    with pytest.raises(ConfigError, match="effect: must be a number above 0"):
        smallest_difference({"effect": value})


def test_without_an_effect_nothing_is_called_equal():
    assert smallest_difference({"effect": None}) is None
    assert smallest_difference({"effect": 0.05}) == 0.05
