"""task=forensics and task=compare from made-up Results, and the teacher of a run."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from config_base import composed
from matplotlib.figure import Figure

from kdbias.analysis import tasks
from kdbias.analysis.compare import against, methods_of, published_of
from kdbias.analysis.networks import Subject, labels
from kdbias.analysis.references import _architecture, untrained
from kdbias.analysis.results import Measured, measured_of, save
from kdbias.analysis.run_teacher import NO_TEACHER, Lack, RunTeacher, teacher_of
from kdbias.checks.check import ConfigError
from kdbias.config.spec import plain
from kdbias.probes.base import Result
from kdbias.report.compare import figures, matrix
from kdbias.report.method import Method, over_seeds

N, LAYERS, HEADS = 400, 4, 2
SOURCE = {"_target_": "kdbias.data.cifar.cifar10", "root": "x"}


def answers(share: float, seed: int) -> Result:
    right = np.random.default_rng([seed, int(1000 * share)]).random(N) < share
    places = np.arange(N)
    return Result("accuracy", {}, {"right": right, "index": places, "target": places % 10}, {"n": N, "classes": 10})


def results(share: float, seed: int, distance: float) -> dict[str, Result]:
    rng = np.random.default_rng(seed)
    grid = {"uniform_distance": np.asarray(4.136), "uniform_entropy": np.asarray(4.159)}
    heads = distance + rng.normal(0, 0.2, (LAYERS, HEADS))
    arrays = {"distance": heads, "entropy": np.full((LAYERS, HEADS), 4.0), **grid}
    scalars = {"distance": float(heads.mean()), "distance_ratio": float(heads.mean()) / 4.136, "entropy_ratio": 0.9}
    curved = {"trace": 100.0 + seed, "trace_se": 3.0, "top": 20.0, "bottom": -1.0, "trace_per_weight": 0.1, "loss": 1.2}
    return {
        "accuracy": answers(share, seed),
        "attention": Result("attention", scalars, arrays, {"n": 50}),
        "cka": Result("cka", {"first_last": 0.5, "diversity": 0.2}, {"cka": np.eye(LAYERS)}, {"n": 60}),
        "hessian": Result("hessian", curved, {}, {"n": 16}),
    }


def about(seed, experiment=None, teacher=None) -> dict:
    key = "k" if teacher else None
    return {
        "seed": seed, "experiment": experiment, "teacher": teacher, "teacher_key": key,
        "source": SOURCE, "split": "test", "student": "kdbias.models.deit.deit_tiny",
    }  # fmt: skip


def networks() -> list[Measured]:
    found = [
        Measured(f"a/{seed}", "EXP-1", "network", about(seed, "exp1_resnet_kl", "resnet18"), results(0.8, seed, 3.0))
        for seed in (0, 1)
    ]
    found += [
        Measured(f"c/{seed}", "control", "control", about(seed, "baseline"), results(0.5, seed + 5, 3.5))
        for seed in (1, 0)
    ]
    found.append(
        Measured("untrained", "untrained", "initial", about(0, "exp1_resnet_kl", "resnet18"), results(0.1, 9, 4.1))
    )
    own = about(0, "exp1_resnet_kl", "resnet18")
    return [*found, Measured("teacher/resnet18", "resnet18", "teacher", own, {"accuracy": answers(0.9, 3)})]


def saved(folder) -> list[Measured]:
    found = networks()
    for network in found:
        for result in network.results.values():
            result.save(folder / network.folder)
    save(found, folder)
    return found


def call(task, folder, out) -> None:
    tasks.run(composed([f"task={task}", f"from_results={folder}", f"out={out}"], "analyze"))


def test_forensics_draws_everything_from_saved_results(tmp_path):
    saved(tmp_path / "a")
    call("forensics", tmp_path / "a", tmp_path / "b")
    for name in ("heads", "layers", "hessian", "cka", "summary"):
        for kind in ("svg", "png"):
            assert (tmp_path / "b" / f"forensics-{name}.{kind}").stat().st_size > 5_000
    text = (tmp_path / "b" / "forensics.md").read_text()
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:] == [
        "EXP-1", "control", "untrained",
    ]  # fmt: skip
    assert "100 ± 2.1" in text  # of two estimates with 3.0 each: 3 sqrt(2) / 2
    drawn = (tmp_path / "b" / "forensics-summary.svg").read_text()
    for label in (
        "EXP-1 (2 seeds)",
        "control (2 seeds)",
        "untrained",
        "uniform attention, 4.14",
        "n = 50 images",
        "n = 16 images",
    ):
        assert label in drawn


def test_compare_writes_the_matrix_and_the_figures(tmp_path):
    found = saved(tmp_path / "a")
    call("compare", tmp_path / "a", tmp_path / "b")
    for name in ("accuracy", "attention", "cka", "efficiency"):
        assert (tmp_path / "b" / f"compare-{name}.png").stat().st_size > 5_000
    rows = {row["method"]: row for row in csv.DictReader((tmp_path / "b" / "compare.csv").open())}
    assert list(rows) == ["EXP-1", "control", "untrained"]
    student = np.mean([network.results["accuracy"].arrays["right"] for network in found[:2]], axis=0)
    teacher = found[-1].results["accuracy"].arrays["right"]
    exp1 = rows["EXP-1"]
    assert float(exp1["accuracy"]) == pytest.approx(student.mean())
    assert float(exp1["transfer efficiency"]) == pytest.approx(student.mean() / teacher.mean())
    assert (exp1["published accuracy"], exp1["published efficiency"]) == ("0.9005", "0.947")
    assert rows["control"]["transfer efficiency"] == rows["control"]["published accuracy"] == "-"
    assert float(exp1["Δ control, over images low"]) > 0.2
    text = (tmp_path / "b" / "compare.md").read_text()
    assert "not tested against ours" in text
    assert " Differences are paired by seed; untrained with control over seed 0 alone. " in text


def test_a_run_without_an_accuracy_stands_for_no_seed():
    found = networks()
    del found[2].results["accuracy"]  # seed 1 of the control, the first of the two
    control = next(method for method in methods_of(found) if method.label == "control")
    exp1 = next(method for method in methods_of(found) if method.label == "EXP-1")
    assert control.seeds == [0]
    assert len(control.attention) == 2
    expected = found[0].results["accuracy"].arrays["right"].mean() - found[3].results["accuracy"].arrays["right"].mean()
    assert over_seeds(exp1, control).estimate.value == pytest.approx(expected)


@pytest.mark.parametrize(
    "other",
    [
        {"student": "kdbias.models.deit.vit"},
        {"teacher": "resnet56"},
        {"experiment": "exp1_kl"},
        {"control": "shuffled"},
    ],
)
def test_what_was_published_stands_beside_the_same_student_and_teacher_only(other):
    one = networks()[0]
    rows = {"EXP-1": {"experiments": ["exp1_resnet_kl"], "taught_by": "resnet18", "accuracy": 0.9}}
    assert published_of(one, rows) == rows["EXP-1"]
    assert published_of(replace(one, about=one.about | other), rows) == {}


PUBLISHED = json.loads((Path(tasks.__file__).parent / "published.json").read_text())["structural"]
EXPERIMENTS = [name for row in PUBLISHED.values() if isinstance(row, dict) for name in row["experiments"]]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_was_published_stands_beside_the_experiments_that_are_shipped(experiment):
    cfg = composed([f"experiment={experiment}", "data=cifar10"])
    said = {"experiment": experiment, "teacher": cfg.teacher.name, "student": cfg.model._target_}
    assert published_of(replace(networks()[0], about=networks()[0].about | said), PUBLISHED)["accuracy"] > 0.8


def test_a_run_under_a_control_is_not_what_others_are_compared_with():
    found = networks()
    found.append(replace(found[0], label="EXP-3", about=found[0].about | {"experiment": "exp3_dino"}))
    assert against(found) == ["EXP-1"]
    shuffled = [replace(one, about=one.about | {"control": "shuffled"}) for one in found]
    assert against(shuffled) == []


def test_all_untrained_networks_come_last():
    found = networks()
    later = replace(found[4], name="untrained/b", label="untrained, EXP-3")
    labels = [method.label for method in methods_of([later, *found])]
    assert labels == ["EXP-1", "control", "untrained, EXP-3", "untrained"]


def test_runs_of_one_name_on_different_images_are_refused():
    found = networks()
    found[1] = replace(found[1], about=found[1].about | {"source": SOURCE | {"size": 48}})
    with pytest.raises(ConfigError, match="the runs called EXP-1 saw different images: name them apart"):
        methods_of(found)


def test_a_matrix_of_little_is_still_a_matrix():
    alone = Method("a", [None], "p")
    assert matrix([alone]).text()[0][0][3:] == ["-"] * (len(matrix([alone]).columns) - 3)
    assert figures([alone]) == {}
    assert all(
        isinstance(figure, Figure) for figure in figures([Method("a", [0], "p", accuracy=[answers(0.5, 0)])]).values()
    )


def test_the_teacher_of_a_run_is_found_or_its_absence_explained(tmp_path, tiny_info):
    cfg = composed(["experiment=exp1_resnet_kl", f"paths.runs={tmp_path}"])
    tree = plain(cfg) | {"chosen": {"data": "cifar10", "trainer": "cpu", "overrides": []}}
    missing = teacher_of(tree, tiny_info, tmp_path / "teachers")
    assert isinstance(missing, Lack)
    assert missing.had_one
    assert missing.reason.startswith("its teacher resnet18 on cifar10 is not under ")
    left = tmp_path / "teachers" / "resnet18-cifar10-0123456789abcdef"
    (left / "checkpoints").mkdir(parents=True)
    for file in ("result.json", "checkpoints/best.ckpt"):
        (left / file).write_text(json.dumps({"spec_hash": "another"}))
    found = teacher_of(tree, tiny_info, tmp_path / "teachers")
    assert isinstance(found, RunTeacher)
    assert found.path == left / "checkpoints" / "best.ckpt"
    assert "the recipe of resnet18 has changed since" in found.note
    gone = tree | {"teacher": tree["teacher"] | {"weights": str(tmp_path / "gone.ckpt")}}
    assert "are no longer at" in str(teacher_of(gone, tiny_info, tmp_path))
    assert teacher_of(plain(composed(["experiment=baseline"])), tiny_info, tmp_path) == NO_TEACHER


def test_the_teacher_of_a_run_under_a_control_is_the_one_that_taught(tmp_path, tiny_info):
    weights = tmp_path / "copy.ckpt"
    weights.touch()
    used = {"name": "self", "model": {"_target_": "kdbias.models.deit.vit"}, "weights": str(weights), "layers": "all"}

    def under(control, spec):
        cfg = composed(["experiment=exp1_resnet_kl", f"control={control}", "teacher.weights=resnet18.ckpt"])
        return teacher_of(plain(cfg), tiny_info, tmp_path, spec)

    found = under("self", used)
    assert isinstance(found, RunTeacher)
    assert (found.name, found.path) == ("self", weights)
    assert under("none", {"name": None}) == NO_TEACHER
    unkept = under("random", {"name": "resnet18"})
    assert unkept == Lack("under control=random no network taught it whose weights are kept")
    assert unkept.had_one


def test_nothing_measured_is_an_error(tmp_path):
    save([], tmp_path)
    for task in ("forensics", "compare"):
        with pytest.raises(ConfigError, match="runs: no probe measured any of them"):
            call(task, tmp_path, tmp_path / "out")


def test_an_argument_left_out_is_its_default_and_no_other_architecture():
    data = {"channels": 3, "size": 32, "classes": 10}
    old = {"model": {"_target_": "kdbias.models.deit.vit", "width": 16, "layers": "all"}, "data": data}
    new = {"model": {**old["model"], "classes": "data", "layers": [1]}, "data": data}
    other = {"model": {**old["model"], "depth": 3}, "data": data}
    assert _architecture(old) == _architecture(new) != _architecture(other)


def subject(name: str, model: dict, **settings) -> Subject:
    spec = {"model": model, "data": {"channels": 3, "size": 32, "classes": 10}, "seed": 0}
    return Subject(name, lambda: None, "weights", None, SOURCE, spec={**spec, **settings.pop("spec", {})}, **settings)


def test_a_run_that_began_from_trained_weights_has_no_untrained_network(capsys):
    vit, cnn = ({"_target_": f"kdbias.models.{name}"} for name in ("deit.vit", "resnet_cifar.small_cnn"))
    found = untrained([subject("a", vit, init="w.ckpt"), subject("b", vit), subject("c", cnn, init="v.ckpt")], "cpu")
    assert [(one.name, one.spec["model"]) for one in found] == [("untrained", vit)]
    assert capsys.readouterr().out == (
        "a began from the weights w.ckpt: its untrained network is not shown\n"
        "c began from the weights v.ckpt: its untrained network is not shown\n"
    )


def test_a_run_is_not_called_as_untrained_networks_are():
    with pytest.raises(ConfigError, match="names: 'untrained' is what a network before its training is called"):
        labels({"names": ["untrained"]}, [subject("a", {})])
    assert labels({"names": "one"}, [subject("a", {})]) == ["one"]


@pytest.mark.parametrize("preset", ["none", "small", "as_published"])
@pytest.mark.parametrize(("experiment", "families"), [("cnn_to_vit", ["vit", "cnn"]), ("vit_to_cnn", ["cnn", "vit"])])
def test_the_families_of_shipped_experiments_are_known(experiment, families, preset):
    tree = plain(composed([f"experiment={experiment}/lm", f"preset={preset}"]))
    spec = {"model": tree["model"], "teacher": tree["teacher"]}
    assert measured_of(subject("a", tree["model"], spec=spec), "test").about["families"] == families
