"""The sweeps of bias transfer: every job composes and passes the check, and a row and its control have one recipe."""

import pytest
from config_base import composed
from hydra import compose, initialize_config_dir

from kdbias import cli
from kdbias.checks.check import check
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain, spec_hash

SWEEPS = ("bias_transfer", "bias_transfer_cpu", "bias_transfer_cues")


def jobs(sweep):
    """Give the experiments and seeds that a sweep crosses."""
    cli.register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("train", [f"+sweep={sweep}"], return_hydra_config=True)
    assert str(cfg.hydra.mode).endswith("MULTIRUN")
    params = dict(cfg.hydra.sweeper.params)
    assert params["seed"] == "0,1,2"
    return params["experiment"].split(",")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_job_passes_the_check_and_is_a_run_of_its_own(sweep):
    experiments, hashes = jobs(sweep), set()
    assert len(experiments) == 10
    for experiment in experiments:
        cfg = composed([f"+sweep={sweep}", f"experiment={experiment}", "seed=1", "trainer=cpu"])
        assert check(cfg) == [], experiment
        hashes.add(spec_hash(cfg))
        if sweep != "bias_transfer":
            assert cfg.preset == f"small/{experiment}"
    assert len(hashes) == 10


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("direction", ["cnn_to_vit", "vit_to_cnn"])
def test_a_row_and_its_control_have_one_recipe(sweep, direction):
    found = {
        name: plain(composed([f"+sweep={sweep}", f"experiment={name}", "trainer=cpu"]))
        for name in jobs(sweep)
        if name.startswith(direction)
    }
    control = found[f"{direction}/independent"]
    for name, tree in found.items():
        for key in ("data", "epochs", "batch_size", "optim"):
            assert tree[key] == control[key], (name, key)
        if name.rpartition("/")[2] in ("lm", "crd", "vlfkd", "capd"):
            assert {**tree["model"], "layers": 0} == {**control["model"], "layers": 0}, name
            assert tree["augment"] == control["augment"], name


def test_the_settings_of_the_cues_reach_the_teacher():
    cfg = composed(["+sweep=bias_transfer_cues", "experiment=vit_to_cnn/lm"])
    assert plain(cfg)["teacher"]["data"] == {"shape_reliability": 1.0, "texture_reliability": 0.0}
    assert (cfg.teacher.name, cfg.data.train, cfg.trainer.accelerator) == ("small_vit", 4500, "cpu")


def test_small_settings_of_another_experiment_are_refused():
    problems = check(composed(["experiment=exp1_kl", "preset=small", "trainer=cpu"]))
    assert len(problems) == 1
    assert problems[0].startswith("preset: this experiment has no small settings: they are there for cnn_to_vit/")
