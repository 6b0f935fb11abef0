"""analyze.py: a run, a checkpoint, and a network by name with a weights file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from config_base import composed
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from kdbias import analysis, cli
from kdbias.build import build
from kdbias.config import ConfigError
from kdbias.data.cues import cues
from kdbias.probes.base import Result
from kdbias.report import attention as attention_figures
from kdbias.run import train
from kdbias.subjects import same_pictures

VIT = ["model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8"]
CUES = ["data=cues", "data.train=200", "data.val=40", "data.test=60"]


def analyze_config(overrides: list[str]) -> DictConfig:
    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return compose("analyze", ["trainer=cpu", *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "exp" / "small"
    train(composed(["experiment=baseline", "trainer=smoke", *VIT, *CUES, f"paths.run={folder}"]))
    return folder


@pytest.fixture
def beside(run, tmp_path):
    """A function that copies the run to where another experiment would have put it, with other data settings."""

    def copy(experiment: str, **data) -> Path:
        folder = tmp_path / "runs" / experiment / "small"
        shutil.copytree(run, folder)
        saved = OmegaConf.load(folder / "config.yaml")
        saved.data.update(data)
        OmegaConf.save(saved, folder / "config.yaml")
        return folder

    return copy


def rows_of(folder: Path) -> dict[str, list[str]]:
    lines = (folder / "evaluate.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {cells[0]: cells[1:] for cells in rows if cells and "/" in cells[0]}


def test_evaluate_a_run_and_a_checkpoint_on_the_runs_own_data(run, tmp_path, capsys):
    last = run / "checkpoints" / "last.ckpt"
    analysis.run(analyze_config([f"runs=[{run},{last}]", f"out={tmp_path}"]))
    rows = rows_of(tmp_path)
    assert list(rows) == ["exp/small", "exp/small/last"]
    right = Result.load(tmp_path / "exp-small", "accuracy").arrays["right"]
    assert right.shape == (60,)
    np.testing.assert_allclose(float(rows["exp/small"][0].split("[")[0]), 100 * right.mean(), atol=0.006)
    assert rows["exp/small"][3] == "60"
    assert str(tmp_path / "evaluate.md") in capsys.readouterr().out


def test_only_networks_on_the_same_pictures_are_compared(run, beside, tmp_path):
    runs = [run, beside("training", train=300, shape_reliability=0.5), beside("pictures", seed=1)]
    analysis.run(analyze_config([f"runs=[{','.join(map(str, runs))}]", f"out={tmp_path}"]))
    differences = {name: cells[-1] for name, cells in rows_of(tmp_path).items()}
    assert differences["exp/small"] == differences["pictures/small"] == "-"
    assert differences["training/small"].startswith("no difference shown")


def test_what_decides_the_pictures_depends_on_the_split():
    base = {"_target_": "kdbias.data.mnist.mnist", "root": "a", "val": 100, "split_seed": 0, "size": 28}
    assert same_pictures(base, {**base, "root": "b"}, "val")
    assert same_pictures(base, {**base, "split_seed": 1}, "test")
    assert not same_pictures(base, {**base, "split_seed": 1}, "val")
    for other in ({"_target_": "kdbias.data.mnist.fashion_mnist"}, {"size": 32}):
        assert not same_pictures(base, base | other, "test")


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
        assert Result.load(tmp_path / "exp-small", name).scalars
    for label in ("attention", "attention-entropy", "cka-exp-small"):
        assert (tmp_path / f"{label}.png").stat().st_size > 5_000
        assert (tmp_path / f"{label}.svg").is_file()


def test_the_control_is_looked_at_and_drawn_as_the_control(run, beside, tmp_path, monkeypatch):
    drawn: list[tuple[list[str], Result | None]] = []

    def figure(networks, *, control=None) -> Figure:
        drawn.append((list(networks), control))
        return Figure()

    for name in ("distance_by_layer", "entropy_by_layer"):
        monkeypatch.setattr(attention_figures, name, figure)
    chosen = [f"runs=[{run}]", f"control_run={beside('alone')}", "probe=[attention]", "pictures=20"]
    analysis.run(analyze_config(["task=probe", *chosen, f"out={tmp_path}"]))
    saved = Result.load(tmp_path / "alone-small", "attention")
    assert len(drawn) == 2
    for networks, control in drawn:
        assert networks == ["exp/small"]
        assert control is not None
        np.testing.assert_array_equal(control.arrays["distance"], saved.arrays["distance"])


def test_probes_that_are_not_defined_are_left_out(tmp_path, monkeypatch, capsys):
    source = cues(train=200, val=40, test=60)
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, source.info).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    monkeypatch.delattr("kdbias.data.cues.CueSource.variant")
    named = ["teacher=small_cnn", f"teacher.weights={tmp_path}/w.safetensors", *CUES]
    analysis.run(analyze_config(["task=probe", *named, "probe=[attention,cues]", f"out={tmp_path}/out"]))
    printed = capsys.readouterr().out
    assert "attention: small_cnn is left out, a CNN has no attention" in printed
    assert "cues: small_cnn is left out, its data has no pictures of known shape and texture" in printed
    assert not (tmp_path / "out").exists()


def test_two_networks_of_one_name_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"two networks would be saved as exp-small"):
        analysis.run(analyze_config([f"runs=[{run}]", f"control_run={run}", f"out={tmp_path}"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=fly"], "task: no task 'fly'; there are demo, evaluate, probe"),
        ([], r"nothing to look at: give runs=\[RUN_DIR,...\]"),
        (["teacher=small_cnn"], "teacher=small_cnn needs data=NAME"),
        (["teacher=small_cnn", "data=cues"], "needs teacher.weights=PATH"),
        (["runs=[nowhere]"], r"runs: \S+/nowhere/checkpoints/best.ckpt is not there"),
        (["control_run=nowhere"], r"control_run: \S+/nowhere/checkpoints/best.ckpt is not there"),
    ],
)
def test_what_cannot_be_looked_at_is_named(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        analysis.run(analyze_config([*overrides, f"out={tmp_path}"]))
