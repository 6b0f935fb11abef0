"""The classifier of a frozen network is the optimum on the features of one pass."""

import pytest
import torch
from config_base import composed
from hydra import initialize_config_dir
from torch.nn import functional as F
from training import Noise, quiet_trainer

from kdbias import cli
from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.errors import ArgumentError, RunStopped
from kdbias.config.spec import plain
from kdbias.data.base import ImageData
from kdbias.functional.logistic import linear_classifier
from kdbias.models.teacher import Teacher
from kdbias.modules.choice import module_class
from kdbias.modules.linear_head import LinearHead
from kdbias.runs.teacher_recipe import recipe_overrides

EXPERIMENT = ["experiment=teacher_vit_pretrained_frozen", "data=cues", "model.pretrained=false"]
TINY = ["model.name=test_vit.r160_in1k", "model.size=32", "trainer=cpu"]


def spec_of(info, *overrides):
    tree = plain(composed([*EXPERIMENT, *TINY, *overrides]))
    return {**{key: tree[key] for key in ("model", "loss", "optim", "seed")}, "data": info.to_dict()}


def images(info, batch_size=8):
    augment = build(plain(composed(EXPERIMENT))["augment"], group="augment")
    return ImageData(Noise(info), augment, batch_size=batch_size, eval_batch_size=16, seed=0)


def fitted(info, epochs=1, batch_size=8, **settings):
    torch.manual_seed(0)
    module = LinearHead(spec_of(info), **settings)
    before = {key: value.clone() for key, value in module.student.state_dict().items()}
    quiet_trainer(max_epochs=epochs).fit(module, datamodule=images(info, batch_size))
    return module, before


def above_optimum(module, info, l2=1e-3):
    """How far the objective of the classifier lies above that of the optimum in double precision."""
    pixels, labels = Noise(info).split("train")
    with torch.no_grad():
        features = module.student.eval()(pixels / 255).pooled.double()

    def objective(weight, bias):
        decayed = weight * features.std(dim=0, correction=0)
        return F.cross_entropy(features @ weight.T + bias, labels) + 0.5 * l2 * decayed.square().sum()

    found = (part.detach().double() for part in (module.head.weight, module.head.bias))
    return float(objective(*found) - objective(*linear_classifier(features, labels, 10, l2)))


@pytest.mark.parametrize(("epochs", "batch_size", "l2"), [(1, 8, 1e-3), (2, 8, 0.1), (1, 32, 0.1)])
def test_the_classifier_is_the_optimum_and_the_trunk_stays(tiny_info, epochs, batch_size, l2):
    module, before = fitted(tiny_info, epochs, batch_size, l2=l2)
    assert abs(above_optimum(module, tiny_info, l2)) < 1e-6  # a few units of the last place of a loss in fp32
    moved = {key for key, value in module.student.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"network.head.weight", "network.head.bias"}


def test_validation_sees_the_optimum(tiny_info):
    module, _ = fitted(tiny_info)
    pixels, labels = Noise(tiny_info).split("val")
    with torch.no_grad():
        logits = module.student.eval()(pixels / 255).logits
    assert float(module.trainer.callback_metrics["val/loss"]) == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_each_image_is_read_once(tiny_info):
    module, _ = fitted(tiny_info)
    assert (module._features, module._targets) == ([], [])  # of an epoch, not of a run
    read = []
    module = LinearHead(spec_of(tiny_info))
    module.student.network.patch_embed.register_forward_hook(lambda m, a, out: read.append(len(out)))
    quiet_trainer(max_epochs=1, limit_val_batches=0).fit(module, datamodule=images(tiny_info))
    assert sum(read) == 32


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        (["model.frozen=false"], {}, "model.frozen: LinearHead trains the classifier alone"),
        ([], {"l2": -1.0}, "l2: must be a number of at least 0"),
    ],
)
def test_what_it_cannot_train_is_refused(tiny_info, overrides, settings, message):
    with pytest.raises(ArgumentError, match=message):
        LinearHead(spec_of(tiny_info, *overrides), **settings)


def test_it_does_not_go_on_in_the_middle_of_an_epoch(tiny_info):
    module, _ = fitted(tiny_info)
    batch = next(iter(images(tiny_info).batches("train")))
    with pytest.raises(RunStopped, match="cannot go on in the middle of an epoch, at batch 3"):
        module.training_step(batch, 3)


def test_a_teacher_is_refused(tiny_info):
    student = LinearHead(spec_of(tiny_info)).student
    with pytest.raises(ArgumentError, match="learns from the labels alone"):
        LinearHead(spec_of(tiny_info), Teacher(student, "copy"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["model.frozen=false"], "model.frozen: LinearHead trains the classifier of a frozen network"),
        (["augment=default"], "augment.mix_probability: LinearHead needs one class for each image"),
        (["teacher=resnet20", "loss=[ce,kl]"], "teacher: LinearHead learns from the labels alone"),
        (["callback=[checkpoint,ema]"], "callback.ema: would average the solution of LinearHead with"),
        (["callback=[checkpoint,swa]"], "callback.swa: would average the solution of LinearHead with"),
        (["model.name=deit_tiny_distilled_patch16_224"], "model: LinearHead solves one classifier"),
    ],
)
def test_the_check_names_what_does_not_go_with_it(changes, problem):
    found = check(composed([*EXPERIMENT, *TINY, *changes]))
    assert [one for one in found if one.startswith(problem)] == [one for one in found if "LinearHead" in one] != []


@pytest.mark.parametrize(("frozen", "kind", "epochs"), [("true", "LinearHead", 1), ("false", "Distill", 10)])
def test_the_teacher_vit_pretrained_is_trained_by_the_recipe_of_its_choice(frozen, kind, epochs):
    chosen = ["experiment=cnn_to_vit/lm", "data=cues", "teacher=vit_pretrained", f"teacher.frozen={frozen}"]
    own = ["teacher.model.weights=null", "teacher.model.size=56", "teacher.model.pretrained=false"]
    tree = plain(composed([*chosen, *own]))
    tree["chosen"] = {"data": "cues", "trainer": "cpu", "overrides": [*chosen, *own]}
    with_hydra = recipe_overrides_of(tree)
    recipe = composed(with_hydra)
    assert check(recipe) == []
    assert (module_class(plain(recipe)).__name__, recipe.epochs, recipe.model.size) == (kind, epochs, 56)
    assert recipe.model.frozen is (frozen == "true")


def recipe_overrides_of(tree):
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        return recipe_overrides(tree, "train")
