"""Whole policies against torchvision's: their tables, the images that equal draws give, and how draws are spread."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from torchvision.transforms import InterpolationMode, v2

from kdbias.data import subpolicies
from kdbias.data.autoaugment import perform
from kdbias.data.cues import cues
from kdbias.data.operations import TEN
from kdbias.data.policies import make_policy, policy_of

REFERENCES = {
    "cifar10": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "imagenet": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
    "svhn": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.SVHN),
    "randaugment": lambda: v2.RandAugment(num_ops=2, magnitude=9),
    "trivialaugment": v2.TrivialAugmentWide,
}
DRAWS = 8_000


def named(name):
    return policy_of(name, operations=2, magnitude=9)


def sequence(policy, codes, size=32):
    """Name what is done to one image as torchvision's call sees it."""
    return tuple(step(policy, code, size) for code in codes if code)


@cache
def step(policy, code, size):
    action = policy.actions[code]
    return action.operation, policy.scale.magnitude(action, size, size)


@pytest.mark.parametrize("name", ["cifar10", "imagenet", "svhn"])
def test_subpolicies_are_torchvisions(name):
    known = REFERENCES[name]()._policies
    ours = getattr(subpolicies, name.upper())
    assert [[(op, p, level or 0) for op, p, level in pair] for pair in known] == [list(pair) for pair in ours]


@pytest.fixture(scope="module")
def images():
    made = cues(train=1_500, val=0, test=1, preset="demo").split("train")[0]
    noise = torch.randint(0, 256, (500, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.cat([made, noise])


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("name", REFERENCES)
def test_whole_policies_give_torchvisions_images(name, grey, images):
    given = images[::4, :1, 2:-2, 2:-2] if grey else images
    policy, transform = named(name), REFERENCES[name]()
    codes = policy.draw(np.random.default_rng(0), len(given))
    different = 0
    for image, got, row in zip(given, perform(given, codes, policy), codes, strict=True):
        for operation, magnitude in sequence(policy, row, given.shape[-1]):
            image = transform._apply_image_or_video_transform(
                image, operation, magnitude, interpolation=InterpolationMode.NEAREST, fill=transform._fill
            )
        different += int((got != image).sum())
    assert different == 0


def recorded(transform, count):
    """Count the sequences of operations that torchvision draws, without doing them."""
    done, seen, image = [], Counter(), torch.zeros(3, 32, 32, dtype=torch.uint8)

    def note(image, operation, magnitude, **_):
        if operation != "Identity":
            done.append((operation, magnitude))
        return image

    transform._apply_image_or_video_transform = note
    torch.manual_seed(0)
    for _ in range(count):
        done.clear()
        transform(image)
        seen[tuple(done)] += 1
    return seen


def likelihood(one, other):
    """Chance that two counts of sequences come from one distribution (chi-square; the rare ones are one sequence)."""
    frequent = [key for key in one | other if one[key] + other[key] >= 10]
    rows = [[counts[key] for key in frequent] for counts in (one, other)]
    rest = [[counts.total() - sum(row)] for counts, row in zip((one, other), rows, strict=True)]
    table = np.concatenate([rows, rest], axis=1)
    return chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue


def counted(policy):
    codes = policy.draw(np.random.default_rng(0), DRAWS)
    return Counter(sequence(policy, row) for row in codes.tolist())


@pytest.mark.parametrize("name", REFERENCES)
def test_draws_follow_torchvisions_distribution(name):
    assert likelihood(counted(named(name)), recorded(REFERENCES[name](), DRAWS)) > 1e-4


def test_a_policy_without_one_subpolicy_is_told_apart():
    other = make_policy(subpolicies.CIFAR10[1:], TEN, rounds=1)
    assert likelihood(counted(other), recorded(REFERENCES["cifar10"](), DRAWS)) < 1e-4


def test_randaugment_takes_its_number_of_operations_and_magnitude():
    policy = policy_of("randaugment", operations=3, magnitude=0)
    codes = policy.draw(np.random.default_rng(0), 100)
    assert codes.shape == (100, 3)
    assert {policy.actions[code].level for code in codes.ravel()} == {0}
    assert policy_of("none", 2, 9).draw(np.random.default_rng(0), 5).shape == (5, 0)


def test_a_policy_is_made_once():
    assert named("cifar10") is named("cifar10")
