"""Runs on data of other classes than their own: refused where answers are held against labels, and only there."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from kdbias.analysis.labels import check_classes, difference, free
from kdbias.checks.check import ConfigError
from kdbias.config.build import build, target
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cifar import CIFAR10_NAMES, CIFAR100_NAMES
from kdbias.data.cues import cues
from kdbias.models.deit import vit
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher

CONF = Path(__file__).parents[2] / "conf" / "probe"
LEARNS = {"knn", "linear"}  # their classes from the training images


def node_of(name):
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))[name]


def run(own, shown):
    return SimpleNamespace(name="exp/run", spec={"data": own.to_dict()}, data=SimpleNamespace(info=shown))


@pytest.fixture
def cifar10(tiny_info):
    return replace(tiny_info, names=CIFAR10_NAMES)


def test_the_error_names_the_run_both_classes_and_the_remedy(tiny_info, cifar10):
    nodes = {name: node_of(name) for name in ("attention", "accuracy", "gradcam")}
    digits = replace(tiny_info, names=tuple("0123456789"))
    with pytest.raises(ConfigError) as found:
        check_classes([run(cifar10, digits)], nodes)
    assert str(found.value).startswith(
        "data: exp/run was trained on 10 classes (airplane, automobile, bird, ...), and class 0 of the data is '0', "
        "not 'airplane'; accuracy, gradcam would hold its answers against labels that mean something else: leave data"
    )
    many = replace(tiny_info, classes=100, names=CIFAR100_NAMES)
    with pytest.raises(ConfigError, match=r"on 10 classes .*and the data has 100 classes \(apple, aquarium_fish"):
        check_classes([run(cifar10, many)], nodes)


def test_a_run_without_a_classifier_has_no_answers_to_hold_against_labels(cifar10, tiny_info):
    digits = replace(tiny_info, names=tuple("0123456789"))
    subject = run(cifar10, digits)
    subject.spec["model"] = {"classes": None}
    check_classes([subject], {"hessian": node_of("hessian")})
    subject.spec["model"] = {"classes": "data"}
    with pytest.raises(ConfigError, match="hessian would hold"):
        check_classes([subject], {"hessian": node_of("hessian")})


def test_what_needs_no_classes_may_be_asked_of_any_data(cifar10, tiny_info):
    names = free()
    assert names == ["attention", "cka", "cka_teacher", "features", "knn", "linear", "receptive_field"]
    nodes = {name: node_of(name) for name in names}
    check_classes([run(cifar10, replace(tiny_info, classes=3, names=("a", "b", "c")))], nodes)


def test_the_same_classes_in_other_images_are_the_same(cifar10, tiny_info):
    accuracy = {"accuracy": node_of("accuracy")}
    check_classes([run(cifar10, replace(cifar10, train=7, mean=(0.1, 0.2, 0.3)))], accuracy)
    check_classes([run(cifar10, replace(cifar10, names=()))], accuracy)  # nobody has named them
    check_classes([SimpleNamespace(spec={}, data=None)], accuracy)  # a network by name: its head is made for the data
    turned = replace(cifar10, names=CIFAR10_NAMES[::-1])
    assert difference(cifar10, turned).endswith("class 0 of the data is 'truck', not 'airplane'")


@pytest.mark.parametrize("name", sorted({*free()} - LEARNS))
def test_what_is_free_of_classes_does_not_read_labels(name):
    data = ImageData(cues(train=100, val=30, test=30), Augment(), batch_size=10, eval_batch_size=12)
    torch.manual_seed(0)
    network = vit(data.info, width=16, depth=2, heads=2, patch=8)
    node = {key: 24 if key == "images" else value for key, value in node_of(name).items()}
    given = {"teacher": Teacher(small_cnn(data.info, widths=[4, 8]), "small")}
    probe = build(node, **{key: given[key] for key in given if key in signature(target(node)).parameters})
    batches = list(data.batches("test", limit=24))
    turned = [batch._replace(target=batch.target.flip(0)) for batch in batches]
    assert not torch.equal(batches[0].target, turned[0].target)
    first, second = (probe(network, seen).scalars for seen in (batches, turned))
    np.testing.assert_array_equal(list(first.values()), list(second.values()))
