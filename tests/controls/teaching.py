"""A small run with a teacher, which tests of controls change."""

from functools import cache

from config_base import composed
from omegaconf import DictConfig, open_dict
from small_run import CNN

from kdbias.train import build_teacher

SMALL = ["experiment=exp1_kl", "data=cues", "data.train=200", "data.val=60", "data.test=10", "batch_size=40"]
RESNET = {"_target_": "kdbias.models.resnet_cifar.resnet56"}


@cache
def small() -> DictConfig:
    found = composed([*SMALL, "model=vit", "model.depth=1", "teacher=small_cnn", "trainer=cpu"])
    with open_dict(found):
        found.teacher.model = {**CNN, "layers": "all"}
    return found


def source(data):
    return lambda tree: build_teacher(tree, data)
