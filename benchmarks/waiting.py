"""What a training step waits for its data: batches from the loader against one batch that lies in memory.

    python benchmarks/waiting.py
    python benchmarks/waiting.py --network vit_tiny --batch 128 --steps 30

The same network is trained by CE and fused AdamW on a fixed batch, on batches that the loader makes in a side thread
(augment=default without mixing), and on batches that it makes in between. The ways take turns step by step, in an order
that goes round; a ratio is that of the median steps, with a 95 % interval from resampling the turns. Prints one JSON
line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from images import INFO, now
from numpy.typing import NDArray
from torch.nn import functional as F

from kdbias.batch import Batch
from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.resident import ResidentLoader
from kdbias.modules.optim import adamw, param_groups
from kdbias.runs.result import environment
from kdbias.start import ALLOCATOR

NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny": {"_target_": "kdbias.models.deit.vit_tiny"},
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 64, "depth": 6, "heads": 2},
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
}
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", *ALLOCATOR)
WAYS = ("fixed", "side thread", "in between")


class Training:
    """A network, its optimiser, and endless batches of each way."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.device = device = torch.device(args.device)
        self.network = build(NETWORKS[args.network], INFO).to(device).train()
        self.optimizer = adamw(param_groups(self.network, 0.05), lr=1e-3, weight_decay=0.05)
        images = torch.randint(0, 256, (20_000, 3, 32, 32), dtype=torch.uint8, device=device)
        labels = torch.randint(10, (20_000,), device=device)
        augment = Augment(policy="cifar10", mix_probability=0.0)

        def loader(prefetch: bool) -> ResidentLoader:
            return ResidentLoader(
                images, labels, info=INFO, batch_size=args.batch, augment=augment, shuffle=True, drop_last=True,
                prefetch=prefetch,
            )  # fmt: skip

        fixed = next(iter(loader(False)))
        self.batches: dict[str, Iterator[Batch]] = {
            "fixed": itertools.repeat(fixed),
            "side thread": itertools.chain.from_iterable(itertools.repeat(loader(True))),
            "in between": itertools.chain.from_iterable(itertools.repeat(loader(False))),
        }

    def seconds(self, way: str) -> float:
        """Seconds of one step, the wait for its batch included."""
        began = now(self.device)
        batch = next(self.batches[way])
        loss = F.cross_entropy(self.network(batch.image).logits, batch.target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return now(self.device) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="vit_tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30, help="of each way, after two that do not count")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    training = Training(args)
    turns: list[list[float]] = []
    for turn in range(args.steps + 2):
        order = [WAYS[(turn + place) % len(WAYS)] for place in range(len(WAYS))]
        took = {way: training.seconds(way) for way in order}
        turns.append([took[way] for way in WAYS])
        print(turn, {way: round(took[way], 4) for way in WAYS}, file=sys.stderr, flush=True)
    seconds = np.array(turns[2:])
    result = {
        "benchmark": "waiting",
        "network": args.network,
        "batch": args.batch,
        "steps": args.steps,
        "seconds_per_step": dict(zip(WAYS, np.median(seconds, 0).round(4).tolist(), strict=True)),
        "ratio_to_fixed": {way: ratio(seconds[:, i], seconds[:, 0]) for i, way in enumerate(WAYS) if i},
        "variables": {
            key: os.environ[key] for key in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", *ALLOCATOR) if key in os.environ
        },
        "environment": environment(),
    }
    print(json.dumps(result))


def ratio(mine: NDArray[np.float64], fixed: NDArray[np.float64]) -> list[float]:
    """Give the ratio of medians, and the ends of its interval."""
    rows = np.random.default_rng(0).integers(len(fixed), size=(2000, len(fixed)))
    draws = np.median(mine[rows], 1) / np.median(fixed[rows], 1)
    found = [np.median(mine) / np.median(fixed), *np.quantile(draws, (0.025, 0.975))]
    return [round(float(value), 3) for value in found]


if __name__ == "__main__":
    main()
