"""Presets: the published settings of an experiment, and a word where there are none."""

import json
from pathlib import Path

import pytest
from config_base import composed
from safetensors.torch import save_file

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.spec import flat, plain, spec_hash
from kdbias.models.checkpoint import architecture
from kdbias.train import build_data, train

CONF = Path(__file__).resolve().parent.parent / "conf"
HOME = CONF / "preset" / "as_published"
EVERY = sorted(path.relative_to(HOME).with_suffix("").as_posix() for path in HOME.rglob("*.yaml"))
PUBLISHED = [name for name in EVERY if "/" not in name]  # of the structural study
TRANSFER = [name for name in EVERY if "/" in name]  # of the study of bias transfer: other networks
TINY = {
    "vit_base_patch16_224.augreg_in21k_ft_in1k": "test_vit.r160_in1k",
    "resnet50.a1_in1k": "test_resnet.r160_in1k",
    "deit_base_distilled_patch16_224.fb_in1k": "deit_tiny_distilled_patch16_224",
}
SMALL = ["data.train=200", "data.val=40", "data.test=40", "logger=[csv]", "callback=[checkpoint,throughput]"]
OFFLINE = ["data=cues", "trainer=cpu"]


def offline(experiment: str) -> list[str]:
    """Choose random weights where the teacher would be downloaded."""
    teacher = composed([f"experiment={experiment}"]).teacher
    return [f"experiment={experiment}", *OFFLINE, *(["teacher.pretrained=false"] if "pretrained" in teacher else [])]


def test_there_are_presets():
    assert {"exp1_resnet_kl", "exp2_convnext_kl", "exp3_dino", "cst_dino"} <= set(PUBLISHED)
    transfer = {path.relative_to(CONF / "experiment") for path in (CONF / "experiment").glob("*_to_*/*.yaml")}
    assert set(TRANSFER) == {path.with_suffix("").as_posix() for path in transfer}


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_a_preset_changes_its_experiment_and_can_run(experiment):
    ours = composed(offline(experiment))
    theirs = composed([*offline(experiment), "preset=as_published"])
    assert (ours.preset, theirs.preset) == ("none", f"as_published/{experiment}")
    assert check(theirs) == []
    before, after = flat(plain(ours)), flat(plain(theirs))
    assert set(after) == set(before)  # settings of terms that are not selected would be new keys
    assert after["augment.view"] == "clean"
    assert after["optim.optimizer.lr"] == 5e-4
    assert spec_hash(ours) != spec_hash(theirs)


def scratch(experiment: str) -> list[str]:
    """The published networks of an experiment in a folder, without a download."""
    taught = [] if experiment.endswith("/independent") else ["teacher.model.pretrained=false"]
    return [f"experiment={experiment}", "preset=as_published", "model.pretrained=false", *taught]


@pytest.mark.parametrize("experiment", TRANSFER)
def test_the_published_networks_replace_those_of_the_experiment(experiment):
    ours, theirs = composed([f"experiment={experiment}"]), composed([*scratch(experiment), "trainer=cpu"])
    assert theirs.preset == f"as_published/{experiment}"
    assert check(theirs) == []
    after = flat(plain(theirs))
    apart = ("model.", "teacher.")
    assert {key for key in after if not key.startswith(apart)} == {
        key for key in flat(plain(ours)) if not key.startswith(apart)
    }
    networks = {theirs.model.name} | ({theirs.teacher.model.name} if theirs.teacher.name else set())
    assert networks <= set(TINY)
    assert len(networks) == (2 if theirs.teacher.name else 1)
    assert (theirs.epochs, theirs.model.size) == (3, 224)
    assert theirs.teacher.epochs == (1 if theirs.teacher.name else None)
    assert composed([f"experiment={experiment}", "preset=as_published"]).model.pretrained is True
    control = composed([f"experiment={experiment.partition('/')[0]}/independent", "preset=as_published"])
    for key in ("epochs", "batch_size", "optim", "data"):
        assert plain(theirs)[key] == plain(control)[key]  # a row and its control have one recipe


@pytest.mark.parametrize("experiment", TRANSFER)
def test_the_published_settings_run_two_steps_on_small_networks(experiment, tmp_path):
    cfg = composed([*scratch(experiment), "trainer=smoke", *SMALL])
    cfg.paths.run = str(tmp_path / "run")
    for model in filter(None, (cfg.model, cfg.teacher.model)):
        model.name, model.size = TINY[model.name], 64
    if "head" in cfg.module:
        cfg.module.head.epochs = 1  # SSKD's stage before training
    if cfg.teacher.name is not None:
        network = build(architecture(plain(cfg.teacher.model)), build_data(plain(cfg)).info).network
        cfg.teacher.weights = str(tmp_path / "teacher.safetensors")
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, cfg.teacher.weights)
    assert check(cfg) == []
    train(cfg)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 2


def test_the_command_line_comes_after_a_preset():
    cfg = composed([*offline("exp3_dino"), "preset=as_published", "loss.token.dim=64"])
    assert (cfg.loss.token.dim, cfg.loss.token.two_sided) == (64, True)


@pytest.mark.parametrize("preset", ["none", "small"])
def test_sskd_crops_its_images_as_the_other_rows_do(preset):
    rows = [composed([f"experiment=vit_to_cnn/{name}", f"preset={preset}", *OFFLINE]) for name in ("sskd", "lm")]
    assert rows[0].module.views.crop == rows[1].augment.crop
    assert rows[0].module.views.flip == rows[1].augment.flip


def test_an_experiment_without_published_settings_says_so():
    (problem,) = check(composed(["experiment=baseline", *OFFLINE, "preset=as_published"]))
    assert problem.startswith("preset: this experiment has no as_published settings")
    assert "cnn_to_vit/crd, " in problem
    assert "exp3_dino" in problem
