"""What does not go together in a config is named with key and remedy; an unusual choice is no mistake."""

from typing import Any

import pytest
import torch
from config_base import Attention, Dense, Mistake, OwnAttention, assert_named_once, config, headless, other_classes
from planting import plant

from kdbias.checks.check import check
from kdbias.config import conf


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    plant(monkeypatch, "model", "kdbias.models.deit", headless, other_classes)
    plant(monkeypatch, "loss", "kdbias.losses.kl", Dense, Attention, OwnAttention)


DINO = {"_target_": "kdbias.models.timm_network.timm_network", "name": "vit_small_patch14_dinov2", "classes": None}
DINO3 = {**DINO, "name": "vit_small_patch16_dinov3", "pretrained": False, "classes": "data"}
FRESH = {"_target_": "kdbias.models.timm_network.timm_network", "name": "resnet10t", "pretrained": True, "size": 32}
FRESH |= {"classes": "data"}
LOGITLESS = {"_target_": "kdbias.models.deit.headless"}
TIMM = "kdbias.models.timm_network.timm_network"
TINY_CNN = "kdbias.models.resnet_cifar.small_cnn"
TOKEN, CKA = "kdbias.losses.token.Token", "kdbias.losses.cka.CKA"
CSKD, C2VKD = "kdbias.losses.cskd.CSKD", "kdbias.losses.c2vkd.C2VKD"
CRD = "kdbias.losses.crd.CRD"
MESSAGES: dict[str, Mistake] = {
    "a term whose name torch uses": (
        {"loss.half": {"_target_": "kdbias.losses.ce.CE"}},
        "loss.half",
        ("a term cannot have this name", "rename it"),
    ),
    "a term without teacher": (
        {"teacher.name": None},
        "loss.kl",
        ("needs a teacher (logits) and there is none", "set teacher=NAME, or leave kl out"),
    ),
    "a teacher without logits": (
        {"teacher.model": LOGITLESS},
        "loss.kl",
        ("needs the teacher's logits, but small has no classifier", "leave kl out"),
    ),
    "DINOv2 has no logits": (
        {"teacher.model": {**DINO, "size": 224, "pretrained": True}, "teacher.name": "dinov2"},
        "loss.kl",
        ("needs the teacher's logits, but dinov2 has no classifier: choose one that has, or leave kl out",),
    ),
    "an input that 14 does not divide": (
        {"teacher.model": {**DINO, "size": 225}},
        "teacher.model.size",
        ("225 px are not divided by the patch of 14 px: use 224 or 238",),
    ),
    "a teacher of other classes": (
        {"teacher.model": {"_target_": "kdbias.models.deit.other_classes"}},
        "loss.kl",
        ("small has 7 classes and the data 10",),
    ),
    "a dense teacher that ends in 1x1": (
        {
            "loss.d": {"_target_": "kdbias.losses.kl.Dense"},
            "teacher.model": {"_target_": TINY_CNN, "widths": [4, 4, 4, 4, 4, 4]},
        },
        "loss.d",
        ("needs the teacher's dense, but small ends in a map of 1x1 at 32 px", "a larger input"),
    ),
    "a teacher without attention": (
        {"loss.a": {"_target_": "kdbias.losses.kl.Attention"}},
        "loss.a",
        ("needs the teacher's qkv, but small has no attention: choose a vision transformer",),
    ),
    "a teacher whose attention cannot be read": (
        {"loss.a": {"_target_": "kdbias.losses.kl.Attention"}, "teacher.model": DINO3, "teacher.recipe": None},
        "loss.a",
        ("needs the teacher's qkv, but small cannot (it", "choose another teacher, or leave a out"),
    ),
    "a student without attention": (
        {
            "loss.a": {"_target_": "kdbias.losses.kl.OwnAttention"},
            "model": {"_target_": TINY_CNN, "widths": [4, 4]},
        },
        "loss.a",
        ("needs the student's qkv, but it is no plain vision transformer: choose another model=...",),
    ),
    "a hybrid teacher whose attention cannot be read": (
        {
            "loss.a": {"_target_": "kdbias.losses.kl.Attention"},
            "teacher.model": {"_target_": TIMM, "name": "mobilevit_xxs", "size": 64},
        },
        "loss.a",
        ("needs the teacher's qkv, but small cannot (it is no plain vision transformer): choose another",),
    ),
    "hard labels beside MixUp": (
        {"loss.dkd": {"_target_": "kdbias.losses.dkd.DKD"}},
        "loss.dkd",
        ("needs hard labels", "set augment.mix_probability=0", "leave dkd out"),
    ),
    "negatives of other classes beside MixUp": (
        {"loss.crd": {"_target_": CRD}},
        "loss.crd",
        ("needs hard labels", "set augment.mix_probability=0", "leave crd out"),
    ),
    "places compared where the views differ": (
        {
            "augment.view": "clean",
            "loss.token": {"_target_": TOKEN},
            "loss.cka": {"_target_": CKA},
            "loss.gram": {"_target_": "kdbias.losses.gram.Gram", "allow_misaligned": True},
        },
        "augment.view",
        (
            "clean shows the teacher another crop than the student, and loss=[token,cka] compares them place by place",
            "set same or photometric, or accept it with loss.token.allow_misaligned=true",
            "loss.cka.allow_misaligned=true",
        ),
    ),
    "layers of a term that are not read": (
        {"loss.token": {"_target_": TOKEN, "layers": [0, 9]}},
        "loss.token.layers",
        ("9 is not among the layers read, blocks.0, blocks.1: name one of these", "have it read by model.layers"),
    ),
    "too few places for CKA": (
        {
            "loss.cka": {"_target_": CKA, "layers": "last"},
            "model": {"_target_": TINY_CNN, "widths": [4, 4, 4, 4, 4, 4]},
            "loss.kl": {"_target_": "kdbias.losses.kl.KL"},
        },
        "loss.cka.axis",
        ("needs at least 3, but layer6 of the student has 1: leave it out of layers",),
    ),
    "a DIST token that no term trains": (
        {"loss.alpha": 0},
        "model.distilled",
        ("DIST token that no term trains", "model.distilled=false", "loss.ce.dist=true"),
    ),
    "a term at the places without DIST token": (
        {"model.distilled": False, "loss.cskd": {"_target_": CSKD}},
        "loss.cskd",
        ("needs the student's dist, but it has no DIST token, as model=deit_tiny has: choose another model=...",),
    ),
    "a DIST token that only the places would train": (
        {"loss.kl.weight": 0, "loss.cskd": {"_target_": CSKD, "alpha": 0}},
        "model.distilled",
        ("DIST token that no term trains",),
    ),
    "an answer of places that no term trains": (
        {"model.inference": "dense"},
        "model.inference",
        ("dense takes the DIST head's answers at the patch tokens into the mean, and no term trains them: set mean",),
    ),
    "an answer of places that rest for the whole run": (
        {"model.inference": "dense", "loss.cskd": {"_target_": CSKD, "weight": 0}},
        "model.inference",
        ("no term trains them",),
    ),
    "an answer of places without DIST token": (
        {"model.inference": "dense", "model.distilled": False},
        "model.inference",
        ("dense needs a network with a DIST token",),
    ),
    "labels of mixed images decoupled": (
        {"loss.x": {"_target_": C2VKD}},
        "loss.x",
        ("needs hard labels",),
    ),
    "a pool's weights that are not there": (
        {"loss.x": {"_target_": C2VKD, "decoupled_weight": 0, "linguistic": {"weights": "nowhere.safetensors"}}},
        "loss.x.linguistic.weights",
        ("there is no file nowhere.safetensors: correct the path",),
    ),
    "a setting of a pool that there is not": (
        {"loss.x": {"_target_": C2VKD, "decoupled_weight": 0, "linguistic": {"file": "x"}}},
        "loss.x.linguistic.file",
        ("there is no such setting; there are weight, weights, seed",),
    ),
    "a DIST loss without token": (
        {"model.distilled": False, "loss.ce.dist": True},
        "loss.ce.dist",
        ("needs a student with a DIST token", "set it to false"),
    ),
    "a batch that the devices do not divide": (
        {"trainer.devices": 4},
        "batch_size",
        ("50 images (of all devices together) do not divide among 4 processes", "use 48 or 52"),
    ),
    "a batch that the nodes do not divide": (
        {"trainer.devices": [0, 1], "trainer.num_nodes": 2},
        "batch_size",
        ("among 4 processes",),
    ),
    "a batch larger than the data": ({"batch_size": 600}, "batch_size", ("at most the 500 training images",)),
    "a teacher whose classifier nothing trained": (
        {"teacher.model": FRESH, "teacher.recipe": None},
        "loss.kl",
        ("needs the teacher's logits", "a fresh classifier that nothing trains: choose timm_trained, or give"),
    ),
    "a layer of the student that does not exist": (
        {"model.layers": [0, 9]},
        "model.layers",
        ("[0, 9] are not layers of this network; it has 0 (blocks.0), 1 (blocks.1)",),
    ),
    "a layer of the teacher that does not exist": (
        {"teacher.layers": [5]},
        "teacher.layers",
        ("[5] are not layers of this network; it has 0 (layer1), 1 (layer2)",),
    ),
    "a negative weight": ({"loss.kl.weight": -1}, "loss.kl", ("a weight must be finite and >= 0, got -1",)),
    "an alpha above 1": ({"loss.alpha": 1.5}, "loss.alpha", ("weight 1 - loss.alpha", "from 0 to 1, got 1.5")),
    "a schedule with a misspelt key": (
        {"loss.kl.weight": {"kind": "warmup", "value": 1, "untill": 0.1}},
        "loss.kl",
        ("unknown untill; missing until",),
    ),
    "an input that patches do not tile": (
        {"teacher.model": {**LOGITLESS, "size": 30}},
        "teacher.model.size",
        ("30 px are not divided by the patch of 14 px: use 28 or 42",),
    ),
    "an input that patches do not tile, of a network for any size": (
        {"teacher.model": {**LOGITLESS, "size": 30, "dynamic": True}},
        "teacher.model.size",
        ("30 px are not divided by the patch of 14 px: use 28 or 42",),
    ),
    "a student that patches do not tile": (
        {"model.patch": 5},
        "model.size",
        ("32 px are not divided by the patch of 5 px: use 30 or 35",),
    ),
    "dropped patches": ({"model.patch_drop_rate": 0.25}, "model.patch_drop_rate", ("takes no 'patch_drop_rate'",)),
    "patches dropped by a network that can": (
        {"teacher.model": {**LOGITLESS, "patch_drop_rate": 0.25}},
        "teacher.model.patch_drop_rate",
        ("fewer tokens than the patch grid has positions: set it to 0",),
    ),
    "a term that never switches on": (
        {"loss.kl.weight": {"kind": "step", "values": [0, 1], "at": [0.99]}, "loss.ce.dist": True},
        "loss.kl.weight",
        ("never leaves 0 in the 20 steps of this run: train longer (epochs), or start it earlier",),
    ),
    "steps without a loss": (
        {"loss.kl.weight": {"kind": "step", "values": [0, 1], "at": [0.5]}, "loss.ce.weight": 0},
        "loss",
        ("every weight is 0 at 0.0% of training",),
    ),
    "a teacher that cannot be had": ({"teacher.recipe": None}, "teacher.weights", ("give teacher.weights=PATH",)),
    "weights that are not there": (
        {"teacher.weights": "nowhere.safetensors"},
        "teacher.weights",
        ("there is no file nowhere.safetensors: correct the path",),
    ),
    "weights of a network that are not there": (
        {"teacher.model": {**DINO, "classes": "data", "size": 224, "weights": "nowhere.pt"}},
        "teacher.model.weights",
        ("there is no file nowhere.pt",),
    ),
    "augmentation out of range": ({"augment.erasing": 2}, "augment.erasing", ("in [0, 1], got 2",)),
    "data out of range": ({"data.val": 700}, "data", ("val=700, train=600",)),
    "a negative learning rate": ({"optim.optimizer.lr": -1}, "optim.optimizer.lr", ("got -1",)),
    "a warm-up longer than training": ({"optim.schedule.warmup": 5}, "optim.schedule.warmup", ("in [0, 1], got 5",)),
}


@pytest.mark.parametrize(("changes", "key", "parts"), MESSAGES.values(), ids=MESSAGES.keys())
def test_a_mistake_is_named_once_with_its_key_and_remedy(changes, key: str, parts: tuple[str, ...]) -> None:
    assert_named_once(changes, key, parts)


RSD, RELATION, DIST = (f"kdbias.losses.{name}" for name in ("rsd.RSD", "relation.Relation", "dist.DIST"))
FEW: dict[str, tuple[dict[str, Any], int, int]] = {  # the term, the processes, the least batch
    "correlated": ({"_target_": RSD}, 1, 2),
    "correlated in all processes": ({"_target_": RSD}, 2, 2),
    "distances and angles": ({"_target_": "kdbias.losses.rkd.RKD"}, 1, 3),
    "correlated in each process": ({"_target_": RSD, "gather": False}, 2, 4),
    "relations": ({"_target_": RELATION}, 1, 3),
    "relations with themselves": ({"_target_": RELATION, "diagonal": True, "gather": False}, 4, 8),
    "relations in an image": ({"_target_": RELATION, "over": "tokens"}, 1, 1),
    "samples": ({"_target_": CKA, "axis": "sample"}, 1, 3),
    "debiased": ({"_target_": CKA, "axis": "sample", "estimator": "debiased"}, 1, 4),
    "columns": ({"_target_": DIST}, 1, 2),
    "no columns": ({"_target_": DIST, "gamma": 0.0}, 1, 1),
}


@pytest.mark.parametrize(("term", "processes", "least"), FEW.values(), ids=FEW.keys())
def test_a_term_has_the_images_that_it_compares(term, processes: int, least: int) -> None:
    for size in range(processes, 2 * least + 1, processes):
        changes = {"batch_size": size, "trainer.devices": processes, "loss.few": {"weight": 0.5, **term}}
        problems = check(config(changes))
        assert len(problems) == (size < least), problems
        assert all("batch_size: loss.few compares images" in one for one in problems)
        assert all(f"use at least {least}" in one for one in problems)


def test_a_graph_over_the_batch_has_no_more_images_than_it_can(monkeypatch) -> None:
    monkeypatch.setattr("kdbias.losses.c2vkd.LARGEST", 4 * 64 + 63)

    def problems(size: int, **settings: Any) -> list[str]:
        term = {"_target_": C2VKD, **settings}
        return check(config({"batch_size": size, "loss.c2vkd": term, "augment.mix_probability": 0.0, **several}))

    several: dict[str, Any] = {}
    assert problems(4, over="batch") == problems(5) == problems(5, over="batch", patch="feature") == []
    (problem,) = problems(5, over="batch")
    assert problem.startswith("loss.c2vkd.over: at most 4 images can be compared with one another, and a batch has 5")
    several = {"trainer.devices": 2}
    assert len(problems(8, over="batch")) == 1  # of all processes
    assert problems(8, over="batch", gather=False) == []


def test_heads_that_normalise_over_the_batch_have_two_images() -> None:
    cnn = {"_target_": "kdbias.models.resnet_cifar.small_cnn"}
    changes = {"model": cnn, "loss.ofa": {"_target_": "kdbias.losses.ofa.OFA"}, "batch_size": 1}
    (problem,) = check(config(changes))
    assert "loss.ofa compares images and needs 2" in problem
    assert check(config({**changes, "batch_size": 2})) == []


CHOICES: dict[str, tuple[dict[str, Any], str]] = {
    "the teacher alone teaches": ({"loss.alpha": 1}, ""),
    "alpha is a schedule": ({"loss.alpha": {"kind": "cosine", "start": 0.0, "end": 0.6}}, ""),
    "a control whose labels train the DIST token": ({"teacher.name": None, "loss.ce.dist": True}, "loss.kl"),
    "hard labels where nothing mixes": (
        {"loss.dkd": {"_target_": "kdbias.losses.dkd.DKD"}, "augment.mix_probability": 0},
        "",
    ),
    "negatives where nothing mixes": ({"loss.crd": {"_target_": CRD}, "augment.mix_probability": 0}, ""),
    "another set of layers": ({"model.layers": [0], "teacher.layers": [1]}, ""),
    "places compared in one geometry": ({"augment.view": "photometric", "loss.token": {"_target_": TOKEN}}, ""),
    "images compared in two": (
        {"augment.view": "clean", "loss.cka": {"_target_": CKA, "axis": "sample"}, "loss.kl.weight": 0.5},
        "",
    ),
    "no schedule": ({"optim.schedule": None}, ""),
    "two processes": ({"trainer.devices": "2"}, ""),
    "places alone train the DIST token": ({"loss.kl.weight": 0, "loss.cskd": {"_target_": CSKD}}, ""),
    "an answer of places that a term trains": (
        {"model.inference": "dense", "loss.cskd": {"_target_": CSKD, "weight": 0.5}},
        "",
    ),
    "mixed images where nothing is decoupled": ({"loss.x": {"_target_": C2VKD, "decoupled_weight": 0}}, ""),
}


@pytest.mark.parametrize(("changes", "drop"), CHOICES.values(), ids=CHOICES.keys())
def test_a_choice_is_no_mistake(changes, drop: str) -> None:
    assert check(config(changes, drop)) == []


def test_the_devices_that_are_there_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (problem,) = check(config({"trainer.accelerator": "gpu", "trainer.devices": -1}))
    assert "among 4 processes" in problem
    assert check(config({"trainer.accelerator": "cpu", "trainer.devices": "auto"})) == []
