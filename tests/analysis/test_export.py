"""task=export: each format answers as the run does, the card says what is known, and refusals are one line."""

import functools
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from config_base import composed
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.torch import load_file

import kdbias
from kdbias.analysis import export_formats, tasks
from kdbias.analysis.export import compared, difference
from kdbias.checks import early_tasks
from kdbias.checks.command import require_command
from kdbias.config.build import build
from kdbias.config.errors import ConfigError
from kdbias.config.spec import spec_hash
from kdbias.probes.base import Result
from kdbias.report.model_card import accuracy_text

PACKAGES = early_tasks.FORMATS["onnx"]
VIT = {"_target_": "kdbias.models.deit.vit", "width": 24, "depth": 2, "heads": 3, "distilled": True}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [2, 4]}
TIMM = {"_target_": "kdbias.models.timm_network.timm_network", "name": "test_vit.r160_in1k", "size": 64}
MODELS = {
    "vit": VIT,
    "vit-resized": {**VIT, "distilled": False, "size": 16, "class_token_dropout": 0.1, "mlp_ratio": 1.5},
    "timm": {**TIMM, "pool": "avg"},
    "timm-cnn": {**TIMM, "name": "test_resnet", "frozen": True},
    "stem": {**VIT, "conv_stem": "deep", "patch": 4},
    "cnn": CNN,
    "cls": {**VIT, "inference": "cls"},
}
REFUSED = {"stem": "convolutional stem", "cnn": "small_cnn is no network", "cls": "inference=cls"}


def saved(folder: Path, model: dict, info, **spec) -> Path:
    torch.manual_seed(1)
    network = build(model, info, group="model")
    with torch.no_grad():
        for parameter in network.parameters():  # no zeros, as in a fresh classifier, that would hide an error
            parameter += 0.05 * torch.randn_like(parameter)
    content = {
        "epoch": 4,
        "global_step": 50,
        "state_dict": {f"student.{k}": v for k, v in network.state_dict().items()},
    }
    content["hyper_parameters"] = {"spec": {"name": "toy", "model": model, "data": info.to_dict(), **spec}}
    path = folder / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


def exported(path: Path, out: Path, *words: str) -> Path:
    cfg = config().copy()
    cfg.runs, cfg.folder = [str(path)], str(out)
    for key, value in (word.split("=") for word in words):
        cfg[key] = value
    tasks.run(cfg)
    return out


@functools.cache
def config() -> DictConfig:
    """Composed once: that takes longer than an export."""
    return composed(["task=export"], "analyze")


@pytest.mark.parametrize("kind", MODELS)
def test_safetensors_and_timm_answer_as_the_run(kind, tiny_info, tmp_path, capsys):
    path = saved(tmp_path / "run", MODELS[kind], tiny_info)
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        own = kdbias.load_student(path)
        logits = own(images).logits
        out = exported(path, tmp_path / "new" / "a")
        assert "largest difference of the logits: 0 " in capsys.readouterr().out
        assert {one.name for one in out.iterdir()} == {"README.md", "network.json", "network.safetensors"}
        assert torch.equal(kdbias.load_student(out)(images).logits, logits)
        if kind in REFUSED:
            with pytest.raises(kdbias.ConfigError, match=rf"^format: .*{REFUSED[kind]}.*format=safetensors") as error:
                exported(path, tmp_path / "b", "format=timm")
            assert "\n" not in str(error.value)
            assert {one.name for one in tmp_path.iterdir()} == {"run", "new"}  # nothing half-written
            return
        out = exported(path, tmp_path / "b", "format=timm")
        config = json.loads((out / "config.json").read_text())
        network = timm.create_model(config["architecture"], **config["model_args"])
        network.load_state_dict(load_file(out / "model.safetensors"))
        torch.testing.assert_close(network.eval()(own.prepare(images)), logits)
        assert config["pretrained_cfg"]["input_size"] == [3, own.size, own.size]


def test_an_exported_folder_is_exported_again(tiny_info, tmp_path):
    first = exported(saved(tmp_path / "run", CNN, tiny_info), tmp_path / "a", "licence=MIT")
    again = exported(first, tmp_path / "b")
    one, two = (json.loads((folder / "network.json").read_text()) for folder in (first, again))
    assert {**one, "name": "a"} == two
    assert two["licence"] == "MIT"


def test_a_network_without_classifier_has_no_logits_to_give(tiny_info, tmp_path):
    path = saved(tmp_path / "run", {**CNN, "classes": None}, tiny_info)
    image = torch.rand(1, 3, 32, 32)
    out = exported(path, tmp_path / "a")
    assert torch.equal(kdbias.load_student(out)(image).pooled, kdbias.load_student(path)(image).pooled)
    with pytest.raises(kdbias.ConfigError, match=r"no classifier.*format=safetensors"):
        exported(path, tmp_path / "b", "format=timm")


def test_answers_that_differ_leave_nothing(tiny_info, tmp_path, monkeypatch):
    path = saved(tmp_path / "run", VIT, tiny_info)
    written = export_formats.as_timm
    for wrong in (lambda logits: logits * 1.001, lambda logits: logits * float("nan"), lambda logits: logits[:, :9]):
        monkeypatch.setitem(export_formats.WRITERS, "timm", lambda *given, wrong=wrong: wrong(written(*given)))
        with pytest.raises(kdbias.ConfigError, match=r"^format: (timm answers otherwise|the answers have the shape)"):
            exported(path, tmp_path / "a", "format=timm")
        assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_the_images_that_are_compared_are_of_the_data(tiny_info):
    images = compared(tiny_info)
    assert images.shape == (8, 3, 32, 32)
    assert torch.equal(images, compared(tiny_info))
    assert 0 <= images.min() < images.max() <= 1
    assert difference(torch.tensor([1.0, -3.0]), torch.tensor([1.5, -3.0])) == (0.5, 3.0)


def test_the_card_says_what_the_run_was_and_no_place_of_the_machine(tiny_info, tmp_path):
    run = tmp_path / "home" / "run"
    weights = {"name": "small_cnn", "model": CNN, "weights": f"{tmp_path}/secret/teacher.ckpt"}
    saved(run, CNN, tiny_info, teacher=weights, loss={"kl": {"_target_": "kdbias.losses.kl.KL"}, "alpha": 1.0})
    typed = ["experiment=exp1_resnet_kl", "data=cifar10", "model=small_cnn", "teacher=small_cnn", "seed=7"]
    typed += [f"data.root={tmp_path}/secret", f"paths.runs={tmp_path}/secret", "epochs=9"]
    cfg = composed([*typed, f"paths.run={run}", f"paths.checkpoints={run}/checkpoints"])
    with open_dict(cfg):
        cfg.chosen = {"data": "cifar10", "trainer": "cpu", "overrides": typed}
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), run / "config.yaml")
    machine = {"git": "a" * 40, "dirty": True, "torch": "2.9"}
    (run / "result.json").write_text(json.dumps({"spec_hash": spec_hash(cfg), "environment": machine}))
    right = np.arange(100) < 90
    Result("test", {"accuracy": 0.9}, {"right": right}, {}).save(run / "probes")
    out = exported(run, tmp_path / "out")
    card = (out / "README.md").read_text()
    for line in (
        "| Network | small_cnn, ",
        "| Data | cifar10: 100 training images |",
        "| Accuracy | 90.0 % [82.6, 94.5] of 100 test images",
        "| Teacher | small_cnn |",
        f"| Command | `python train.py {' '.join([*typed[:5], typed[-1]])}` |",
        f"| Revision of kdbias | {'a' * 40}, with changes that were not committed; torch 2.9 |",
        "| Licence of the weights | **not stated**",
        "loss kl, seed 7, 9 epochs, the weights of epoch 5",
        "the logits of 8 images are bit for bit the run's",
    ):
        assert line in card
    for file in out.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
    assert json.loads((out / "network.json").read_text())["spec"]["teacher"]["weights"] == "teacher.ckpt"
    control = saved(tmp_path / "control", CNN, tiny_info)
    card = (exported(run, tmp_path / "two", f"control_run={control}", "licence=CC0") / "README.md").read_text()
    assert "| Control | none beside it" in card  # a bare checkpoint has no accuracy
    assert "| Licence of the weights | CC0 |" in card


@pytest.mark.parametrize(
    ("control", "kind", "teacher"), [("none.NoTeacher", "none", None), ("self.Self", "self", "copy")]
)
def test_the_card_of_a_run_under_a_control_names_the_teacher_that_taught_it(
    tiny_info, tmp_path, control, kind, teacher
):
    run = tmp_path / "run"
    saved(run, CNN, tiny_info, teacher={"name": teacher}, control=kind)
    cfg = composed(["experiment=exp1_resnet_kl", "teacher=small_cnn", f"paths.run={run}"])
    with open_dict(cfg):
        cfg.control = {"_target_": f"kdbias.controls.{control}"}
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), run / "config.yaml")
    card = (exported(run, tmp_path / "out") / "README.md").read_text()
    assert f"| Teacher | {teacher or 'none'} |" in card
    assert f"| Control | trained under control={kind} |" in card


def test_the_card_of_a_network_with_its_control(tmp_path):
    out = exported(Path("demo-student"), tmp_path / "a", "control_run=demo-control")
    card, control = (out / "README.md").read_text(), kdbias.zoo.entry(kdbias.zoo.file_of("demo-control"))
    assert f"| Control | the same student without a teacher: {accuracy_text(control['accuracy'])} |" in card
    assert "| Licence of the weights | Apache-2.0 |" in card
    assert "| Data | cues: " in card


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (
            "demo-student",
            r"^control_run: demo-student had a teacher itself \(demo-teacher\): name a run of the",
        ),
        (
            "demo-teacher",
            r"^control_run: demo-teacher is not the same student, trained alike: model._target_ "
            r"kdbias.models.resnet_cifar.small_cnn for kdbias.models.deit.vit: name a run of the same student",
        ),
    ],
)
def test_a_card_has_no_control_that_is_none(tmp_path, control, reason):
    with pytest.raises(ConfigError, match=reason):
        exported(Path("demo-student"), tmp_path / "a", f"control_run={control}")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["format=onnxx"], r"^format: there is no format 'onnxx': choose safetensors, onnx, timm$"),
        (["runs=[demo-student,demo-control]"], r"^runs: task=export writes one network, and 2 are named"),
        (["folder=full"], r"^folder: full is there and not an empty folder"),
        (["licence=3"], r"^licence: must be a text"),
        (["runs=[nowhere]"], r"^runs: nowhere is not there"),
        (["runs=[]"], "no network is named"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_loaded(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "file").mkdir(parents=True)
    with pytest.raises(kdbias.ConfigError, match=reason):
        require_command(["task=export", "runs=[demo-student]", *words], "analyze", tasks.TASKS)


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr(early_tasks, "find_spec", lambda name: None)
    with pytest.raises(kdbias.ConfigError, match=r"^format: onnx needs onnx, .*: pip install 'kdbias\[onnx\]'"):
        require_command(["task=export", "runs=[demo-student]", "format=onnx"], "analyze", tasks.TASKS)


@pytest.mark.skipif(any(find_spec(name) is None for name in PACKAGES), reason="needs the extra onnx")
@pytest.mark.parametrize("kind", ["vit", "timm-cnn"])
def test_onnx_answers_as_the_run_for_any_number_of_images(kind, tiny_info, tmp_path):
    path = saved(tmp_path / "run", MODELS[kind], tiny_info)
    out = exported(path, tmp_path / "a", "format=onnx")
    assert {one.name for one in out.iterdir()} == {"README.md", "network.onnx"}
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32)
        with torch.no_grad():
            own = kdbias.load_student(path)(images).logits
        torch.testing.assert_close(export_formats.onnx_logits(out / "network.onnx", images), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ({"model": {**CNN, "widths": [3, 4]}}, r"trained alike: model.widths \[3, 4\] for \[2, 4\]: name a run"),
        ({"train": 50}, "trained alike: data.train 50 for "),
        ({"optim": {"clip": 2.0}}, "trained alike: optim.clip 2.0 for 1.0: name a run"),
        ({"steps": 9}, "trained alike: steps 9 for 18: name a run"),
        ({"control": "label_smoothing"}, "c/best.ckpt was trained under control=label_smoothing: name a run"),
        (
            {"teacher": {"name": "resnet20"}, "control": "shuffled"},
            r"had a teacher itself \(resnet20, under control=shuffled\): name a run",
        ),
    ],
)
def test_a_control_that_differs_is_told_apart_by_what_checkpoints_keep(tiny_info, tmp_path, control, reason):
    def kept(name, model=CNN, train=None, **spec):
        info = replace(tiny_info, train=train or tiny_info.train)
        return saved(tmp_path / name, model, info, **{"optim": {"clip": 1.0}, "steps": 18, **spec})

    student = kept("s", {**CNN, "layers": "all"}, teacher={"name": "resnet20"}, seed=0)
    alike = kept("a", {**CNN, "layers": [0]}, seed=1)  # what is read, and the seed, may differ
    assert "| Control |" in (exported(student, tmp_path / "out", f"control_run={alike}") / "README.md").read_text()
    with pytest.raises(ConfigError, match=reason.replace("c/best.ckpt", r"\S+/c/checkpoints/best.ckpt")):
        exported(student, tmp_path / "b", f"control_run={kept('c', **control)}")
    assert not (tmp_path / "b").exists()


def test_a_control_that_differs_is_told_apart_by_the_configs_of_runs(tiny_info, tmp_path):
    def ran(name, experiment, *words):
        run = tmp_path / name
        saved(run, CNN, tiny_info, teacher={"name": None if experiment == "baseline" else "small_cnn"})
        chosen = [f"experiment={experiment}", "data=cifar10", "model=small_cnn", f"paths.run={run}", *words]
        cfg = composed([*chosen, f"paths.checkpoints={run}/checkpoints"])
        OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), run / "config.yaml")
        return run

    student = ran("s", "exp1_resnet_kl", "teacher=small_cnn")
    exported(student, tmp_path / "out", f"control_run={ran('a', 'baseline', 'seed=3')}")
    with pytest.raises(ConfigError, match=r"trained alike: batch_size 7 for \d+, data.limit 500 for null: name a run"):
        exported(student, tmp_path / "b", f"control_run={ran('c', 'baseline', 'batch_size=7', 'data.limit=500')}")


def test_an_exported_network_has_not_the_config_of_the_run_in_whose_folder_it_lies(tiny_info, tmp_path):
    student = exported(saved(tmp_path / "s", CNN, tiny_info, steps=18), tmp_path / "out")
    host = tmp_path / "host"
    control = exported(saved(tmp_path / "c", CNN, tiny_info, steps=9), host / "exported")
    for folder in (host, tmp_path):  # configs of other runs, alike, beside both
        (folder / "config.yaml").write_text("epochs: 3\nmodel: {}\n")
    with pytest.raises(ConfigError, match="trained alike: steps 9 for 18: name a run"):
        exported(student, tmp_path / "again", f"control_run={control}")


def test_a_card_has_the_control_of_one_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"^control_run: a card has the control of one run, and 2 are named: give"):
        require_command(["task=export", "runs=[demo-student]", "control_run=[a,b]"], "analyze", tasks.TASKS)
