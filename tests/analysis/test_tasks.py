"""analyze.py: a run, a checkpoint, and a network by name with a weights file."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from config_base import composed
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from safetensors.torch import save_file

from kdbias.analysis import collect, measure, tasks
from kdbias.analysis.networks import same_images, subjects
from kdbias.analysis.references import untrained
from kdbias.checks.check import ConfigError
from kdbias.config.build import build
from kdbias.config.spec import plain
from kdbias.data.cues import cues
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Result
from kdbias.probes.observe import observe
from kdbias.report import attention as attention_figures
from kdbias.train import train

VIT = ["model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8"]
CUES = ["data=cues", "data.train=200", "data.val=40", "data.test=60"]
DEFAULTS = ["cache=false"]  # what is kept is tested in test_analysis_cache.py


def analyze_config(overrides: list[str]) -> DictConfig:
    return composed(["trainer=cpu", *DEFAULTS, *overrides], "analyze")


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
    tasks.run(analyze_config([f"runs=[{run},{last}]", f"out={tmp_path}"]))
    rows = rows_of(tmp_path)
    assert list(rows) == ["exp/small", "exp/small/last"]
    right = Result.load(tmp_path / "exp-small", "accuracy").arrays["right"]
    assert right.shape == (60,)
    np.testing.assert_allclose(float(rows["exp/small"][0].split("[")[0]), 100 * right.mean(), atol=0.006)
    assert rows["exp/small"][3] == "60"
    assert str(tmp_path / "evaluate.md") in capsys.readouterr().out


def test_only_networks_on_the_same_images_are_compared(run, beside, tmp_path):
    runs = [run, beside("training", train=300, shape_reliability=0.5), beside("images", seed=1)]
    tasks.run(analyze_config([f"runs=[{','.join(map(str, runs))}]", f"out={tmp_path}"]))
    differences = {name: cells[-1] for name, cells in rows_of(tmp_path).items()}
    assert differences["exp/small"] == differences["images/small"] == "-"
    assert differences["training/small"].startswith("no difference shown")


def test_a_run_on_data_of_other_classes_is_looked_at_but_not_evaluated(run, tmp_path):
    for number, place in enumerate(f"{split}/{name}" for split in ("train", "test") for name in "abc"):
        (tmp_path / "folder" / place).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng([number, i]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "folder" / place / f"{i}.png")
    size, root = OmegaConf.load(run / "config.yaml").data.get("size", 32), tmp_path / "folder"
    other = ["data=image_folder", f"data.root={root}", f"data.size={size}", "data.val=2", f"runs=[{run}]"]
    other += [f"out={tmp_path}/out"]
    said = r"exp/small was trained on .* and the data has 3 classes \(a, b, c\); accuracy(, hessian)? would hold"
    for task in ("evaluate", "compare"):
        with pytest.raises(ConfigError, match=said):
            tasks.run(analyze_config([f"task={task}", *other]))
    tasks.run(analyze_config(["task=probe", "probe=[attention]", "untrained=false", *other]))
    assert Result.load(tmp_path / "out" / "exp-small", "attention").meta["n"] == 9


def test_what_decides_the_images_depends_on_the_split():
    base = {"_target_": "kdbias.data.mnist.mnist", "root": "a", "val": 100, "split_seed": 0, "size": 28}
    assert same_images(base, {**base, "root": "b"}, "val")
    assert same_images(base, {**base, "split_seed": 1}, "test")
    assert not same_images(base, {**base, "split_seed": 1}, "val")
    for other in ({"_target_": "kdbias.data.mnist.fashion_mnist"}, {"size": 32}):
        assert not same_images(base, base | other, "test")
    folder = base | {"_target_": "kdbias.data.image_folder.image_folder"}
    assert not same_images(folder, {**folder, "split_seed": 1}, "test")  # it mixes them
    assert same_images(folder, {**folder, "val": 50}, "test")


def test_evaluate_a_network_by_name_with_a_weights_file(tmp_path):
    source = cues(train=200, val=40, test=60)
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, source.info).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    named = ["teacher=small_cnn", f"teacher.weights={tmp_path}/w.safetensors"]
    tasks.run(analyze_config([*named, *CUES, f"out={tmp_path}"]))
    assert "| small_cnn |" in (tmp_path / "evaluate.md").read_text()


def test_probes_of_a_run_write_results_and_figures(run, tmp_path, capsys):
    probes = ["probe=[attention,cka,cues]", "probe.cues.images=20", "images=20"]
    tasks.run(analyze_config(["task=probe", f"runs=[{run}]", *probes, f"out={tmp_path}"]))
    for network in ("exp-small", "untrained"):
        for name in ("attention", "cka", "cues"):
            assert Result.load(tmp_path / network, name).scalars
    for label in ("attention", "attention-entropy", "cka"):
        assert (tmp_path / f"{label}.png").stat().st_size > 5_000
        assert (tmp_path / f"{label}.svg").is_file()
    assert "no control beside: control_run=RUN_DIR names" in capsys.readouterr().out


def test_probes_of_plain_images_share_one_pass(run, tmp_path, monkeypatch):
    asked: list[list[str]] = []

    def counted(network, batches, probes):
        asked.append(list(probes))
        return observe(network, batches, probes)

    monkeypatch.setattr(measure, "observe", counted)
    chosen = ["probe=[attention,cka,accuracy]", "images=20", "untrained=false"]
    tasks.run(analyze_config(["task=probe", f"runs=[{run}]", *chosen, f"out={tmp_path}"]))
    assert [sorted(names) for names in asked] == [["accuracy", "attention", "cka"]]


def test_figures_get_seeds_by_name_and_the_control_and_the_untrained_one_marked(run, beside, tmp_path, monkeypatch):
    drawn = {}

    def figures(results, *, control=None, initial=None) -> dict[str, Figure]:
        drawn.update(results=results, control=control, initial=initial)
        return {"attention-x": Figure()}

    monkeypatch.setattr(attention_figures, "figures", figures)
    runs = f"runs=[{run},{beside('again')}]"
    chosen = [runs, "names=[mine,mine]", f"control_run={beside('alone')}", "probe=[attention]", "images=20"]
    tasks.run(analyze_config(["task=probe", *chosen, f"out={tmp_path}/out"]))
    assert list(drawn["results"]) == ["mine", "control", "untrained"]
    assert (drawn["control"], drawn["initial"]) == ("control", "untrained")
    assert len(drawn["results"]["mine"]) == 2
    saved = Result.load(tmp_path / "out" / "alone-small", "attention")
    np.testing.assert_array_equal(drawn["results"]["control"].arrays["distance"], saved.arrays["distance"])
    assert (tmp_path / "out" / "attention-x.png").is_file()


def test_the_untrained_network_has_the_weights_that_training_began_with(run, tmp_path):
    (initial,) = untrained(subjects(plain(analyze_config([f"runs=[{run}]"]))), "cpu")
    began = Result.load(run / "probes", "attention-epoch0")
    attention = AttentionProbe()(initial.load(), initial.data.batches("val", limit=began.meta["n"]))
    np.testing.assert_array_equal(attention.arrays["distance"], began.arrays["distance"])


def test_the_untrained_network_leaves_random_numbers_as_they_were(run):
    (initial,) = untrained(subjects(plain(analyze_config([f"runs=[{run}]"]))), "cpu")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    initial.load()
    assert torch.equal(before, torch.get_rng_state())


def test_a_probe_under_a_name_of_its_own_is_drawn_as_what_it_is(run, tmp_path):
    own = "+probe.mine={_target_:kdbias.probes.attention.AttentionProbe,collapse:2.0}"
    chosen = ["probe=[]", own, "images=20", "untrained=false"]
    tasks.run(analyze_config(["task=probe", f"runs=[{run}]", *chosen, f"out={tmp_path}"]))
    assert Result.load(tmp_path / "exp-small", "mine").meta["collapse"] == 2.0
    assert (tmp_path / "mine.png").is_file()


def test_figures_are_drawn_again_from_results_alone(run, tmp_path, monkeypatch):
    chosen = ["task=probe", "probe=[attention]", "images=20"]
    tasks.run(analyze_config([*chosen, f"runs=[{run}]", f"out={tmp_path}/a"]))
    monkeypatch.setattr(measure, "observe", None)
    tasks.run(analyze_config([*chosen, f"from_results={tmp_path}/a", f"out={tmp_path}/b"]))
    first, again = (tmp_path / folder / "attention.png" for folder in "ab")
    assert first.read_bytes() == again.read_bytes()
    (tmp_path / "a" / "untrained" / "attention.npz").unlink()
    with pytest.raises(ConfigError, match=r"from_results: \S+attention.json cannot be read"):
        tasks.run(analyze_config([*chosen, f"from_results={tmp_path}/a", f"out={tmp_path}/c"]))


def test_probes_that_are_not_defined_are_left_out(tmp_path, monkeypatch, capsys):
    source = cues(train=200, val=40, test=60)
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, source.info).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    monkeypatch.delattr("kdbias.data.cues.CueSource.variant")
    named = ["teacher=small_cnn", f"teacher.weights={tmp_path}/w.safetensors", *CUES]
    with pytest.raises(ConfigError, match="attention, cues measured none of the networks"):
        tasks.run(analyze_config(["task=probe", *named, "probe=[attention,cues]", f"out={tmp_path}/out"]))
    printed = capsys.readouterr().out
    assert re.search(r"attention: small_cnn is left out, .*CNN", printed)
    assert "cues: small_cnn is left out, its data has no images of known shape and texture" in printed
    assert not (tmp_path / "out").exists()


def test_two_networks_of_one_name_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"two networks would be saved as exp-small"):
        tasks.run(analyze_config([f"runs=[{run}]", f"control_run={run}", f"out={tmp_path}"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=fly"], "task: no task 'fly'; there are .*, evaluate, export, factorial, forensics, "),
        ([], r"no network is named: give runs=\[RUN_DIR,...\]"),
        (["teacher=small_cnn"], "teacher=small_cnn needs data=NAME"),
        (["teacher=small_cnn", "data=cues"], "needs teacher.weights=PATH"),
        (["runs=[nowhere]"], r"runs: \S+/nowhere/checkpoints/best.ckpt is not there"),
        (["control_run=nowhere"], r"control_run: \S+/nowhere/checkpoints/best.ckpt is not there"),
    ],
)
def test_what_cannot_be_looked_at_is_named(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tasks.run(analyze_config([*overrides, f"out={tmp_path}"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["names=[a,b]"], "names: 2 names for 1 runs"),
        (["split=night"], "split: there is no split 'night'"),
        (["images=0"], "images: must be at least 1"),
        (["probe=[]"], r"probe: nothing to measure: name at least one, as in probe=\[attention,cka\]"),
        (["+probe.attention.colapse=2"], "probe.attention.colapse: there is no such setting: did you mean collapse"),
        (["+probe.cues.images=2"], "probe.cues: has settings but is not selected"),
        (["data=mnist", "data.download=false", "data.root=nowhere"], "data: no data set at"),
        (["data=cues", "data.size=28"], "data: runs .* reads images of 3x32x32, and the data has 3x28x28"),
        (["from_results=nowhere"], "from_results: nowhere/networks.json is not there"),
    ],
)
def test_a_setting_that_cannot_be_is_named(run, overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tasks.run(analyze_config(["task=probe", f"runs=[{run}]", *overrides, f"out={tmp_path}"]))


@pytest.mark.parametrize(
    ("role", "spec", "said"),
    [
        ("control", {"teacher": {"name": "resnet20"}, "control": None}, "(resnet20)"),
        (
            "control",
            {"teacher": {"name": "resnet20"}, "control": "shuffled"},
            "(resnet20, under control=shuffled)",
        ),
        ("control", {"teacher": {"name": None}, "control": "none"}, ""),
        ("network", {"teacher": {"name": "resnet20"}}, ""),
        ("control", {}, ""),
    ],
)
def test_a_control_that_had_a_teacher_is_named(role, spec, said):
    found = collect._taught_control(SimpleNamespace(name="runs/a", control=role == "control", spec=spec))
    assert (said in found and "runs/a" in found) if said else found == ""
