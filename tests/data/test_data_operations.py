"""Every operation at every magnitude, against torchvision's own call on a uint8 tensor, bit for bit."""

from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from kdbias.data.autoaugment import perform
from kdbias.data.operations import KINDS, TEN, THIRTY_ONE, UNSIGNED, WIDE, Action, Kind, Operation
from kdbias.data.policies import IDENTITY, make_policy

SPACES = {
    "autoaugment": (TEN, v2.AutoAugment),
    "rand": (THIRTY_ONE, v2.RandAugment),
    "trivial": (WIDE, v2.TrivialAugmentWide),
}
OPERATIONS = get_args(Operation)
TRANSFORM = v2.RandAugment()


def reference(image, operation, magnitude):
    """What v2.AutoAugment, RandAugment and TrivialAugmentWide do to an image with these parameters."""
    return TRANSFORM._apply_image_or_video_transform(
        image, operation, magnitude, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None}
    )


def images(channels, size):
    """Noise, and what goes wrong first: constant, two values, almost constant, a ramp of one value a pixel."""
    generator = torch.Generator().manual_seed(0)
    shape = (channels, size, size)
    ramp = torch.arange(size * size).view(size, size).expand(shape)
    made = [torch.randint(0, 256, shape, generator=generator) for _ in range(3)]
    made += [torch.randint(90, 140, shape, generator=generator)]
    made += [torch.full(shape, value) for value in (0, 255, 77)]
    made += [ramp % 256, ramp // size % 2 * 200, torch.where(ramp == 1, 9, 3), torch.where(ramp == 1, 255, 0)]
    return torch.stack(made).to(torch.uint8)


def every_action(scale):
    return make_policy([[(op, 1.0, level)] for op in OPERATIONS for level in range(scale.levels)], scale, rounds=1)


@pytest.mark.parametrize(
    ("space", "channels", "size"),
    [
        ("autoaugment", 3, 32),
        ("rand", 3, 32),
        ("trivial", 3, 32),
        ("trivial", 1, 28),
        ("autoaugment", 3, 15),
        ("autoaugment", 1, 9),
        ("autoaugment", 3, 2),
        ("autoaugment", 1, 1),
    ],
)
def test_every_action_is_torchvisions_bit_for_bit(space, channels, size):
    scale = SPACES[space][0]
    policy, made = every_action(scale), images(channels, size)
    codes = np.repeat(np.arange(len(policy.actions)), len(made))
    changed = perform(made.repeat(len(policy.actions), 1, 1, 1), codes[:, None], policy).unflatten(0, (-1, len(made)))
    differing = {
        action
        for action, ours in zip(policy.actions, changed, strict=True)
        for image, got in zip(made, ours, strict=True)
        if not torch.equal(got, reference(image, action.operation, scale.magnitude(action, size, size)))
    }
    assert differing == set()


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (224, 224)])
def test_larger_and_oblong_images_too(size):
    generator = torch.Generator().manual_seed(1)
    made = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator)
    policy = make_policy([[(op, 1.0, level)] for op in OPERATIONS for level in (3, 9)], TEN, rounds=1)
    changed = perform(made.repeat(len(policy.actions), 1, 1, 1), np.arange(len(policy.actions))[:, None], policy)
    for action, got in zip(policy.actions, changed, strict=True):
        assert torch.equal(got, reference(made[0], action.operation, TEN.magnitude(action, *size))), action


@pytest.mark.parametrize("space", SPACES)
def test_magnitudes_are_torchvisions(space):
    scale, transform = SPACES[space]
    known = transform._AUGMENTATION_SPACE
    assert set(known) == set(OPERATIONS) - ({"Identity"} if space == "autoaugment" else {"Invert"})
    for operation, (magnitudes, signed) in known.items():
        expected = magnitudes(scale.levels, 40, 56)
        assert signed == (operation not in UNSIGNED)
        for level in range(scale.levels):
            for sign in (1, -1) if signed else (1,):
                value = scale.magnitude(Action(operation, level, sign), 40, 56)
                assert value == (0.0 if expected is None else sign * float(expected[level]))


def test_no_action_is_the_image_itself():
    made = images(3, 8)
    assert perform(made, np.zeros((len(made), 2), dtype=np.int64), every_action(TEN)) is made
    assert every_action(TEN).actions[0] == IDENTITY


def test_images_given_stay_as_they_are():
    made, policy = images(3, 8), every_action(TEN)
    kept, codes = made.clone(), np.arange(2 * len(made)).reshape(-1, 2) * 9 % len(policy.actions)
    assert not torch.equal(perform(made, codes, policy), made)
    assert torch.equal(made, kept)


def test_a_image_does_not_depend_on_the_rest_of_its_batch():
    policy, rng = every_action(WIDE), np.random.default_rng(0)
    made = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    codes = rng.integers(0, len(policy.actions), (300, 2))
    whole = perform(made, codes, policy)
    for rows in (slice(0, 100), slice(100, 101), slice(101, 300)):
        assert torch.equal(perform(made[rows], codes[rows], policy), whole[rows])


def test_geometric_actions_are_those_that_move_pixels():
    policy = every_action(TEN)
    codes = np.arange(len(policy.actions))
    kept = {policy.actions[code].operation for code in policy.geometric(codes) if code}
    assert kept == {operation for operation in OPERATIONS if KINDS[operation] is Kind.GEOMETRY}
    assert kept == {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
