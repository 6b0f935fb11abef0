"""How long OpenMP's threads should spin before they sleep: a training step on an idle machine and beside other work.

    python benchmarks/spin.py
    python benchmarks/spin.py --load 2
    python benchmarks/spin.py --quick

Every setting is a process of its own, because libgomp reads its settings when a process starts. The settings take turns
over ``--rounds``. ``--load N`` starts N processes that compute all the time, one thread each, so that the threads of
training wait for a core; on a machine that is busy anyway leave it at 0. A setting's value is the median over rounds of
images/s of wall time, with the smallest and largest; ``over_default`` is the ratio of medians to that of no setting.
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
from collections.abc import Iterator
from contextlib import contextmanager

from kdbias.late import put_off

with put_off():
    import torch
    from images import INFO
    from torch.nn import functional as F

    from kdbias.config.build import build
    from kdbias.modules.optim import adamw, param_groups
    from kdbias.runs.result import environment

NETWORKS = {
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 64, "depth": 6, "heads": 2},
    "deit_tiny": {"_target_": "kdbias.models.deit.deit_tiny"},
}
SETTINGS = {
    "default": {},
    "passive, 0": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    **{f"spin {count}": {"GOMP_SPINCOUNT": str(count)} for count in (1_000, 10_000, 100_000)},
}
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
BUSY = "while True:\n    sum(range(100000))"


def measure(network: str, batch: int, seconds: float) -> float:
    """Train for about ``seconds`` in this process; give images/s over all but the first two steps."""
    torch.manual_seed(0)
    student = build(NETWORKS[network], INFO).train()
    optimizer = adamw(param_groups(student, 0.05), lr=1e-3, weight_decay=0.05)
    image, target = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))
    began, steps = 0.0, -2
    while steps < 3 or time.perf_counter() - began < seconds:
        if steps == 0:
            began = time.perf_counter()
        loss = F.cross_entropy(student(image).logits, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps += 1
    return batch * steps / (time.perf_counter() - began)


def in_a_process(setting: str, network: str, args: argparse.Namespace) -> float:
    variables = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    variables |= {**SETTINGS[setting], "OMP_NUM_THREADS": str(args.threads)}
    command = [sys.executable, __file__, "--child", network, "--batch", str(args.batch), "--seconds", str(args.seconds)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` cores busy in the block."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=sorted(NETWORKS), default=sorted(NETWORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6.0, help="of timed steps, for each setting and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--quick", action="store_true", help="the small network, one round of two seconds")
    parser.add_argument("--child", choices=sorted(NETWORKS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(measure(args.child, args.batch, args.seconds))
        return
    if args.quick:
        args.networks, args.rounds, args.seconds = ["small_vit"], 1, 2.0
    rates: dict[str, list[float]] = {}
    with busy(args.load):
        for _ in range(args.rounds):
            for network in args.networks:
                for setting in SETTINGS:
                    rate = in_a_process(setting, network, args)
                    rates.setdefault(f"{network}: {setting}", []).append(rate)
                    print(f"{network}: {setting}: {rate:.1f} images/s", file=sys.stderr, flush=True)
    result = {
        "benchmark": "spin",
        "threads": args.threads,
        "batch": args.batch,
        "load": args.load,
        "load_average": round(os.getloadavg()[0], 1),
        "images_per_second": {
            name: [round(value, 1) for value in (statistics.median(found), min(found), max(found))]
            for name, found in rates.items()
        },
        "over_default": {
            name: round(statistics.median(found) / statistics.median(rates[f"{name.split(':')[0]}: default"]), 3)
            for name, found in rates.items()
        },
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
