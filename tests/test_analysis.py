"""analyze.py: a run, a checkpoint, and a network by name with a weights file."""

from pathlib import Path

import numpy as np
import pytest
from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import save_file

from kdbias import analysis, cli
from kdbias.build import build
from kdbias.config import ConfigError
from kdbias.data.cues import cues
from kdbias.probes.base import Result
from kdbias.run import train

VIT = ["model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8"]
CUES = ["data=cues", "data.train=200", "data.val=40", "data.test=60"]


def analyze_config(overrides: list[str]) -> DictConfig:
    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return compose("analyze", ["trainer=cpu", *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(composed(["experiment=baseline", "trainer=smoke", *VIT, *CUES, f"paths.run={folder}"]))
    return folder


def test_evaluate_a_run_and_a_checkpoint_on_the_runs_own_data(run, tmp_path, capsys):
    last = run / "checkpoints" / "last.ckpt"
    analysis.run(analyze_config([f"runs=[{run},{last}]", f"out={tmp_path}"]))
    text = (tmp_path / "evaluate.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| small")]
    assert [row[1].strip() for row in rows] == ["small", "small/last"]
    right = Result.load(tmp_path / "small", "accuracy").arrays["right"]
    assert right.shape == (60,)
    shown = float(rows[0][2].split("[")[0])
    np.testing.assert_allclose(shown, 100 * right.mean(), atol=0.006)
    assert rows[0][5].strip() == "60"
    assert str(tmp_path / "evaluate.md") in capsys.readouterr().out


def test_evaluate_a_network_by_name_with_a_weights_file(tmp_path):
    source = cues(train=200, val=40, test=60)
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, source.info).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    named = ["teacher=small_cnn", f"teacher.weights={tmp_path}/w.safetensors"]
    analysis.run(analyze_config([*named, *CUES, f"out={tmp_path}"]))
    assert "| small_cnn |" in (tmp_path / "evaluate.md").read_text()


def test_probes_of_a_run_write_results_and_figures(run, tmp_path):
    probes = ["probe=[attention,cka,cues]", "probe.cues.pictures=20", "pictures=20"]
    analysis.run(analyze_config(["task=probe", f"runs=[{run}]", *probes, f"out={tmp_path}"]))
    for name in ("attention", "cka", "cues"):
        assert Result.load(tmp_path / "small", name).scalars
    assert (tmp_path / "attention.png").stat().st_size > 5_000
    assert (tmp_path / "cka-small.svg").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=fly"], "task: no task 'fly'; there are demo, evaluate, probe"),
        ([], r"nothing to look at: give runs=\[RUN_DIR,...\]"),
        (["teacher=small_cnn"], "teacher=small_cnn needs data=NAME"),
        (["teacher=small_cnn", "data=cues"], "needs teacher.weights=PATH"),
        (["runs=[nowhere]"], r"runs: nowhere/checkpoints/best.ckpt is not there"),
    ],
)
def test_what_cannot_be_looked_at_is_named(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        analysis.run(analyze_config([*overrides, f"out={tmp_path}"]))
