"""Training on a CPU: what attention path, precision, memory order, allocator and compilation each give, in images/s.

    python benchmarks/cpu.py
    python benchmarks/cpu.py --networks resnet18 --batch 256 --seconds 20
    python benchmarks/cpu.py --networks vit_tiny --precisions fp32 --no-compile --rounds 2

Every setting is a process of its own, because the allocator reads its settings when a process starts. A setting's value
is the median step over about ``--seconds``, after one warm-up step, on random images by CE and fused AdamW; with
``--rounds`` above 1 the settings take turns and the best round counts. What takes longer than ``--timeout`` is null.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from images import INFO
from torch.nn import functional as F

from kdbias.config.build import build
from kdbias.models import attention_path
from kdbias.modules.optim import adamw, param_groups
from kdbias.runs.result import environment
from kdbias.start import ALLOCATOR

NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny": {"_target_": "kdbias.models.deit.vit_tiny"},
    "deit_tiny": {"_target_": "kdbias.models.deit.deit_tiny"},
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 64, "depth": 6, "heads": 2},
    "resnet18": {"_target_": "kdbias.models.resnet_cifar.resnet18"},
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
}


@dataclass(frozen=True)
class Setting:
    """One process: a network and how it is run; ``fused`` is for attention, ``channels_last`` for CNNs."""

    network: str
    bf16: bool
    fused: bool = False
    channels_last: bool = False
    allocator: bool = False
    compiled: bool = False

    @property
    def name(self) -> str:
        """The setting in words, the network first."""
        own = ("channels_last" if self.channels_last else "nchw") if is_cnn(self.network) else ""
        path = "" if is_cnn(self.network) else ("fused" if self.fused else "unfused")
        extra = ["allocator"] * self.allocator + ["compiled"] * self.compiled
        return " ".join([self.network, "bf16" if self.bf16 else "fp32", own or path, *extra])


def is_cnn(network: str) -> bool:
    return network.startswith("resnet") or network.endswith("cnn")


def settings(networks: list[str], precisions: list[str], compiled: list[bool]) -> list[Setting]:
    found = []
    for network in networks:
        for bf16, order, allocator in product([p == "bf16" for p in precisions], (True, False), (False, True)):
            if is_cnn(network):
                found.append(Setting(network, bf16, channels_last=not order, allocator=allocator))
            else:
                found += [Setting(network, bf16, fused=order, allocator=allocator, compiled=c) for c in compiled]
    return found


def measure(setting: Setting, batch: int, seconds: float) -> dict[str, float]:
    """Train for about ``seconds`` in this process; give images/s and the seconds of the first step."""
    torch.manual_seed(0)
    network = build(NETWORKS[setting.network], INFO).train()
    for module in attention_path.attention_modules(network):
        module.fused_attn = setting.fused
    if setting.channels_last:
        network.to(memory_format=torch.channels_last)
    if setting.compiled:
        network.compile()
    optimizer = adamw(param_groups(network, 0.05), lr=1e-3, weight_decay=0.05)
    image, target = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.bf16):
            logits = network(image).logits
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), target).backward()
        optimizer.step()
        return time.perf_counter() - began

    first = step()
    times = [step()]
    while sum(times) < seconds:
        times.append(step())
    return {"images_per_second": batch / statistics.median(times), "first_step": first, "steps": len(times)}


def in_a_process(setting: Setting, args: argparse.Namespace) -> dict[str, float] | None:
    variables = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
    variables |= ALLOCATOR if setting.allocator else {}
    command = [sys.executable, __file__, "--child", json.dumps(asdict(setting))]
    command += ["--batch", str(args.batch), "--seconds", str(args.seconds)]
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=args.timeout, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{setting.name}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def best_rounds(args: argparse.Namespace) -> dict[str, float | None]:
    rates: dict[str, float | None] = {}
    for _ in range(args.rounds):
        for setting in settings(args.networks, args.precisions, [False, True] if args.compile else [False]):
            found = in_a_process(setting, args)
            before = rates.get(setting.name)
            rate = round(found["images_per_second"], 1) if found else None
            rates[setting.name] = max(filter(None, (before, rate)), default=None)
            print(f"{setting.name}: {rate} images/s", file=sys.stderr, flush=True)
    return rates


def ratios(rates: dict[str, float | None]) -> dict[str, float]:
    """Give the best setting of each network against its plain ones (for a ViT timm's default path) in fp32 and bf16."""
    found = {}
    for network in dict.fromkeys(name.split()[0] for name in rates):
        own = {name: rate for name, rate in rates.items() if name.split()[0] == network and rate}
        best = max(own.values(), default=0.0)
        for reference in ("fp32 nchw", "bf16 nchw") if is_cnn(network) else ("fp32 fused", "bf16 fused"):
            if rate := own.get(f"{network} {reference}"):
                found[f"{network}: best / {reference}"] = round(best / rate, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=["deit_tiny", "resnet18"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timed steps, for each setting")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds that one setting may take in all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Setting(**json.loads(args.child)), args.batch, args.seconds)))
        return
    rates = best_rounds(args)
    result = {
        "benchmark": "cpu",
        "batch": args.batch,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "images_per_second": rates,
        "ratios": ratios(rates),
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
