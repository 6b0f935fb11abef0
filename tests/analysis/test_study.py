"""Studies: what their yamls plan and what is refused; the page of runs that a test has written by hand."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from config_base import composed
from omegaconf import OmegaConf
from toy_study import NODE, finished, toy, trained

from kdbias.analysis import study as studies
from kdbias.analysis import study_train
from kdbias.analysis.report import curves, references, several_teachers, taught_by
from kdbias.analysis.reported import Reported, ReportedGroup, reported_study, study_teachers
from kdbias.analysis.results import Measured, by_label
from kdbias.analysis.run_teacher import composing
from kdbias.analysis.status import study_of
from kdbias.analysis.study import Study, StudyRun
from kdbias.analysis.study_node import hypotheses
from kdbias.analysis.tasks import run
from kdbias.checks import early_downloads
from kdbias.checks.check import check
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError
from kdbias.config.spec import plain, spec_hash
from kdbias.probes.base import Result
from kdbias.runs import ordered
from kdbias.runs.parallel import Run

SHIPPED = sorted(path.stem for path in Path(conf_dir(), "study").glob("*.yaml"))


def node_of(name: str, *words: str) -> dict:
    return plain(composed([f"study={name}", *words], "analyze").study)


@cache
def planned(name: str) -> Study:
    """The first seed of a shipped study."""
    node = node_of(name, "study.seeds=[0]")
    with composing():
        return studies.plan(node, [], Path("runs").absolute())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_study_plans_runs_that_pass_the_check(name):
    found = planned(name)
    groups = found.node["runs"]
    assert found.name == name
    assert len({one.run.folder for one in found.runs}) == len(found.runs) == len(groups)
    assert {one.group for one in found.runs if one.teacher is None} >= {g for g in groups if "control" in g}
    for one in found.runs:
        problems = check(composed([word for word in one.run.overrides if not word.startswith("paths.")]))
        assert problems == [], one.group
    assert all(one.seeds >= 2 for one in hypotheses(found.node))


def test_data_and_weights_that_no_run_would_find_are_named_once_before_a_run_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(early_downloads, "silent", lambda host: f"{host}: no route")
    monkeypatch.setattr(early_downloads, "cached", lambda name: False)
    monkeypatch.setattr(ordered, "train", lambda *_, **__: pytest.fail("a run began"))
    node = node_of("pretrained", "study.seeds=[0,1]")
    with composing():
        found = studies.plan(node, [f"data.root={tmp_path}"], tmp_path / "runs")
    with pytest.raises(ConfigError) as caught:
        study_train.train(found)
    lines = str(caught.value).split("\n")
    assert [line.split(":")[0] for line in lines[:3]] == ["data", *["teacher.model.pretrained"] * 2]
    assert lines[3:] == ["study pretrained takes files of weights as study.cnn_weights=PATH, study.vit_weights=PATH"]


def test_runs_that_are_done_need_no_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(early_downloads, "silent", lambda host: f"{host}: no route")
    monkeypatch.setattr(Run, "done", property(lambda run: True))
    node = node_of("when_does_bias_help", "study.seeds=[0]")
    with composing():
        found = studies.plan(node, ["data=cifar10", f"data.root={tmp_path}"], tmp_path / "runs")
    study_train.train(found)
    assert " 0 done" not in capsys.readouterr().out


def test_one_teacher_serves_students_of_few_and_of_many_images():
    found = planned("when_does_bias_help")
    teachers = {one.group: one.teacher.folder for one in found.runs if one.teacher is not None}
    assert set(teachers) == {"few_exp1", "few_smoothing", "many_exp1"}
    assert len(set(teachers.values())) == 1
    assert [run.label for run in found.order].count("teacher resnet20") == 1


def test_a_smoke_run_of_a_study_is_as_small_as_that_of_an_experiment(tmp_path):
    node = node_of("locality_curse", "study.seeds=[0]", "~study.hypotheses")
    node = {**node, "runs": {group: node["runs"][group] for group in ("control", "exp1")}}
    with composing():
        found = studies.plan(node, ["trainer=smoke"], tmp_path)
    assert [run.epochs for run in found.order] == [1, 1, 1]
    words = found.runs[0].run.overrides
    assert not [word for word in words if word.startswith(("data", "epochs", "batch_size", "trainer."))]
    assert "model.conv_stem=deep" in words


def test_two_groups_that_are_the_same_run_are_refused(tmp_path):
    alone = ["control=none", "data=cues", "trainer=smoke"]
    runs = {
        name: {"experiment": "demo_kl", "overrides": [*alone, f"teacher={teacher}"]}
        for name, teacher in (("of_cnn", "small_cnn"), ("of_vit", "small_vit"))
    }
    with composing(), pytest.raises(ConfigError, match=r"study\.runs: of_cnn and of_vit are the same run"):
        studies.plan({"name": "toy", "question": "?", "seeds": [0], "runs": runs}, [], tmp_path)


def test_a_study_must_be_named(tmp_path):
    with pytest.raises(ConfigError, match="study: name one"):
        study_of({"study": None, "paths": {"runs": str(tmp_path)}})


def test_the_record_of_a_study_is_read_again_where_the_runs_were_moved_to(tmp_path):
    study = toy(tmp_path / "here")
    assert studies.load(study.folder) == study
    (tmp_path / "here").rename(tmp_path / "there")
    moved = studies.load(tmp_path / "there" / "studies" / "toy")
    assert moved.runs[0].run.folder == tmp_path / "there" / "studies" / "runs" / "student-0"
    assert moved.runs[0].teacher.folder == tmp_path / "there" / "teachers" / "small"


def test_a_teacher_is_planned_where_its_students_look_for_it(tmp_path):
    node = node_of("demo", "study.seeds=[0]", "~study.hypotheses")
    node = {**node, "runs": {"student": node["runs"]["student"]}}
    with composing():
        beside = studies.plan(node, [], tmp_path / "R").runs[0]
        away = studies.plan(node, [f"paths.teachers={tmp_path / 'T'}"], tmp_path / "R")
    assert beside.teacher.folder.parent == tmp_path / "R" / "teachers"
    assert away.runs[0].teacher.folder.parent == tmp_path / "T"
    assert away.runs[0].teacher.folder.name == beside.teacher.folder.name
    studies.save(away)
    (tmp_path / "R").rename(tmp_path / "moved")
    found = studies.load(tmp_path / "moved" / "studies" / "demo").runs[0]
    assert found.run.folder == tmp_path / "moved" / "studies" / "runs" / away.runs[0].run.folder.name
    assert found.teacher.folder == away.runs[0].teacher.folder  # it lies elsewhere, and has not moved


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"study": 3}', '{"study": {}, "words": [], "runs": []}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "started.json").write_text(text)
    with pytest.raises(ConfigError):
        studies.load(tmp_path)


def test_teachers_of_one_name_and_groups_of_their_name_are_told_apart(tmp_path):
    first, second = (Run("teacher small", (), tmp_path / name, "k", 3) for name in ("one", "two"))
    runs = [
        StudyRun(group, 0, Run(group, (), tmp_path / group, "k", 4), teacher)
        for group, teacher in (("few", first), ("many", second), ("teacher small", None))
    ]
    node = {**NODE, "runs": {one.group: {"experiment": "demo_kl"} for one in runs}}
    found = study_teachers(Study(node, (), tuple(runs), tmp_path / "studies" / "toy"))
    assert [one.label for one in found] == ["teacher small (2)", "teacher small (3)"]

    def measured(label: str, role: str, key: str = "") -> Measured:
        about = {"teacher_key": key, "teacher": key or None}
        return Measured(f"{role}-{label}-{key}", label, role, about, {"cka": Result("cka", {"x": len(key)}, {}, {})})

    networks = [measured("few", "network", "a"), measured("many", "network", "bb"), measured("untrained", "initial")]
    networks += [measured("small", "teacher", key) for key in ("a", "bb")]
    groups = [ReportedGroup(one.group, 1) for one in runs]
    what = Reported("study", "toy", "", "", node, groups, [], tmp_path)
    beside, taught = references(what, networks)
    assert {name: one.scalars["x"] for name, one in beside["cka"].items()} == {
        "untrained": 0,
        "teacher small (2)": 1,
        "teacher small (3)": 2,
    }
    assert {group: of["cka"].scalars["x"] for group, of in taught.items()} == {"few": 1, "many": 2}
    networks += [measured("few", "network", "bb"), measured("few", "network", "a")]  # other seeds
    assert list(references(what, networks)[1]) == ["many"]
    assert taught_by(what, networks) == {"few": ["a", "bb"], "many": ["bb"]}
    assert several_teachers(what, networks) == ["what few took over: its seeds had 2 different teachers"]
    own = [measured("untrained", "network", "a"), measured("untrained", "initial")]
    assert {name: len(of) for name, of in by_label(own, "cka").items()} == {"untrained (a run)": 1, "untrained": 1}


def report(root: Path, *words: str) -> None:
    cfg = composed(["task=report", "trainer=cpu", f"paths.runs={root}", f"out={root / 'out'}", *words], "analyze")
    OmegaConf.update(cfg, "study", None if any(word.startswith("runs=") for word in words) else NODE, force_add=True)
    run(cfg)


def test_a_run_whose_log_is_damaged_has_no_curves_and_its_page_has_the_rest(tmp_path, capsys):
    folders = {seed: tmp_path / str(seed) for seed in range(3)}
    for folder in folders.values():
        folder.mkdir()
    (folders[0] / "metrics.csv").write_text("epoch,train/loss\n0,1.5\n")
    (folders[1] / "metrics.csv").write_bytes(b"epoch,train/loss\n" + bytes(40))  # a power cut leaves zeros
    found = curves([ReportedGroup("student", 3, folders), ReportedGroup("control", 1, {0: folders[2]})])
    assert {label: len(runs) for label, runs in found.items()} == {"student": 1}
    said = capsys.readouterr().out
    assert f"{folders[1] / 'metrics.csv'} is damaged" in said
    assert len(said.splitlines()) == 1


def test_the_page_has_the_verdicts_first_and_everything_beside_it(tmp_path, capsys):
    study = toy(tmp_path)
    trained(study)
    finished(study.order[0], 0.8)
    report(tmp_path)
    assert "teacher small,1 of 1" in (study.folder / "runs.csv").read_text()
    page = (study.folder / "toy.html").read_text()
    answer = "<strong>Supported:</strong> It gains."
    assert page.index(answer) < page.index("Runs and their cost") < page.index("How it was made")
    assert "1 hypothesis, stated before the runs: 1 supported." in page
    assert "http" not in page
    assert "abcdef0123" in page
    assert "python train.py -m study=toy trainer=smoke" in page
    assert "Supported: It gains" in capsys.readouterr().out
    row = (study.folder / "hypotheses.csv").read_text().splitlines()[1]
    assert row.startswith("gain,supported,test/accuracy,student against control,higher,0.")
    assert {path.name for path in study.folder.iterdir()} >= {"toy.md", "runs.csv", "accuracy.csv", "figures"}
    assert {path.name for path in (study.folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("verdicts", "accuracy") for kind in ("png", "svg")
    }
    before = page
    report(tmp_path)
    assert (study.folder / "toy.html").read_text() == before


def test_a_page_of_an_unfinished_study_says_so_and_decides_nothing(tmp_path):
    study = toy(tmp_path)
    with pytest.raises(ConfigError, match="no run is done yet"):
        report(tmp_path)
    for one in study.runs[:2]:
        finished(one.run, 0.5)
    report(tmp_path)
    page = (study.folder / "toy.md").read_text()
    assert "2 of 6 runs are done. The others may change the verdicts." in page
    assert "Not decided at 1 seed: It gains" in page
    assert "4 seeds could show a difference of 5.0 points at the assumed" in page


def test_hypotheses_that_change_after_the_first_result_are_named(tmp_path):
    def begun(**changes) -> str:
        node = {**NODE, "hypotheses": {"gain": {**NODE["hypotheses"]["gain"], **changes}}}
        study = replace(toy(tmp_path), node=node)
        studies.save(study)
        finished(study.runs[0].run, 0.5)
        report(tmp_path)
        return (study.folder / "toy.md").read_text()

    changed = "stated before the runs (changed after the first result: gain):"
    assert "stated before the runs:" in begun(smallest=0.07)  # no result was there before
    assert "stated before the runs:" in begun(smallest=0.07, says="It does gain.", sd=0.5)
    assert changed in begun(smallest=0.01)
    assert changed in begun(smallest=0.02)
    studies.save(replace(toy(tmp_path), node=NODE | {"hypotheses": {}}, runs=()))  # other runs, none of them done
    assert changed in begun(smallest=0.02)
    assert "stated before the runs:" in begun(smallest=0.07)


@pytest.mark.parametrize("record", [None, "{"])
def test_results_before_the_record_do_not_count_as_stated_before(tmp_path, record):
    study = toy(tmp_path)
    finished(study.runs[0].run, 0.5)
    (study.folder / studies.RECORD).unlink()
    if record is not None:
        (study.folder / studies.RECORD).write_text(record)
    studies.save(study)
    report(tmp_path)
    assert "1 hypothesis, recorded when runs were done already: 1 not decided" in (study.folder / "toy.md").read_text()


@pytest.mark.parametrize("stated", [{"first": "gain"}, {"first": None, "other": 1}, [1]])
def test_a_record_whose_hypotheses_are_none_is_damaged(tmp_path, stated):
    record = toy(tmp_path).folder / studies.RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), "stated": stated}))
    with pytest.raises(ConfigError, match="is cut short or damaged"):
        studies.load(record.parent)


def test_a_run_that_is_begun_and_not_measured_is_named_with_its_reason(tmp_path):
    study = toy(tmp_path)
    for one in study.runs[:2]:
        finished(one.run, 0.5)
    for one in study.runs[2:6]:
        one.run.folder.mkdir(parents=True)
    stopped = study.runs[2].run.folder
    (stopped / "config.yaml").write_text("name: toy\n")
    (stopped / "result.json").write_text('{"stopped": "the loss is not finite"}')
    (study.runs[4].run.folder / "config.yaml").write_text("name: toy\n")
    (study.runs[4].run.folder / "result.json").write_bytes(bytes(20))  # a power cut leaves zeros
    (study.runs[5].run.folder / "failure.json").write_text('{"kind": "OSError", "text": "disk full"}')
    report(tmp_path)
    page = (study.folder / "toy.md").read_text()
    names = [f"{one.group}, seed {one.seed}," for one in study.runs]
    said = page[page.index("Begun, and not on this page: ") :].splitlines()[0].split("; ")
    assert said[0].endswith(f"{names[2]} stopped early (the loss is not finite)")
    assert said[1].startswith(f"{names[4]} is damaged (runs: ")
    assert said[2] == f"{names[3]} is not finished"
    assert said[3] == f"{names[5]} failed (OSError: disk full)."


def test_a_control_of_another_recipe_is_named_on_the_page_of_a_study(tmp_path, capsys):
    study = toy(tmp_path)
    trained(study)
    for one in study.runs:
        epochs = {"student": 4, "control": 2}[one.group]
        OmegaConf.save({"seed": one.seed, "epochs": epochs}, one.run.folder / "config.yaml")
    said = "student and its control control have unlike recipes: epochs 2 for 4."
    tree = {"study": study.node, "paths": {"runs": str(tmp_path)}}
    assert said in reported_study(tree).how
    assert said in capsys.readouterr().out
    first = next(one.run.folder for one in study.runs if one.group == "control")
    (first / "config.yaml").write_text("epochs: [")
    assert any(
        "Whether control has the recipe of its control is not known" in str(one) for one in reported_study(tree).how
    )


def test_a_page_of_a_sweep_groups_its_runs_by_config_and_names_the_unfinished(tmp_path, capsys):
    for name, teacher, accuracy in (("kl", "small", 0.6), ("base", None, 0.5)):
        for seed in (0, 1, 2):
            config = {"name": name, "seed": seed, "epochs": 2, "teacher": {"name": teacher}}
            label, folder = f"{'student' if teacher else 'control'} {seed}", tmp_path / "sweep" / f"{name}-{seed}"
            one = Run(label, (), folder, spec_hash(config), 2)
            finished(one, accuracy, seed)
            OmegaConf.save(OmegaConf.create(config), one.folder / "config.yaml")
    (tmp_path / "sweep" / "kl-1" / "result.json").unlink()
    report(tmp_path, f"runs=[{tmp_path / 'sweep'}]", "probe=[]")
    out = tmp_path / "out"
    assert "kl-1 is not finished: left out" in capsys.readouterr().out
    accuracy = (out / "accuracy.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in accuracy] == ["group", "base", "kl"]
    assert "no hypotheses were stated" in (out / "report.html").read_text()
    assert f"Left out: {tmp_path / 'sweep' / 'kl-1'} is not finished." in (out / "report.md").read_text()
    shutil.copytree(tmp_path / "sweep" / "kl-2", tmp_path / "sweep" / "again")
    with pytest.raises(ConfigError, match="are the same run of seed 2"):
        report(tmp_path, f"runs=[{tmp_path / 'sweep'}]", "probe=[]")
