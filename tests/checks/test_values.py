"""A setting that no run can have is named with its key and its remedy before anything is trained."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from config_base import Mistake, assert_named_once, composed, config
from hydra import initialize_config_dir

from kdbias.checks import values
from kdbias.checks.check import check
from kdbias.config import conf


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


BEST = {"_target_": "kdbias.callbacks.checkpoint.best", "folder": "here", "monitor": "val/loss", "mode": "max"}
STOP = {"_target_": "kdbias.callbacks.checkpoint.early_stopping", "monitor": "val/loss"}
PLATEAU = {"_target_": "kdbias.modules.schedules.plateau", "monitor": "val/accuracy", "mode": "min"}
DIGITS = {"_target_": "kdbias.data.mnist.mnist", "root": "data"}
MESSAGES: dict[str, Mistake] = {
    "a batch of nothing": ({"batch_size": 0}, "batch_size", ("a whole number of at least 1, got 0",)),
    "epochs in words": ({"epochs": "many"}, "epochs", ("a whole number of at least 1, got 'many'",)),
    "steps of no batch": ({"trainer.accumulate": 0}, "trainer.accumulate", ("of at least 1, got 0",)),
    "a negative seed": ({"seed": -1}, "seed", ("a whole number from 0", "got -1")),
    "a seed in words": ({"seed": "one"}, "seed", ("got 'one'",)),
    "no validation": ({"trainer.val_every": 0}, "trainer.val_every", ("must be above 0", "got 0")),
    "validation after the end": ({"trainer.val_every": 3}, "trainer.val_every", ("use at most 2 (epochs)",)),
    "no training": ({"trainer.limit_train_batches": 0}, "trainer.limit_train_batches", ("null for all", "got 0")),
    "no validation batch": ({"trainer.limit_val_batches": 0.0}, "trainer.limit_val_batches", ("got 0.0",)),
    "a negative clip": ({"optim.clip": -1}, "optim.clip", ("at least 0, or null for none, got -1",)),
    "no validation images": ({"data.val": 0}, "data.val", ("at least 1 image", "got 0")),
    "no GPU": ({"trainer.accelerator": "gpu"}, "trainer.accelerator", ("no GPU is there: use trainer=cpu",)),
    "half precision": ({"trainer.precision": "16-mixed"}, "trainer.precision", ("scaled gradients", "use bf16-mixed")),
    "an unknown precision": ({"trainer.precision": 32}, "trainer.precision", ("there is no 32", "32-true")),
    "an unknown objective": (
        {"objective": "val/acc"},
        "objective",
        ("no 'val/acc': did you mean val/accuracy? choose val/accuracy or val/loss",),
    ),
    "the worst checkpoint": (
        {"objective": "val/loss", "callback.checkpoint_best": BEST},
        "callback.checkpoint_best.mode",
        ("max takes the worst val/loss for the best: set callback.checkpoint_best.mode=min",),
    ),
    "stopping at the best": ({"callback.stop": STOP}, "callback.stop.mode", ("set callback.stop.mode=min",)),
    "a metric that nothing logs": (
        {"callback.checkpoint_best": {**BEST, "monitor": "val/knn"}},
        "callback.checkpoint_best.monitor",
        ("nothing in this run logs val/knn: add the callback knn",),
    ),
    "a misspelt metric": (
        {"callback.stop": {**STOP, "monitor": "val/acuracy"}},
        "callback.stop.monitor",
        ("nothing in this run logs val/acuracy: set callback.stop.monitor=val/accuracy",),
    ),
    "a schedule by the least accuracy": (
        {"optim.schedule": PLATEAU},
        "optim.schedule.mode",
        ("min takes the worst val/accuracy for the best: set optim.schedule.mode=max",),
    ),
    "a schedule by a loss": (
        {"optim.schedule": {**PLATEAU, "monitor": "train/loss", "mode": "max"}},
        "optim.schedule.mode",
        ("max takes the worst train/loss for the best: set optim.schedule.mode=min",),
    ),
    "a schedule by nothing": (
        {"optim.schedule": {**PLATEAU, "monitor": "val/linear", "mode": "max"}},
        "optim.schedule.monitor",
        ("nothing in this run logs val/linear: add the callback knn",),
    ),
    "a misspelt setting": ({"epoch": 3}, "epoch", ("nothing reads it: did you mean epochs?",)),
    "a recipe that is not there": (
        {"teacher.recipe": "teacher_smallcnn"},
        "teacher.recipe",
        ("no conf/experiment/teacher_smallcnn.yaml: did you mean teacher_small_cnn?", "give teacher.weights=PATH"),
    ),
    "mirrored digits": (
        {"data": DIGITS},
        "augment.flip",
        ("digits are not mirror images: choose augment=mnist or set augment.flip=false",),
    ),
}


@pytest.mark.parametrize(("changes", "key", "parts"), MESSAGES.values(), ids=MESSAGES.keys())
def test_a_mistake_is_named_once_with_its_key_and_remedy(changes, key: str, parts: tuple[str, ...]) -> None:
    assert_named_once(changes, key, parts)


CHOICES: dict[str, dict[str, Any]] = {
    "the least loss": {"objective": "val/loss", "callback.checkpoint_best": {**BEST, "mode": "min"}},
    "a part of an epoch": {"trainer.val_every": 0.5, "trainer.limit_train_batches": 0.5},
    "a schedule by the training loss": {"optim.schedule": {**PLATEAU, "monitor": "train/loss"}},
    "a schedule by the validation loss": {"optim.schedule": {**PLATEAU, "monitor": "val/loss"}},
    "no clipping": {"optim.clip": None},
    "validation once, at the end": {"trainer.val_every": 2},
    "a recipe that is not needed": {"teacher.recipe": "none", "teacher.weights": __file__},
    "digits as they are": {"data": DIGITS, "augment.flip": False},
    "mirrored clothes": {"data": {**DIGITS, "_target_": "kdbias.data.mnist.fashion_mnist"}},
}


@pytest.mark.parametrize("changes", CHOICES.values(), ids=CHOICES.keys())
def test_a_choice_is_no_mistake(changes: dict[str, Any]) -> None:
    assert check(config(changes)) == []


@pytest.mark.parametrize("spec", [{"monitor": "val/ece"}, {"monitor": "train/loss"}])
def test_what_another_packages_callback_watches_is_left_to_it(spec):
    """Its module may log more than is known here, and its mode has a default of its own."""
    tree = {
        "callback": {"stop": {"_target_": "mine.Stop", **spec}},
        "module": {"_target_": "kdbias.modules.distill.Distill"},
    }
    assert list(values._watched(SimpleNamespace(tree=tree))) == []
    known = {**tree["callback"]["stop"], "monitor": "val/knn"}
    (problem,) = values._watched(SimpleNamespace(tree={**tree, "callback": {"stop": known}}))
    assert problem.key == "callback.stop.monitor"


def test_the_real_config_has_no_unknown_setting() -> None:
    assert check(composed(["data=mnist", "augment=mnist", "experiment=exp1_resnet_kl"])) == []


def test_a_recipe_of_ones_own_is_found_along_the_search_path(tmp_path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").touch()
    cfg = config({"teacher.recipe": "mine"})
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert check(cfg) == []
    assert len(check(cfg)) == 1


@pytest.mark.parametrize(("devices", "said"), [(4000, "4000"), ("99999999999", "999999999"), (2, None), (16, None)])
def test_more_processes_than_a_cpu_can_run_are_refused(devices, said, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = [one for one in check(config({"trainer.devices": devices})) if one.startswith("trainer.devices:")]
    assert found == ([] if said is None else [f"trainer.devices: {said} processes on one CPU: use at most 16"])
