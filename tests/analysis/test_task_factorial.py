"""``task=factorial`` on run folders made by hand."""

import json
import re

import numpy as np
import pytest
from omegaconf import OmegaConf

from kdbias.analysis.tasks import run
from kdbias.checks.check import ConfigError
from kdbias.config.spec import spec_hash
from kdbias.probes.base import Result

SEEDS = (0, 1, 2)


def make(sweep, family, accuracy, seed, score, **other):
    folder = sweep / f"{family}-{accuracy}-{seed}"
    (folder / "probes").mkdir(parents=True)
    config = {"seed": seed, "epochs": 8, "teacher": {"name": family}, "control": {"accuracy": accuracy}, **other}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    (folder / "result.json").write_text(
        json.dumps({"control": {"accuracy": accuracy + 0.01}, "spec_hash": spec_hash(config)})
    )
    Result("test", {"accuracy": score}, {}, {}).save(folder / "probes")
    for epoch, distance in ((0, 9.0), (8, score)):
        Result(f"attention-epoch{epoch}", {"distance": distance}, {}, {}).save(folder / "probes")
    return folder


@pytest.fixture
def sweep(tmp_path):
    """Twelve runs: the family brings .1, the accuracy .02, no interaction; seeds differ by .05."""
    for family, gain in (("resnet56", 0.0), ("vit", 0.1)):
        for accuracy, more in ((0.9, 0.0), (0.92, 0.02)):
            for seed in SEEDS:
                noise = 0.0002 * np.sin(7 * seed + 100 * gain + 1000 * more)
                make(tmp_path / "sweep", family, accuracy, seed, 0.5 + gain + more + 0.05 * seed + noise)
    return tmp_path / "sweep"


def analyse(sweep, **settings):
    given = {
        "task": "factorial",
        "runs": [str(sweep)],
        "factors": ["teacher.name", "control.accuracy"],
        "scores": ["test/accuracy"],
        "out": str(sweep.parent / "out"),
    }
    run(OmegaConf.create({**given, **settings}))
    return (sweep.parent / "out" / "factorial.md").read_text()


def test_effects_stand_with_their_intervals_over_seeds(sweep):
    written = analyse(sweep, scores=["test/accuracy", "attention/distance"])
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in written.splitlines() if line.startswith("| ")}
    family, accuracy, interaction = (
        rows[f"| {name}"]
        for name in (
            "teacher.name: vit − resnet56",
            "control.accuracy: 0.92 − 0.9",
            "teacher.name × control.accuracy",
        )
    )
    assert float(family[0].split()[0]) == pytest.approx(10, abs=0.04)  # twice the noise's amplitude
    assert float(family[1].split()[0]) == pytest.approx(0.1, abs=0.001)  # the last epoch's, not that before training
    assert float(accuracy[0].split()[0]) == pytest.approx(2, abs=0.04)
    assert interaction[0].startswith("no difference shown")
    assert "| resnet56 | 0.9 | 55.0" in written
    assert "| 91.0 |" in written  # at which its teacher was found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda sweep: make(sweep, "vit", 0.9, 5, 0.5),
            "resnet56 × 0.9 has seeds 0, 1, 2, and all cells together 0, 1, 2, 5",
        ),
        (lambda sweep: make(sweep, "deit", 0.9, 0, 0.5), r"teacher\.name takes 3 values .*deit, resnet56, vit"),
        (lambda sweep: (sweep / "vit-0.9-0" / "result.json").unlink(), "vit × 0.9 has seeds 1, 2"),
        (lambda sweep: [one.unlink() for one in sweep.glob("*/result.json")], "none of the 12 runs in .* is finished"),
    ],
)
def test_what_is_no_design_is_named(sweep, change, message):
    change(sweep)
    with pytest.raises(ConfigError, match=message):
        analyse(sweep)


def test_a_factor_of_the_recipe_is_not_mixed_up_with_teacher_or_control(tmp_path):
    """All runs of one learning rate have another teacher: its effect would be the teacher's."""
    for lr, teacher in ((1, "resnet20"), (2, "vit")):
        for epochs in (8, 9):
            for seed in SEEDS:
                folder = make(tmp_path / f"{lr}-{epochs}", teacher, 0.9, seed, 0.5, optim={"lr": lr}, epochs=epochs)
                folder.rename(tmp_path / f"run-{lr}-{epochs}-{seed}")
            (tmp_path / f"{lr}-{epochs}").rmdir()
    runs = sorted(map(str, tmp_path.glob("run-*")))
    with pytest.raises(ConfigError, match=r"differ in teacher\.name too: compare like with like"):
        analyse(tmp_path / "run", runs=runs, factors=["optim.lr", "epochs"])


def test_the_seed_whose_draws_all_runs_see_is_one_of_the_design(tmp_path):
    """A run leaves out a ``teacher.cache_seed`` that is its own seed; its recipe is that of the others all the same."""
    for lr in (1, 2):
        for epochs in (8, 9):
            for seed in SEEDS:
                folder = make(tmp_path / "sweep", "vit", lr, seed, 0.5 + 0.1 * lr, optim={"lr": lr}, epochs=epochs)
                config = OmegaConf.load(folder / "config.yaml")
                config.control = None
                config.teacher = {"name": "vit", "cache": 4, "cache_seed": 1}
                OmegaConf.save(config, folder / "config.yaml")
                key = spec_hash(OmegaConf.to_container(config))
                (folder / "result.json").write_text(json.dumps({"spec_hash": key}))
                folder.rename(tmp_path / "sweep" / f"{lr}-{epochs}-{seed}")
    assert "Means over 3 seeds" in analyse(tmp_path / "sweep", factors=["optim.lr", "epochs"])


def test_one_score_may_stand_alone(sweep):
    assert analyse(sweep, scores="test/accuracy") == analyse(sweep)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.json", "{", r"scores: .*measure .*vit-0\.9-1 again, or leave it out"),
        ("test.npz", "cut", r"scores: .*vit-0\.9-1"),
        ("test.json", "", "scores: test/accuracy of .* is nan, no number"),
    ],
)
def test_a_damaged_result_or_one_without_a_number_is_named(sweep, capsys, name, content, message):
    place = sweep / "vit-0.9-1" / "probes" / name
    if not content:
        Result("test", {"accuracy": float("nan")}, {}, {}).save(place.parent)
    else:
        place.write_text(content)
    with pytest.raises(ConfigError, match=r"vit × 0\.9 has seeds 0, 2"):
        analyse(sweep)
    assert re.search(f"left out: {message}", capsys.readouterr().out)
    with pytest.raises(ConfigError, match=message):
        analyse(sweep, runs=sorted(map(str, sweep.iterdir())))


def test_runs_that_differ_in_more_than_the_factors_are_not_compared(sweep):
    config = sweep / "vit-0.9-1" / "config.yaml"
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(config), {"epochs": 9}), config)
    with pytest.raises(ConfigError, match="differ in epochs too"):
        analyse(sweep, runs=sorted(map(str, sweep.iterdir())))


def test_what_does_not_belong_in_a_folder_of_runs_is_left_out_with_a_line_each(sweep, capsys):
    written = analyse(sweep)
    capsys.readouterr()
    make(sweep, "vit", 0.9, 7, 0.5)
    (sweep / "vit-0.9-7" / "result.json").unlink()
    make(sweep, "vit", 0.9, 8, 0.5, epochs=9)
    (make(sweep, "vit", 0.9, 9, 0.5) / "probes" / "test.json").unlink()
    make(sweep, "none", 0.9, 1, 0.5, teacher={"name": None})
    assert analyse(sweep) == written
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert sorted(line.split("vit-0.9-")[-1].split("none-0.9-")[-1].split()[0] for line in said) == ["1", "7", "8", "9"]
    assert any("vit-0.9-8 differs in epochs from most of the runs" in line for line in said)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"stopped": "the representations collapsed", "spec_hash": null}', "stopped early (the representations coll"),
        ("{", "cannot be read"),
        ("[]", "is no result"),
    ],
)
def test_a_run_without_a_result_of_its_own_is_left_out_and_refused_where_it_is_named(sweep, capsys, content, says):
    written = analyse(sweep)
    (make(sweep, "vit", 0.9, 7, 0.5) / "result.json").write_text(content)
    capsys.readouterr()
    assert analyse(sweep) == written
    assert says in capsys.readouterr().out
    with pytest.raises(ConfigError, match=re.escape(says)):
        analyse(sweep, runs=sorted(map(str, sweep.iterdir())))


def test_a_run_that_is_named_and_not_finished_is_refused(sweep):
    (sweep / "vit-0.9-0" / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"vit-0\.9-0 is not finished"):
        analyse(sweep, runs=sorted(map(str, sweep.iterdir())))


def test_a_score_or_a_factor_that_is_not_there_is_named(sweep):
    with pytest.raises(ConfigError, match=r"no result of a probe 'cka'.*probe_cka"):
        analyse(sweep, scores=["cka/diversity"])
    with pytest.raises(ConfigError, match="probe 'test' has no 'f1'; it has accuracy"):
        analyse(sweep, scores=["test/f1"])
    with pytest.raises(ConfigError, match="has no value of model"):
        analyse(sweep, factors=["teacher.name", "model.width"])
    with pytest.raises(ConfigError, match="give two keys"):
        analyse(sweep, factors=["teacher.name"])
    with pytest.raises(ConfigError, match="neither a run folder"):
        analyse(sweep, runs=[str(sweep.parent / "nothing")])
