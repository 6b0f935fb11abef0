"""Parts of the training images: disjoint, complete, balanced over the classes, the same in every call."""

import doctest
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from config_base import composed
from folders import source
from hydra import compose, initialize_config_dir

from kdbias.checks.consistency import meaning
from kdbias.checks.early import plain_problems
from kdbias.config import conf
from kdbias.config.spec import plain, spec, spec_hash
from kdbias.data import part as parts
from kdbias.data.cifar import cifar10
from kdbias.data.mnist import mnist
from kdbias.data.part import bounds, part_rows
from kdbias.runs.teacher_recipe import recipe_overrides

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
EVEN, UNEVEN = np.arange(50_000) * 7 % 10, np.repeat(np.arange(10), MNIST_COUNTS)


@pytest.mark.parametrize("labels", [EVEN, UNEVEN, np.zeros(500, dtype=np.int64)])
@pytest.mark.parametrize("cuts", [[0, 0.2, 1], [0, 1 / 3, 0.7, 0.99, 1]])
def test_parts_share_no_image_and_have_all(labels, cuts):
    found = [part_rows(labels, pair, 3) for pair in pairwise(cuts)]
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(len(labels)))
    for rows, pair in zip(found, pairwise(cuts), strict=True):
        assert np.array_equal(rows, part_rows(labels, pair, 3))


@pytest.mark.parametrize("part", [[0, 0.2], [0.2, 1], [0.1, 0.10123], [0.333, 0.9]])
def test_classes_are_balanced(part):
    counts = np.bincount(EVEN[part_rows(EVEN, part, 0)], minlength=10)
    assert counts.max() - counts.min() <= 1
    begin, end = bounds(len(UNEVEN), part)
    counts = np.bincount(UNEVEN[part_rows(UNEVEN, part, 0)], minlength=10)
    share = np.array(MNIST_COUNTS) * (end - begin) / len(UNEVEN)
    assert np.abs(counts - share).max() <= 1


def test_another_seed_cuts_other_parts_and_no_part_is_every_image_in_its_order():
    first = part_rows(EVEN, [0, 0.2], 0)
    assert not np.array_equal(first, part_rows(EVEN, [0, 0.2], 1))
    assert not np.array_equal(first, np.arange(10_000))
    assert np.array_equal(part_rows(EVEN, None, 1), np.arange(50_000))


@pytest.mark.parametrize("part", [[0.2, 0.2], [0.5], 0.2, "ab", [0, 2], [-0.1, 1], [True, 1], [0, float("nan")]])
def test_what_is_no_part_is_refused(part):
    with pytest.raises(ValueError, match=r"^data\.part=.* must be two shares"):
        bounds(100, part)
    (problem,) = plain_problems({"data": {"part": part}})
    assert problem.key == "data.part"


def test_an_empty_part_and_one_that_the_validation_split_fills_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.part=\[0, 0\.001\] has no image: the set has 100 training images"):
        bounds(100, [0, 0.001])
    with pytest.raises(ValueError, match=r"data\.val=5000 must lie in 0\.\.2499: there are 2500 training images"):
        cifar10(root=str(tmp_path), part=[0, 0.05])
    assert cifar10(root=str(tmp_path), part=[0, 0.3]).info.train == 10_000
    assert cifar10(root=str(tmp_path), part=[0, 0.3], limit=100).info.train == 100
    assert mnist(root=str(tmp_path), part=[0.5, 1]).info.train == 25_000


class Images:
    """A set of torchvision's form; an image's first pixels are its place."""

    def __init__(self, root, train, **_):
        self.targets = EVEN[:2_000].tolist()
        self.data = torch.arange(2_000).view(-1, 1, 1, 1).repeat(1, 4, 4, 3).to(torch.int32)


def places(folder, name, **settings):
    given = {"val": 300, "limit": None, "split_seed": 0, **settings}
    found = replace(cifar10(root=str(folder)), dataset=Images, count=2_000, fault=lambda _: None, **given)
    return found.split(name)


def test_the_validation_split_is_taken_inside_the_part_and_the_limit_applies_after(tmp_path):
    (train, labels), (val, _) = (places(tmp_path, name, part=[0, 0.5]) for name in ("train", "val"))
    (other, _), (other_val, _) = (places(tmp_path, name, part=[0.5, 1]) for name in ("train", "val"))
    seen = [{int(one) for one in images[:, 0, 16, 16]} for images in (train, val, other, other_val)]
    assert [len(one) for one in seen] == [700, 300, 700, 300]
    assert set.union(*seen) == set(range(2_000))
    assert [EVEN[place] for place in train[:, 0, 16, 16]] == labels.tolist()
    few, _ = places(tmp_path, "train", part=[0, 0.5], limit=50)
    assert torch.equal(few, train[:50])
    (whole, _), (test, _) = places(tmp_path, "train"), places(tmp_path, "test", part=[0, 0.5])
    assert (len(whole), len(test)) == (1_700, 2_000)


def test_a_folder_of_images_has_parts_too(root):
    found = [source(root, part=part, val=2) for part in ([0, 0.5], [0.5, 1])]
    splits = [one.images(name) for one in found for name in ("train", "val")]
    files = [set(images.files.tolist()) for images, _ in splits]
    assert [len(one) for one in files] == [7, 2, 7, 2]
    assert len(set.union(*files)) == 18
    assert [one.info.train for one in found] == [7, 7]
    assert torch.cat([labels for _, labels in splits[:2]]).bincount().tolist() == [3, 3, 3]
    assert found[0].fingerprint("train") != found[1].fingerprint("train")


def test_only_a_part_that_is_set_is_in_the_hash():
    conf.register()
    words = ["experiment=exp1_resnet_kl", "teacher=resnet20", "augment=light"]
    before = plain(composed(words))
    without = {**before, "data": {key: value for key, value in before["data"].items() if key != "part"}}
    assert "part" in before["data"]
    assert spec_hash(before) == spec_hash(without)
    assert spec_hash(composed([*words, "data.part=[0,.2]"])) != spec_hash(before)
    assert spec(composed([*words, "data.part=[0,.2]"]))["data"]["part"] == [0, 0.2]
    other = [spec_hash(composed([*words, f"+teacher.data.part={part}"])) for part in ("null", "[0,.5]")]
    assert other[0] != other[1]


def teaching(*words: str):
    tree = plain(compose("train", ["experiment=exp1_resnet_kl", "teacher=resnet20", "augment=light", *words]))
    return {**tree, "chosen": {"data": "cifar10", "trainer": "cpu", "overrides": list(words)}}


def test_a_teacher_is_trained_on_the_students_part_or_on_its_own():
    conf.register()
    with initialize_config_dir(conf.conf_dir(), version_base="1.3"):
        same = recipe_overrides(teaching("data.part=[0,.2]"), "train")
        own = recipe_overrides(teaching("data.part=[0,.2]", "+teacher.data.part=[.2,1]"), "train")
        none = recipe_overrides(teaching(), "train")
    assert "++data.part=[0,0.2]" in same
    assert "++data.part=[0.2,1]" in own
    assert not any("part" in word for word in none)


def test_parts_that_cannot_be_trained_on_are_problems_of_the_config():
    conf.register()

    def found(*words: str) -> list[str]:
        tree = plain(composed(["experiment=exp1_resnet_kl", "teacher=resnet20", "batch_size=512", *words]))
        problems = plain_problems(tree)
        return [str(problem) for problem in [*problems, *meaning(tree, problems)]]

    assert any("no batch is full" in line for line in found("data.part=[0,.11]", "data.val=5000"))
    assert any(line.startswith("teacher.data: data.val=5000") for line in found("+teacher.data.part=[0,.1]"))
    assert any(line.startswith("teacher.data.part: must be") for line in found("+teacher.data.part=[.2,.1]"))
    seeds = found("data.part=[0,.2]", "+teacher.data={part:[.2,1],split_seed:1}")
    assert any(line.startswith("teacher.data.split_seed: must be 0") for line in seeds)
    assert not any("part" in line for line in found("data.part=[0,.2]", "+teacher.data={part:[.2,1]}"))


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(parts).failed == 0
