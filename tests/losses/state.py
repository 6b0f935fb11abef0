"""Some steps of training by a term, on one process and on two under DDP, to compare what they leave in its state.

The networks, the term and its features are in fp64, as in ``two_processes``.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from processes import found_by
from small_pair import make_pair
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from two_processes import INFO, Step, doubled

from kdbias.losses import base
from kdbias.losses.base import LossTerm

STEPS = 3
State = dict[str, Tensor]


def trained(
    term: LossTerm, rank: int = 0, processes: int = 1, parts: int = 1, again: bool = False, stop: int | None = None
) -> State:
    """Give parameters and buffers after ``STEPS`` steps of a batch each, of which ``rank`` has its share.

    A batch goes through in ``parts``, whose gradients add up; ``again`` computes every part twice, as an optimiser does
    that asks for the loss again. ``stop`` goes on after so many steps with a new term, from the state dict alone.
    """
    step = Step(deepcopy(term)).double()
    for number in range(STEPS):
        if number == stop:
            saved, step = deepcopy(step.state_dict()), Step(deepcopy(term)).double()
            step.load_state_dict(saved)
        _train(step, number, rank, processes, parts, again)
    return {name: value.detach().clone() for name, value in step.state_dict().items()}


def _train(step: Step, number: int, rank: int, processes: int, parts: int, again: bool) -> None:
    module = DistributedDataParallel(step) if processes > 1 else step
    optimizer = torch.optim.SGD(step.parameters(), lr=0.1)
    whole = make_pair(INFO).batch(seed=number)
    whole = whole._replace(index=(whole.index * 7 + 5 * number) % INFO.train)
    size = len(whole.image) // (processes * parts)
    optimizer.zero_grad()
    for part in range(parts):
        first = (part * processes + rank) * size
        batch = doubled(whole, slice(first, first + size))
        for _ in range(1 + again):
            before = buffers(step)
            with patch.object(base, "in_fp32", lambda features, detach=False: features):
                loss, _ = module(batch)
            step.total.hold(part)
            assert same(before, buffers(step)), "forward changed the state: that is what update is for"
        (loss / parts).backward()
    optimizer.step()
    step.total.update()


def buffers(step: Step) -> State:
    """Give the state of the terms."""
    return {name: value.clone() for name, value in step.total.named_buffers()}


def same(one: State, two: State) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def in_two_processes(terms: Mapping[str, LossTerm], folder: Path) -> list[dict[str, State]]:
    """Give, for each of two processes, what every term's training leaves."""
    return found_by(partial(_work, dict(terms)), 2, folder, "forkserver")


def _work(terms: dict[str, LossTerm], rank: int, processes: int) -> dict[str, State]:
    return {name: trained(term, rank, processes) for name, term in terms.items()}
