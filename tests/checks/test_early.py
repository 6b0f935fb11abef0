"""Mistakes that took seconds of imports are told by names, headers and folders alone."""

import doctest
import pickle

import pytest
import torch
from config_base import composed
from safetensors.torch import save_file
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from kdbias.analysis.tasks import TASKS
from kdbias.batch import DataInfo
from kdbias.checks import command, early_downloads, early_folders, early_weights
from kdbias.checks.command import require_command
from kdbias.checks.early_downloads import SETS, data_problems, pretrained_problems
from kdbias.checks.early_weights import misfit, weights_problems
from kdbias.checks.tensor_names import builder_of, content, shapes
from kdbias.config import conf
from kdbias.config.build import build
from kdbias.config.errors import ConfigError
from kdbias.config.spec import plain

RESNET = "kdbias.models.resnet_cifar"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    conf.register()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDBIAS_RUNS", raising=False)


def network(target: str, info: DataInfo, **settings):
    with torch.device("meta"):
        return build({"_target_": target, **settings}, info, group="model").network


@pytest.mark.parametrize("wrap", ["safetensors", "plain", "state_dict", "module."])
def test_names_and_shapes_are_read_as_torch_reads_them(tmp_path, wrap):
    state = {"a.weight": torch.zeros(2, 3), "b": torch.nn.Parameter(torch.zeros(4).half())}
    path = tmp_path / ("x.safetensors" if wrap == "safetensors" else "x.pth")
    if wrap == "safetensors":
        save_file({key: value.detach() for key, value in state.items()}, path)
    else:
        state = {f"{wrap}{key}": value for key, value in state.items()} if wrap == "module." else state
        torch.save({"state_dict": state, "epoch": 3} if wrap == "state_dict" else state, path)
    assert shapes(content(path)) == {"a.weight": (2, 3), "b": (4,)}


def test_nothing_that_a_file_names_is_called(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"x": torch.zeros(1), "y": Evil()}, tmp_path / "x.pth", pickle_module=pickle)
    assert shapes(content(tmp_path / "x.pth")) == {"x": (1,)}
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", [b"", b"PK\3\4 cut", b"\xff" * 20, b"\x05\0\0\0\0\0\0\0[1,2]"])
def test_what_cannot_be_read_is_left_to_the_full_check(tmp_path, text):
    (tmp_path / "x.pth").write_bytes(text)
    assert shapes(content(tmp_path / "x.pth")) == {}


def test_every_network_fits_itself(tiny_info):
    named = [(f"{RESNET}.{name}", {}) for name in ("resnet20", "resnet56", "resnet18", "small_cnn")]
    for target, settings in (*named, ("kdbias.models.deit.vit", {"width": 16, "depth": 1, "heads": 2})):
        own = {name: tuple(value.shape) for name, value in network(target, tiny_info, **settings).state_dict().items()}
        assert misfit(target, own) == ""


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        ("resnet20", f"{RESNET}.resnet56", r"18 tensors are missing (layer1.3.conv1.weight"),
        ("resnet56", f"{RESNET}.resnet20", "tensors are unknown (layer1.3."),
        ("resnet20", "kdbias.models.deit.vit", "2 tensors are missing (blocks.0.attn.qkv.weight"),
    ],
)
def test_weights_of_another_network_are_told_by_their_names(tmp_path, tiny_info, given, wanted, said):
    made = build({"_target_": f"{RESNET}.{given}"}, tiny_info, group="model").network
    save_file(made.state_dict(), tmp_path / "x.safetensors")
    tree = {"teacher": {"weights": "x.safetensors", "model": {"_target_": wanted}}}
    (problem,) = weights_problems(tree)
    assert problem.key == "teacher.weights"
    assert said in problem.text


def test_a_checkpoint_of_another_network_is_told_by_its_description(tmp_path):
    spec = {"model": {"_target_": f"{RESNET}.resnet20"}, "data": {}}
    torch.save({"hyper_parameters": {"spec": spec}, "state_dict": {}}, tmp_path / "best.ckpt")
    assert builder_of(content(tmp_path / "best.ckpt")) == f"{RESNET}.resnet20"
    tree = {"teacher": {"weights": "best.ckpt", "model": {"_target_": f"{RESNET}.resnet56"}}}
    (problem,) = weights_problems(tree)
    assert "holds a resnet20, and the config names a resnet56" in problem.text
    tree["teacher"]["model"] = spec["model"]
    assert not list(weights_problems(tree))


def test_hosts_and_folders_are_those_of_torchvision():
    sets = {"cifar10": CIFAR10, "cifar100": CIFAR100}
    for name, dataset in sets.items():
        known = SETS[f"kdbias.data.cifar.{name}"]
        assert known.folder == dataset.base_folder
        assert dataset.url.startswith(known.hosts)
    for name, dataset in (("mnist", MNIST), ("fashion_mnist", FashionMNIST)):
        known = SETS[f"kdbias.data.mnist.{name}"]
        assert all(url.startswith(known.hosts) for url in dataset.mirrors)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_data_that_cannot_be_had_is_told_and_leaves_nothing(tmp_path, monkeypatch, name):
    tree = plain(composed([f"data={name}", "data.root=nowhere"]).data)
    monkeypatch.setattr(early_downloads, "silent", lambda host: f"{host}: no route")
    (problem,) = data_problems({"data": tree})
    assert "cannot be downloaded" in problem.text
    assert "no route" in problem.text
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(early_downloads, "silent", lambda host: "")
    assert not list(data_problems({"data": tree}))
    (problem,) = data_problems({"data": tree | {"download": False}})
    assert "data.download is false" in problem.text


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_archive_in_the_root_is_data_where_it_may_be_unpacked(tmp_path, monkeypatch, name):
    monkeypatch.setattr(early_downloads, "silent", lambda host: f"{host}: no route")
    tree = plain(composed([f"data={name}", f"data.root={tmp_path}"]).data)
    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    assert len(list(data_problems({"data": tree}))) == 1
    (tmp_path / dataset.filename).touch()
    assert not list(data_problems({"data": tree}))
    assert len(list(data_problems({"data": tree | {"download": False}}))) == 1


def test_pretrained_weights_that_cannot_be_had_are_told_before_a_child_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    tree = plain(composed(["experiment=exp1_kl", "teacher=vit_pretrained", "data=cues"]).teacher)
    run = {"teacher": tree, "paths": {"teachers": str(tmp_path)}}
    monkeypatch.setattr(early_downloads, "silent", lambda host: f"{host}: no route")
    (problem,) = pretrained_problems(run)
    assert problem.key == "teacher.model.pretrained"
    assert "teacher.model.weights=PATH" in problem.text
    (tmp_path / "vit_pretrained-cues-0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "vit_pretrained-cues-0" / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "vit_pretrained-cues-0" / "result.json").write_text('{"stopped": "it collapsed"}')
    assert len(list(pretrained_problems(run))) == 1
    (tmp_path / "vit_pretrained-cues-0" / "result.json").write_text('{"spec_hash": "0"}')
    assert not list(pretrained_problems(run))  # it was trained before
    (tmp_path / "hub" / f"models--timm--{tree['model']['name']}").mkdir(parents=True)
    assert not list(pretrained_problems(run | {"paths": {}}))


MISTAKES = {
    "train experiment=baseline data=cues optim.optimizer.lr=-1": "optim.optimizer.lr: must be a number of at least 0",
    "train experiment=baseline data=cues optim.optimizer.lr=fast": "optim.optimizer.lr: must be a number",
    "train -m experiment=baseline data=cues seed=0,x": "seed: must be a whole number",
    "train -m experiment=baseline data=cues epochs=-3 seed=0,1": "epochs: must be a whole number",
    "train -m resume=done seed=0,1": "resume: goes on with one run: leave -m out",
    "analyze -m task=list seed=0,1": "-m: only train.py has sweeps",
    "analyze task=evaluate runs=[empty]": "runs: empty/checkpoints/best.ckpt is not there",
    "analyze task=list images=-5": "images: must be a whole number of at least 1, or null for all, got -5",
    "analyze task=list eval_batch_size=0": "eval_batch_size: must be a whole number of at least 1, got 0",
    "analyze task=probe runs=[empty] probe=[]": "probe: nothing to measure",
    "analyze task=forensics runs=[empty] names=[a,b]": "names: 2 names for 1 runs",
    "analyze task=build_stress data=cues": "stress: no set is named",
    "analyze task=build_stress stress=[noise]": "data: task=build_stress needs images",
    "analyze task=show_data": "data: task=show_data needs images",
    "analyze task=predict runs=[empty]": "image: no image to look at",
    "analyze task=build_stress data=cues stress=[noise] strengths=[2]": "strengths: must be numbers in [0, 1]",
    "analyze task=show_stress data=cues stress=[noise] stress.noise.sigma=-1": "stress.noise.sigma: must be above 0",
    "analyze task=probe runs=[empty] probe=[hessian] probe.hessian.vectors=1": "probe.hessian.vectors: must be a whole",
    "analyze task=factorial": "runs: name the runs, or the folder of a sweep",
    "analyze task=factorial runs=[empty]": "runs: empty is neither a run folder nor a folder of them",
    "analyze task=list out=": "out: is empty: give a path",
    "train objective=val/acc": "objective: there is no 'val/acc': did you mean val/accuracy? choose val/accuracy or",
    "train trainer.accelerator=tpuu": "trainer.accelerator: must be one of auto, gpu, cpu, cuda, mps, tpu, got 'tpuu'",
    "train trainer.strategy=ddpp": "trainer.strategy: must be auto, ddp, fsdp or another strategy of Lightning",
    "train loss=[]": "loss: no term is selected: name at least one, as in loss=[ce]",
    "train callback.ema.decay=2": "callback.ema.decay: must lie in (0, 1), got 2",
    "train callback.probe_cka.every=0": "callback.probe_cka.every: must be a whole number of at least 1, got 0",
    "train experiment=exp1_kl loss.kl.temperature=0": "loss.kl.temperature: must be above 0, got 0",
    "train experiment=exp1_kl loss.kl.weight=-1": "loss.kl: a weight must be finite and >= 0, got -1",
    "train experiment=exp1_kl teacher=none": "loss.kl: needs a teacher (logits) and there is none: set teacher=NAME",
    "train data=cues data.train=10 data.val=20": "data.val: must be at least 0 and below data.train, got val=20",
    "train augment.crop=-1": "augment.crop: must be a whole number of at least 0, got -1: 0 switches it off",
    "train augment.policy=rand": "augment.policy: must be one of none, cifar10",
    "train model.drop_path=1.5": "model.drop_path: must lie in [0, 1), got 1.5",
    "train ssl=simclr data=cues model=vit module.views.hue=2": "module.views.hue: must lie in [0, 0.5], got 2",
    "train loader.repeats=0": "loader.repeats: must be a whole number of at least 1, got 0",
    "train optim.schedule.warmup=2": "optim.schedule.warmup: must lie in [0, 1], got 2",
    "train control=random control.images=1": "control.images: must be a whole number of at least 2, got 1",
    "train experiment=exp1_kl teacher=resnet20 teacher.weights=file": "teacher.weights: file cannot be read as weights",
    "train resume=": "resume: is empty: give a path, as in resume=PATH, or leave it out",
    "train resume=file": "resume=file: is a file: name the folder of a run",
    "train resume=empty": "resume=empty: empty/config.yaml is not there, so there is no run to go on from",
    "train hydra.run.dir=": "hydra.run.dir: is empty: give a path",
    "train hydra.run.dir=/proc/no data=cues": "hydra.run.dir: cannot write into /proc/no (No such file or directory)",
    "train hydra.run.dir=file data=cues": "hydra.run.dir: file is a file: choose a folder",
    "train hydra.run.dir=file/below data=cues": "hydra.run.dir: cannot write into file/below (Not a directory)",
    "train -m hydra.sweep.dir=/proc/no data=cues seed=0,1": "hydra.sweep.dir: cannot write into /proc/no",
    "train -m hydra.sweep.dir= data=cues seed=0,1": "hydra.sweep.dir: is empty",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_told_before_torch_is_loaded(tmp_path, typed):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    config, *words = typed.split()
    with pytest.raises(ConfigError) as error:
        require_command(words, config, TASKS)
    assert MISTAKES[typed] in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batch_size=8"], ["data.val: 1000 of the 20 images in train: set it to at most 19; a fifth is data.val=4"]),
        (["data.val=4"], ["batch_size: no batch is full: set it to at most the 16 training images"]),
        ([], ["data.val: 1000 of the 20", "batch_size: no batch is full: set it to at most the 16"]),
        (["data.val=4", "batch_size=8", "data.limit=7"], ["batch_size: no batch is full: set it to at most the 7"]),
        (["data.val=4", "batch_size=16"], []),
    ],
)
def test_a_folder_of_few_images_is_told_before_torch_is_loaded(tmp_path, monkeypatch, words, said):
    monkeypatch.setenv("KDBIAS_RUNS", str(tmp_path / "runs"))
    for place in (*(f"train/{name}/{i}.png" for name in ("müde Katzen", "b") for i in range(10)), "test/b/1.png"):
        path = tmp_path / "Meine Bilder" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    command = ["experiment=baseline", "data=image_folder", f"data.root={tmp_path / 'Meine Bilder'}", *words]
    if not said:
        require_command(command, "train")
        return
    with pytest.raises(ConfigError) as error:
        require_command(command, "train")
    assert all(line in str(error.value) for line in said)
    assert str(error.value).count("images") == len(said)


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(early_weights).failed == 0
    assert doctest.testmod(command).failed == 0
    assert doctest.testmod(early_folders).failed == 0
