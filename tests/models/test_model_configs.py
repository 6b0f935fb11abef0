from inspect import signature
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdbias.checks.plan import describe_network
from kdbias.config.build import build, target
from kdbias.models.checkpoint import architecture

CONF = Path(__file__).parents[2] / "conf"
TEACHER_KEYS = {"name", "model", "weights", "recipe", "epochs", "layers"}


def plain(group, name):
    node = OmegaConf.load(CONF / group / f"{name}.yaml")
    return OmegaConf.to_container(OmegaConf.create({group: node}), resolve=True)[group]


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


RECIPES = [name for name in names("teacher") if plain("teacher", name)["recipe"]]


@pytest.mark.parametrize("name", names("model"))
def test_models(name, tiny_info):
    spec = plain("model", name)
    unnamed = {"data", "family"}  # a new key would change the hash of every run; +model.family=... names it
    unnamed |= {"inference"} if "timm" in spec["_target_"] else set()
    assert set(spec) - {"_target_"} == set(signature(target(spec)).parameters) - unnamed
    features = build(architecture(spec), tiny_info).eval()(torch.rand(1, 3, 32, 32))
    assert features.logits.shape == (1, 10)


@pytest.mark.parametrize("name", names("teacher"))
def test_teachers(name, tiny_info):
    spec = plain("teacher", name)
    assert set(spec) >= TEACHER_KEYS
    if spec["model"] is None:
        assert spec["name"] is None
        return
    extractor = describe_network(spec["model"], tiny_info)
    assert set(spec["model"]) - {"_target_"} <= set(signature(target(spec["model"])).parameters) - {"data"}
    assert spec["recipe"] is None or extractor.info.classes == (10 if spec["model"].get("classes", "data") else None)
    assert spec["recipe"] is None or (CONF / "experiment" / f"{spec['recipe']}.yaml").is_file()
    if spec["layers"] != "all":
        assert len(extractor.info.layers) == len(spec["layers"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_teacher_is_the_network_that_its_recipe_trains(name):
    teacher = plain("teacher", name)
    recipe = OmegaConf.load(CONF / "experiment" / f"{teacher['recipe']}.yaml")
    (model,) = (str(value) for entry in recipe.defaults for key, value in entry.items() if key == "override /model")
    trained = plain("model", model) | OmegaConf.to_container(recipe.get("model", OmegaConf.create()))
    differ = {key for key, value in teacher["model"].items() if trained.get(key) != value}
    assert not differ - {"layers"}


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "dinov3_convnext", "timm"])
def test_size_and_weights_of_a_teacher_without_recipe_are_chosen_beside_its_model(name):
    node = OmegaConf.load(CONF / "teacher" / f"{name}.yaml")
    node.size, node.pretrained = 448, False
    model = OmegaConf.create({"teacher": node}).teacher.model
    assert (model.size, model.pretrained, model.weights) == (448, False, None)
