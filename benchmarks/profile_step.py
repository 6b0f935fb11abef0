"""Where the time of a training step on a CPU goes: forward, backward, optimiser, and the dearest operations of each.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py --networks resnet18 --batch 64 --steps 20
    python benchmarks/profile_step.py --networks small_vit --compile

The step is that of a run without its data, in a process with the settings of a run: CE, backward pass, clipping, fused
AdamW, in the precision that ``trainer.precision=auto`` takes. Attention is also timed on the path that a run does not
take; the paths take turns.
``floor`` is the time of the step's products and convolutions alone (torch counts their operations) at the rate of one
large plain product of the same precision, measured beside it, and how many times as long the step takes.
With ``--compile`` the step also takes turns with one of a compiled network, whose first two steps are timed apart.
Milliseconds are CPU time, the median over ``--steps`` with the smallest and largest, on one thread. Prints one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from itertools import pairwise
from typing import Any

from kdbias.late import put_off
from kdbias.start import tune_allocator

if __name__ == "__main__":
    tune_allocator()  # as a run does

with put_off():
    import torch
    from images import INFO
    from torch import nn
    from torch.nn import functional as F
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from kdbias.config.build import build
    from kdbias.models.attention_path import attention_modules
    from kdbias.modules.optim import adamw, clip_gradients, param_groups
    from kdbias.modules.trainer import choose_precision
    from kdbias.runs.result import environment

NETWORKS: dict[str, dict[str, Any]] = {
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 64, "depth": 6, "heads": 2},
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
    "deit_tiny": {"_target_": "kdbias.models.deit.deit_tiny"},
    "resnet18": {"_target_": "kdbias.models.resnet_cifar.resnet18"},
}
PARTS = ("forward", "backward", "optimiser")
MOST = 8  # operations that are named
SIDE, PRODUCTS = 2048, 7  # of the plain product, and how often it is timed


class Step:
    """A network with its optimiser and one batch of random images."""

    def __init__(self, network: str, batch: int, bf16: bool) -> None:
        torch.manual_seed(0)
        self.student = build(NETWORKS[network], INFO).train()
        if network in ("small_cnn", "resnet18"):
            self.student.to(memory_format=torch.channels_last)
        self.bf16 = bf16
        self.optimizer = adamw(param_groups(self.student, 0.05), lr=1e-3, weight_decay=0.05)
        self.image, self.target = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))

    def __call__(self) -> list[float]:
        """Do a step; give the milliseconds of its parts."""
        times = [time.process_time()]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.student(self.image).logits
        loss = F.cross_entropy(logits.float(), self.target)
        times.append(time.process_time())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        times.append(time.process_time())
        clip_gradients(self.optimizer, 1.0)
        self.optimizer.step()
        times.append(time.process_time())
        return [1e3 * (after - before) for before, after in pairwise(times)]


def spread(values: list[float]) -> list[float]:
    return [round(value, 1) for value in (statistics.median(values), min(values), max(values))]


def floor(step: Step, milliseconds: float) -> dict[str, float]:
    """Give the operations of a step's products (10⁹), the rate of a large product (10⁹/s), and what follows of them."""
    with FlopCounterMode(display=False) as counter:
        step()
    kind = torch.bfloat16 if step.bf16 else torch.float32
    left, right = torch.randn(2, SIDE, SIDE).to(kind).unbind()
    taken = []
    for _ in range(PRODUCTS):
        began = time.process_time()
        left @ right
        taken.append(time.process_time() - began)
    rate = 2 * SIDE**3 / statistics.median(taken)
    least = 1e3 * counter.get_total_flops() / rate
    return {
        "gflop": round(counter.get_total_flops() / 1e9, 1),
        "product_gflop_per_second": round(rate / 1e9, 1),
        "milliseconds": round(least, 1),
        "step_over_floor": round(milliseconds / least, 2),
    }


def other_path(step: Step, count: int) -> dict[str, list[float]]:
    """Time whole steps on both attention paths, in turns; nothing for a network without attention."""
    modules: list[nn.Module] = attention_modules(step.student)
    times: dict[str, list[float]] = {"explicit": [], "fused": []} if modules else {}
    for _ in range(count):
        for path, found in times.items():
            for module in modules:
                module.fused_attn = path == "fused"  # type: ignore[assignment]
            step()  # what the other path left in the caches
            found.append(sum(step()))
    return {path: spread(found) for path, found in times.items()}


def compiled(network: str, batch: int, count: int, bf16: bool) -> dict[str, Any]:
    """Time steps of a network as it is and compiled, in turns; give the CPU seconds that compiling takes, too."""
    ways = {"plain": Step(network, batch, bf16), "compiled": Step(network, batch, bf16)}
    ways["compiled"].student.compile()
    before = cpu_seconds()
    for _ in range(2):
        ways["compiled"]()
    taken = cpu_seconds() - before
    ways["plain"]()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(count):
        for way, step in ways.items():
            times[way].append(sum(step()))
    ratios = [plain / fast for plain, fast in zip(times["plain"], times["compiled"], strict=True)]
    three = [round(value, 3) for value in (statistics.median(ratios), min(ratios), max(ratios))]
    own = {way: spread(each) for way, each in times.items()}
    return {**own, "plain_over_compiled": three, "compile_cpu_seconds": round(taken, 1)}


def cpu_seconds() -> float:
    """Give the CPU time of this process and of those that it has ended, as a C++ compiler is."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def measured(network: str, batch: int, count: int, bf16: bool) -> dict[str, Any]:
    step = Step(network, batch, bf16)
    step()
    parts = list(zip(*(step() for _ in range(count)), strict=True))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    return {
        "milliseconds": {part: spread(list(each)) for part, each in zip(PARTS, parts, strict=True)},
        "floor": floor(step, statistics.median(sum(each) for each in zip(*parts, strict=True))),
        "percent": {row.key: round(100 * row.self_cpu_time_total / total, 1) for row in rows[:MOST]},
        "attention": other_path(step, count),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--precision", choices=["auto", "32-true", "bf16-mixed"], default="auto")
    parser.add_argument("--compile", action="store_true", help="also of a compiled network: a minute or two for each")
    parser.add_argument("--quick", action="store_true", help="batches of 16, three steps")
    args = parser.parse_args()
    batch, count = (16, 3) if args.quick else (args.batch, args.steps)
    torch.set_num_threads(1)
    precision = choose_precision(args.precision, "cpu")
    bf16 = precision == "bf16-mixed"
    networks = {each: measured(each, batch, count, bf16) for each in args.networks}
    if args.compile:
        for each, found in networks.items():
            found["compile"] = compiled(each, batch, count, bf16)
    result = {
        "benchmark": "profile_step",
        "batch": batch,
        "precision": precision,
        "networks": networks,
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
