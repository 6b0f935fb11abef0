"""How a run is trained: what the check says of it, the views of its data, and teachers without labels on demand."""

from typing import Any

import pytest
import torch
from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain, spec_hash
from kdbias.modules.choice import logged, module_class
from kdbias.modules.distill import Distill
from kdbias.modules.ssl_dino import DINO
from kdbias.modules.ssl_simclr import SimCLR
from kdbias.runs.teacher_recipe import recipe_overrides

SSL = ["experiment=teacher_ssl_vit", "data=cues"]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_config_names_the_module() -> None:
    assert module_class(composed(["experiment=baseline"])) is Distill
    assert module_class(composed(SSL)) is SimCLR
    assert module_class(composed([*SSL, "ssl=dino"])) is DINO
    assert module_class({}) is Distill
    assert logged(composed(SSL)) == {"val/knn", "val/linear"}
    assert logged(composed([*SSL, "callback.knn.linear_every=null"])) == {"val/knn"}
    assert logged(composed(["experiment=exp3_structure_only"])) == {"val/accuracy", "val/loss", "val/knn", "val/linear"}


def test_mistakes_are_all_named_with_their_remedy() -> None:
    changes = ["loss=[ce]", "teacher=resnet20", "model.classes=data", "objective=val/accuracy", "module.views.hue=2"]
    changes += ["module.collapse.begin=2", "+module.temprature=1", "+module.spec=1"]
    problems = check(composed([*SSL, *changes]))
    for message in (
        "loss: SimCLR has a loss of its own and reads no ce: set loss=[]",
        "teacher: SimCLR learns without one: set teacher=none",
        "model.classes: SimCLR trains no classifier: set it to null",
        "objective: nothing in this run logs val/accuracy: set objective=val/knn",
        "module.views.hue: must lie in [0, 0.5], got 2",
        "module.collapse.begin: must lie in [0, 1], got 2",
        "module.temprature: kdbias.modules.ssl_simclr.SimCLR takes no 'temprature': did you mean temperature?",
        "module.spec: is set by the program itself",
    ):
        assert sum(problem.startswith(message) for problem in problems) == 1, (message, problems)


def test_views_of_half_patches_and_an_objective_that_nobody_logs() -> None:
    problems = check(composed([*SSL, "callback=[checkpoint]", "objective=val/knn", "module.views.size=30"]))
    assert problems == [
        "objective: nothing in this run logs val/knn: add the callback knn",
        "module.views.size: 30 px are not divided by the patch of 4 px: use 28 or 32",
    ]


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ("module.temperature=0", "module.temperature", "must be above 0, got 0"),
        ("module.hidden=0", "module.hidden", "must be a whole number of at least 1, got 0"),
        ("module.features=foo", "module.features", "must be pooled or tokens, got 'foo'"),
        ("module.dim=many", "module.dim", "must be a whole number of at least 1, got 'many'"),
        ("ssl=dino module.teacher_temperature=-1", "module.teacher_temperature", "must be above 0, got -1"),
        (
            "ssl=dino module.teacher_temperature_until=2",
            "module.teacher_temperature_until",
            "must lie in [0, 1], got 2",
        ),
        ("ssl=dino module.momentum=1.5", "module.momentum", "must lie in [0, 1], got 1.5"),
        ("ssl=dino module.prototypes=0", "module.prototypes", "must be a whole number of at least 2, got 0"),
        ("callback.knn.k=0", "callback.knn.k", "must be a whole number of at least 1, got 0"),
        ("callback=[checkpoint,knn,early_stopping]", "callback.early_stopping.monitor", "it stops by a metric"),
        *(
            (f"callback.checkpoint_last.every={value}", "callback.checkpoint_last.every", "must be a whole number of")
            for value in (-1, 0)
        ),
        (
            "callback=[checkpoint,knn,early_stopping] "
            "callback.early_stopping.monitor=val/knn callback.early_stopping.patience=-1",
            "callback.early_stopping.patience",
            "must be a whole number of at least 1, got -1",
        ),
        ("loader.repeats=2", "loader.repeats", "SimCLR takes all images of a batch for different ones"),
        ("batch_size=1", "batch_size", "SimCLR compares images, of which each process needs 2: use at least 2"),
        ("batch_size=2 trainer.devices=2", "batch_size", "SimCLR compares images, of which each process needs 2"),
    ],
)
def test_an_argument_out_of_range_is_one_problem(change: str, key: str, text: str) -> None:
    problems = check(composed([*SSL, *change.split()]))
    assert [problem.startswith(f"{key}: {text}") for problem in problems] == [True], problems


@pytest.mark.parametrize(
    "chosen", ["augment=default", "augment=published", "augment.mix_probability=1 augment.cutmix=1"]
)
def test_views_are_of_one_image(chosen: str) -> None:
    problem = "augment.mix_probability: SimCLR makes two views of an image, and MixUp or CutMix would make them of two"
    assert [found.startswith(problem) for found in check(composed([*SSL, *chosen.split()]))] == [True]
    assert check(composed([*SSL, "augment=light"])) == []


def test_labels_choose_no_checkpoint_unless_they_are_asked_to() -> None:
    for experiment in ("teacher_ssl_vit", "teacher_ssl_resnet"):
        cfg = composed([f"experiment={experiment}", "data=cues"])
        assert cfg.objective is None
        assert cfg.callback.checkpoint_best.monitor is None
    assert composed([*SSL, "objective=val/knn"]).callback.checkpoint_best.monitor == "val/knn"


@pytest.mark.parametrize("changes", [["callback.knn.linear_every=null"], ["callback=[checkpoint]"]])
def test_a_linear_probe_is_an_objective_where_it_is_logged(changes: list[str]) -> None:
    chosen = [*SSL, "objective=val/linear"]
    assert check(composed(chosen)) == []
    assert check(composed([*chosen, *changes])) == [
        "objective: nothing in this run logs val/linear: add the callback knn with callback.knn.linear_every=5"
    ]


def test_weights_along_the_way_need_an_accuracy() -> None:
    problem = "callback.checkpoint_history: names its files by val/accuracy, which SimCLR has not: leave history out"
    found = check(composed([*SSL, "callback=[checkpoint,knn,history]"]))
    assert [one.startswith(problem) for one in found] == [True]
    assert check(composed(["experiment=baseline", "callback=[checkpoint,history]"])) == []


def test_no_terms_are_a_mistake_only_where_they_are_summed() -> None:
    assert check(composed(SSL)) == []
    assert check(composed(["experiment=baseline", "loss=[]"])) == [
        "loss: no term is selected: name at least one, as in loss=[ce]"
    ]


@pytest.mark.parametrize(
    ("method", "data", "expected"),
    [
        ("simclr", "cues", (0.5, 15.0, True)),
        ("simclr", "cifar10", (0.1, 0.0, True)),
        ("simclr", "mnist", (0.1, 15.0, False)),
        ("dino", "cues", (0.5, 15.0, True)),
        ("dino", "mnist", (0.1, 15.0, False)),
    ],
)
def test_views_follow_the_data(method: str, data: str, expected: tuple[Any, ...]) -> None:
    views = composed(["experiment=teacher_ssl_vit", f"data={data}", f"ssl={method}"]).module.views
    assert (views.hue, views.rotate, views.flip) == expected


def test_the_smoke_trainer_has_the_views_of_its_data() -> None:
    assert composed(["experiment=teacher_ssl_resnet", "trainer=smoke"]).module.views.invert == 0.5


def teacher_of(chosen: list[str], data: str) -> DictConfig:
    """The config that the teacher of a command line is trained by."""
    cfg = composed(chosen)
    with open_dict(cfg):
        cfg.chosen = {"data": data, "trainer": "auto", "overrides": chosen}
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return compose("train", recipe_overrides(cfg, "train"))


def test_every_augmentation_of_a_student_has_the_same_teacher_without_labels() -> None:
    augmentations = ([], ["augment=published"], ["augment=none"], ["augment=light", "augment.cutmix=1"])
    found = [teacher_of(["experiment=exp3_ssl", "data=cues", *words], "cues") for words in augmentations]
    assert {spec_hash(cfg) for cfg in found} == {spec_hash(found[0])}
    assert not build(plain(found[1].augment)).mixes
    assert check(found[1]) == []


@pytest.mark.parametrize(
    ("data", "words", "flip"),
    [
        ("cifar10", ["augment=published"], True),
        ("cifar10", ["augment=none"], True),
        ("cifar10", ["augment.flip=false"], False),  # the images have a left and a right
        ("cifar10", ["augment=mnist"], False),
        ("mnist", ["augment=mnist"], False),
        ("mnist", ["augment.flip=false"], False),
    ],
)
def test_what_is_no_mirror_image_is_none_for_its_teacher(data: str, words: list[str], flip: bool) -> None:
    cfg = teacher_of(["experiment=exp3_ssl_resnet", f"data={data}", *words], data)
    assert (cfg.module.views.flip, cfg.augment.rotate) == (flip, 0.0)


@pytest.mark.parametrize("experiment", ["cst_ssl", "exp3_ssl_resnet"])
def test_its_teacher_is_trained_on_demand_without_labels(experiment: str) -> None:
    chosen = [f"experiment={experiment}", "data=cues", "data.train=5000", "teacher.epochs=3", "seed=1"]
    cfg, teacher = composed(chosen), teacher_of(chosen, "cues")
    assert check(cfg) == check(teacher) == []
    assert module_class(teacher) is SimCLR
    assert (teacher.epochs, teacher.data.train, teacher.model.classes, teacher.teacher.name) == (3, 5000, None, None)
    assert {key: teacher.model[key] for key in cfg.teacher.model if key not in ("layers", "_target_")} == {
        key: value for key, value in cfg.teacher.model.items() if key not in ("layers", "_target_")
    }
