"""What a training step waits for its data: batches from the loader against one batch that lies in memory.

    python benchmarks/waiting.py
    python benchmarks/waiting.py --network vit_tiny --batch 128 --steps 4 --rounds 5

The same network is trained by CE and fused AdamW on a fixed batch, on batches that the loader makes in a side thread
(augment=default without mixing), and on batches that it makes in between. The ways take turns; seconds a step are over
all but the first step of a round, and ratios are medians over rounds. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from kdbias.batch import Batch, DataInfo
from kdbias.build import build
from kdbias.callbacks.result import environment
from kdbias.data.augment import Augment
from kdbias.data.resident import ResidentLoader
from kdbias.modules.optim import adamw, param_groups

INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 45_000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny": {"_target_": "kdbias.models.deit.vit_tiny"},
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 64, "depth": 6, "heads": 2},
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
}
WAYS = ("fixed", "side thread", "in between")


class Training:
    """A network, its optimiser, and endless batches of each way."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        device = torch.device(args.device)
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

    def seconds(self, way: str, steps: int) -> float:
        """Seconds a step over ``steps`` steps after a first one."""
        began = 0.0
        for step in range(steps + 1):
            if step == 1:
                began = self._now()
            batch = next(self.batches[way])
            loss = F.cross_entropy(self.network(batch.image).logits, batch.target)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return (self._now() - began) / steps

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="vit_tiny")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    training = Training(args)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            seconds[way].append(training.seconds(way, args.steps))
            print(way, round(seconds[way][-1], 4), file=sys.stderr, flush=True)
    ratios = {
        way: [round(mine / fixed, 3) for mine, fixed in zip(seconds[way], seconds["fixed"], strict=True)]
        for way in WAYS[1:]
    }
    result = {
        "benchmark": "waiting",
        "network": args.network,
        "batch": args.batch,
        "seconds_per_step": {way: round(statistics.median(values), 4) for way, values in seconds.items()},
        "ratio_to_fixed": {way: round(statistics.median(values), 3) for way, values in ratios.items()},
        "ratios": ratios,
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
