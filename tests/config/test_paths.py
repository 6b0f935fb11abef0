"""What somebody types as a path may begin with ~ and name variables; what a file says is data."""

import os
import sys
from pathlib import Path

import preloaded
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdbias import cli
from kdbias.config import conf
from kdbias.config.spec import spec_hash
from kdbias.runs.resuming import resumed
from kdbias.runs.run_folder import CONFIG, LAST
from kdbias.runs.teacher_recipe import recipe_of

ROOT = Path(__file__).parents[2]
TYPED = ("~/x", "$HOME/x", "${HOME}/x", "$PLACE/x", "${PLACE}/x")
WEIGHTS = ("model.weights", "teacher.weights", "teacher.model.weights", "control.weights")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "~")
    for name in ("KDBIAS_RUNS", "KDBIAS_DATA", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def composed(name, *overrides):
    cli.register()
    with initialize_config_dir(conf.conf_dir(), version_base="1.3"):
        return compose(name, list(overrides))


def quoted(key, value):
    """An override whose value is this text: in quotes, a dollar before a brace escaped."""
    return f"++{key}='{value.replace('${', chr(92) + '${')}'"


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("key", ["data.root", "teacher.data.root", "paths.runs", "paths.teachers", "resume", *WEIGHTS])
def test_every_path_of_a_run(key, typed, home):
    given = ["experiment=exp1_resnet_kl", "control=same_family", "++teacher.data={}", "++teacher.model.weights=null"]
    cfg = composed("train", *given, "++model.weights=null", quoted(key, typed))
    assert OmegaConf.select(cfg, key) == typed
    conf.expand_paths(cfg)
    assert OmegaConf.select(cfg, key) == f"{home}/x"


@pytest.mark.parametrize("name", ["c2vkd", "vlfkd"])
def test_the_path_of_a_terms_weights(name, home):
    cfg = composed("train", "experiment=exp1_resnet_kl", f"loss=[ce,{name}]", f"loss.{name}.linguistic.weights='~/x'")
    conf.expand_paths(cfg)
    assert cfg.loss[name].linguistic.weights == f"{home}/x"


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("key", ["out", "from_results", "control_run", "image", "runs", "paths.runs"])
def test_every_path_of_an_analysis(key, typed, home):
    cfg = composed("analyze", quoted(key, typed))
    conf.expand_paths(cfg)
    assert OmegaConf.select(cfg, key) == f"{home}/x"


def test_lists_and_named_teachers(home):
    cfg = composed("analyze", "runs=['~/a','$HOME/b',c]", "control_run=['~/d']")
    conf.expand_paths(cfg)
    assert list(cfg.runs) == [f"{home}/a", f"{home}/b", "c"]
    assert list(cfg.control_run) == [f"{home}/d"]
    cfg = composed("train", "control=accuracy_matched", "control.graded.resnet32.weights='~/w.pth'")
    conf.expand_paths(cfg)
    assert cfg.control.graded.resnet32.weights == f"{home}/w.pth"
    assert cfg.control.graded.resnet20.weights is None


def test_what_others_interpolate_is_expanded_first(home, monkeypatch):
    monkeypatch.setenv("KDBIAS_RUNS", "~/runs")
    monkeypatch.setenv("KDBIAS_DATA", "$HOME/data")
    cfg = composed("train")
    conf.expand_paths(cfg)
    assert (cfg.paths.runs, cfg.paths.teachers, cfg.data.root) == (
        f"{home}/runs",
        f"{home}/runs/teachers",
        f"{home}/data",
    )


@pytest.mark.parametrize("plain", ["data", "/data/a b", "x~/y", "cost$", "$UNSET/x", "${UNSET}/x", "a/~/b"])
def test_other_paths_stay_as_they_are(plain):
    cfg = composed("train", quoted("data.root", plain))
    conf.expand_paths(cfg)
    assert cfg.data.root == plain


def test_a_path_that_does_not_resolve_is_left_to_the_check():
    cfg = OmegaConf.create({"data": {"root": "${nowhere}"}, "resume": "~/x"})
    conf.expand_paths(cfg)
    assert cfg.resume.endswith("/x")
    assert OmegaConf.is_interpolation(cfg.data, "root")


@pytest.mark.parametrize("experiment", ["exp1_resnet_kl", "exp3_dino"])
def test_the_hash_of_a_config_is_as_before(experiment):
    cfg = composed("train", f"experiment={experiment}")
    before = spec_hash(cfg)
    conf.expand_paths(cfg)
    assert spec_hash(cfg) == before


def test_weights_in_the_home_folder_are_hashed_by_their_content(home):
    (home / "w.pth").write_bytes(b"weights")
    (home / "v.pth").write_bytes(b"weights")
    found = set()
    for typed in ("~/w.pth", "$HOME/v.pth", str(home / "w.pth")):
        cfg = composed("train", "experiment=exp1_resnet_kl", quoted("teacher.weights", typed))
        conf.expand_paths(cfg)
        found.add(spec_hash(cfg))
    assert len(found) == 1


def test_the_teacher_of_a_run_is_known_by_what_its_own_process_will_read(home):
    (home / "w.pth").write_bytes(b"weights")
    cli.register()
    with initialize_config_dir(conf.conf_dir(), version_base="1.3"):
        found = {
            recipe_of(["experiment=exp1_resnet_kl", f"teacher.weights={typed}"], "a", "b", home, "train").key
            for typed in ("$HOME/w.pth", str(home / "w.pth"))
        }
    assert len(found) == 1


def test_a_bare_tilde_is_home_where_a_path_is_set(home):
    given = ["data.root=~/d", "runs=[~/a,b,~]", "+model.weights=~/w", "control.graded.resnet20.weights=~/v", "resume=~"]
    given += ["study.cnn_weights=~/c"]
    assert conf.with_home(given) == [
        f"data.root={home}/d",
        f"runs=[{home}/a,b,{home}]",
        f"+model.weights={home}/w",
        f"control.graded.resnet20.weights={home}/v",
        f"resume={home}",
        f"study.cnn_weights={home}/c",
    ]
    for other in (["name=~/x"], ["~teacher"], ["data.root='~/x'"], ["data.root=a~/x"], ["-m"], ["data.root=~you/x"]):
        assert conf.with_home(other) == other


def test_a_saved_config_is_data(home, tmp_path):
    """A run folder that somebody sent must not read the environment."""
    run = tmp_path / "run"
    (run / LAST).parent.mkdir(parents=True)
    (run / LAST).write_bytes(b"")
    (run / CONFIG).write_text("seed: 3\ndata:\n  root: $HOME/data\nteacher:\n  weights: ~/w.pth\n")
    cfg = OmegaConf.create({"resume": "~/run", "paths": {"runs": "~/runs", "teachers": "${paths.runs}/teachers"}})
    conf.expand_paths(cfg)
    found = resumed(cfg, ["resume='~/run'"])  # Hydra takes a leading ~ in quotes alone
    assert (found.data.root, found.teacher.weights) == ("$HOME/data", "~/w.pth")
    assert found.resume == str(run)


@pytest.mark.parametrize(
    ("program", "words", "status"),
    [
        ("train.py", ["data=cifar10", "data.root=~/none", "data.download=false", "batch_size=3"], 1),
        ("analyze.py", ["task=show_data", "data=cues", "data.train=60", "data.val=20", "data.test=20"], 0),
    ],
)
def test_the_programs_write_where_the_expanded_path_leads(program, words, status, home, tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    command = [sys.executable, str(ROOT / program), "paths.runs=$HOME/runs", *words]
    done = preloaded.run(command, cwd=place, env={**os.environ, "KDBIAS_ALLOCATOR": "0"})
    assert done.returncode == status, done.stderr
    assert (f"{home}/none" in done.stderr) == (status == 1), done.stderr
    assert list(place.iterdir()) == []
    assert (home / "runs").is_dir() == (status == 0)  # a refused training leaves no folder
