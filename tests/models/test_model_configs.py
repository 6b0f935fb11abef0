from inspect import signature
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdbias.build import build, target
from kdbias.checkpoint import architecture

CONF = Path(__file__).parents[2] / "conf"
TEACHER_KEYS = {"name", "model", "weights", "recipe", "epochs", "layers"}


def plain(group, name):
    node = OmegaConf.load(CONF / group / f"{name}.yaml")
    return OmegaConf.to_container(OmegaConf.create({group: node}), resolve=True)[group]


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", names("model"))
def test_models(name, tiny_info):
    spec = plain("model", name)
    assert set(spec) - {"_target_"} == set(signature(target(spec)).parameters) - {"data"}
    features = build(spec, tiny_info).eval()(torch.rand(1, 3, 32, 32))
    assert features.logits.shape == (1, 10)


@pytest.mark.parametrize("name", names("teacher"))
def test_teachers(name, tiny_info):
    spec = plain("teacher", name)
    assert set(spec) >= TEACHER_KEYS
    if spec["model"] is None:
        assert spec["name"] is None
        return
    extractor = build(architecture(spec["model"]), tiny_info)
    assert spec["recipe"] is None or extractor.info.classes == 10
    assert spec["recipe"] is None or (CONF / "experiment" / f"{spec['recipe']}.yaml").is_file()
    if spec["layers"] != "all":
        assert len(extractor.info.layers) == len(spec["layers"])
