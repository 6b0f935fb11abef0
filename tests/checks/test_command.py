"""A command is checked before torch is loaded and before anything is written."""

import sys
from subprocess import run

import pytest
import torch
from config_base import composed
from omegaconf import OmegaConf

from kdbias.analysis.tasks import TASKS
from kdbias.checks.check import check
from kdbias.checks.command import already_done, require_command
from kdbias.checks.early_folders import folder_problem
from kdbias.config import conf
from kdbias.config.errors import ConfigError, RunStopped
from kdbias.config.spec import spec_hash
from kdbias.files import write_json


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    conf.register()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBIAS_RUNS", raising=False)


def refused(typed: str, config: str = "train") -> str:
    with pytest.raises(ConfigError) as error:
        require_command(typed.split(), config, TASKS)
    return str(error.value)


TRAIN = {
    "epochs=-3": "epochs: must be a whole number of at least 1, got -3",
    "epochs=1.5": "epochs: must be a whole number of at least 1, got 1.5",
    "seed=x": "seed: must be a whole number from 0 to 2**32 - 1, got 'x'",
    "trainer.precision=half": "trainer.precision: there is no 'half': choose one of auto, 32-true, bf16-mixed, 64-true",
    "experiment=exp1_kl loss.alpha=1.5": "loss.alpha: cross-entropy has the weight 1 - loss.alpha, and no weight "
    "may be below 0: give a number from 0 to 1, got 1.5",
    "experiment=exp1_kl loss.alpha=-1": "loss.alpha: no weight may be below 0: give a number from 0 to 1, got -1",
    "experiment=exp1_kl teacher.weights=no.pth": "teacher.weights: there is no file no.pth: correct the path",
    "data=image_folder data.root=nowhere": "data.root: there is no folder nowhere: name one that holds train/ and val/ "
    "or test/, each with one folder of images per class",
    "experiment=exp1_kl loss.kl.temp=2": "loss.kl.temp: there is no such setting: did you mean loss.kl.temperature?",
    "experiment=exp1_kl teacher=timm_trained teacher.recipe=teacher_tim": "teacher.recipe: there is no "
    "conf/experiment/teacher_tim.yaml: did you mean teacher_timm? or give teacher.weights=PATH",
    "resume=nowhere": "resume=nowhere: is not there: name the folder of a run (`python analyze.py task=list` "
    "lists the runs)",
    "paths.runs=/dev/null/x": "paths.runs: cannot write into /dev/null/x (Not a directory): choose another folder, by "
    "paths.runs or KDBIAS_RUNS",
}
ANALYZE = {
    "task=evalute": f"task: there is no task 'evalute': did you mean evaluate? the tasks are {', '.join(TASKS)}",
    "runs=[nowhere]": "runs: nowhere is not there: correct the path",
    "task=power split=tst": "split: there is no split 'tst': choose train, val, test",
    "task=probe": "no network is named: give runs=[RUN_DIR,...], or teacher=NAME teacher.weights=PATH data=...",
    "runs=[bad.ckpt]": "runs: bad.ckpt cannot be read as a checkpoint: it is cut short or damaged: copy or download it "
    "again",
}


@pytest.mark.parametrize("typed", TRAIN)
def test_a_mistake_of_train_is_one_line(typed, tmp_path):
    assert refused(typed) == TRAIN[typed]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ANALYZE)
def test_a_mistake_of_analyze_is_one_line(typed, tmp_path):
    (tmp_path / "bad.ckpt").write_bytes(b"\x80\x02 no checkpoint" * 9)
    assert refused(typed, "analyze") == ANALYZE[typed]


def test_words_that_set_nothing_are_all_named_with_the_other_mistakes():
    assert refused("experiment=exp1_kl loss.kl.temprature=2 model.depth=two epochs=abc").splitlines() == [
        "the command has 3 problems:",
        "  loss.kl.temprature: there is no such setting: did you mean loss.kl.temperature?",
        "  model.depth: there is no such setting: model has _target_, distilled, drop_path, inference, layers",
        "  epochs: must be a whole number of at least 1, got 'abc'",
    ]


def test_all_mistakes_are_listed_at_once():
    assert refused("epochs=0 seed=-1") == (
        "the command has 2 problems:\n  epochs: must be a whole number of at least 1, got 0\n"
        "  seed: must be a whole number from 0 to 2**32 - 1, got -1"
    )


@pytest.mark.parametrize(
    "typed", ["-m data=cues epochs=1", "--cfg job epochs=0", "--config-dir mine own=1", "data=cues seed=1"]
)
def test_a_command_that_is_not_this_checks_passes(typed):
    require_command(typed.split(), "train")


def test_a_folder_that_can_be_made_passes_and_is_not_made(tmp_path):
    assert folder_problem("paths.runs", tmp_path / "a" / "b", "paths.runs") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("alpha", [1.5, -0.5])
def test_the_full_check_names_the_share_and_not_the_weights_that_follow_from_it(alpha):
    problems = check(composed(["experiment=exp1_kl", "teacher=resnet20", "data=cues", f"loss.alpha={alpha}"]))
    assert [problem.partition(":")[0] for problem in problems] == ["loss.alpha"]


def test_a_share_above_1_without_cross_entropy_is_a_choice():
    require_command(["experiment=demo_kl", "loss=[kl]", "loss.alpha=2", "data=cues"], "train")


def finished(folder, **result):
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({}, folder / "checkpoints" / "last.ckpt")
    cfg = OmegaConf.create({"name": "mine", "seed": 0, "epochs": 1})
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    key = spec_hash(cfg)
    write_json(folder / "result.json", {"spec_hash": key, "spec": {"hash": key}, "objective": 0.5, **result})
    return sorted(folder.rglob("*"))


def test_a_finished_run_is_done_already_and_stays_as_it_is(tmp_path, capsys):
    before = finished(tmp_path / "run")
    assert already_done(["resume=run"])
    assert capsys.readouterr().out == "done already: run/result.json\n"
    assert sorted((tmp_path / "run").rglob("*")) == before
    assert not already_done(["resume=run", "seed=0"])  # the command may compose another config


@pytest.mark.parametrize(
    "saved", ["control: {_target_: kdbias.controls.graded.Graded, teachers: 3}", "a: [1", "a: ${b}"]
)
def test_a_damaged_config_is_left_to_the_full_check(tmp_path, saved):
    finished(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(saved)
    assert not already_done(["resume=run"])


def test_a_run_that_failed_is_not_resumed(tmp_path):
    finished(tmp_path / "run", stopped="the loss is not finite")
    with pytest.raises(RunStopped, match="the loss is not finite"):
        already_done(["resume=run"])


def test_torch_is_not_loaded():
    program = (
        "import sys; import kdbias.start; print(*{'hydra', 'omegaconf', 'numpy'} & set(sys.modules));"
        "from kdbias import cli; from kdbias.checks.command import require_command; cli.register();"
        "require_command(['experiment=exp1_resnet_kl', 'data=cues'], 'train');"
        "print(*{'torch', 'lightning', 'timm', 'scipy', 'numpy'} & set(sys.modules))"
    )
    found = run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == ""
