"""Which operations each image gets: AutoAugment, RandAugment and TrivialAugment, drawn as torchvision draws them.

An image's operations are numbers of ``Policy.actions``, one per slot, 0 for none. They do not depend on its size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kdbias.data import subpolicies
from kdbias.data.operations import PLAIN, TEN, THIRTY_ONE, UNSIGNED, WIDE, Action, Kind, Operation, Scale

PolicyName = Literal["none", "cifar10", "imagenet", "svhn", "randaugment", "trivialaugment"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
POOL: tuple[Operation, ...] = tuple(name for name in get_args(Operation) if name != "Invert")
"""The operations of RandAugment and TrivialAugment, drawn with equal probability."""
IDENTITY = Action("Identity", 0, 1)


@dataclass(frozen=True, eq=False)
class Policy:
    """A distribution over sequences of actions.

    In each of ``rounds``, one of ``choices`` is drawn with equal probability. A choice has ``width`` steps in order.
    Each step is applied with its probability, and its sign is + or - with equal probability.

    ``actions`` are ordered by kind, the first is none, and ``starts`` says where each kind begins; ``scale`` says how
    strong they are; ``codes`` ``(choices, width, 2)`` are the numbers of the actions of each step with either sign;
    ``probability`` is ``(choices, width)``.
    """

    actions: tuple[Action, ...]
    starts: tuple[int, ...]
    scale: Scale
    rounds: int
    codes: NDArray[np.int64]
    probability: NDArray[np.float64]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw ``(count, slots)`` numbers of actions."""
        choices, width, _ = self.codes.shape
        chosen = rng.integers(0, choices, (count, self.rounds))
        done = rng.random((count, self.rounds, width)) < self.probability[chosen]
        sign = rng.integers(0, 2, (count, self.rounds, width))
        return (self.codes[chosen[..., None], np.arange(width), sign] * done).reshape(count, self.rounds * width)

    def span(self, kind: Kind) -> tuple[int, int]:
        """Give the first number of the actions of one kind, and one past the last."""
        return self.starts[kind], self.starts[kind + 1]

    def geometric(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep the actions that move pixels, and drop those that change their values."""
        first, end = self.span(Kind.GEOMETRY)
        return np.where((codes >= first) & (codes < end), codes, 0)


def make_policy(choices: Sequence[Sequence[subpolicies.Step]], scale: Scale, rounds: int) -> Policy:
    """Make a policy from choices with the same number of steps, each (operation, probability, level)."""
    steps = [[[_action(op, level, sign) for sign in (1, -1)] for op, _, level in choice] for choice in choices]
    found = {action for choice in steps for step in choice for action in step} | {IDENTITY}
    actions = tuple(sorted(found, key=lambda action: (action.kind, action)))
    number = {action: code for code, action in enumerate(actions)}
    return Policy(
        actions=actions,
        starts=tuple(bisect_left(actions, kind, key=lambda action: action.kind) for kind in range(len(Kind) + 1)),
        scale=scale,
        rounds=rounds,
        codes=np.array([[[number[action] for action in step] for step in choice] for choice in steps]),
        probability=np.array([[probability for _, probability, _ in choice] for choice in choices]),
    )


@lru_cache
def policy_of(name: PolicyName, operations: int, magnitude: int) -> Policy:
    """Give a policy by its name, always the same object; the other arguments are RandAugment's.

    ``operations`` is how many each image gets, ``magnitude`` their level in 0..30. ``none`` has no slot at all.
    """
    tables = {"cifar10": subpolicies.CIFAR10, "imagenet": subpolicies.IMAGENET, "svhn": subpolicies.SVHN}
    if name in tables:
        return make_policy(tables[name], TEN, rounds=1)
    if name == "trivialaugment":
        return make_policy([[(op, 1.0, level)] for op, level in product(POOL, range(WIDE.levels))], WIDE, rounds=1)
    rounds = operations if name == "randaugment" else 0
    return make_policy([[(op, 1.0, magnitude)] for op in POOL], THIRTY_ONE, rounds)


def _action(operation: Operation, level: int, sign: int) -> Action:
    return Action(operation, 0 if operation in PLAIN else level, 1 if operation in UNSIGNED else sign)
