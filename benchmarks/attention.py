"""Attention statistics of DeiT-Tiny: the probe against plain forward passes with the same, unfused attention.

    python benchmarks/attention.py
    python benchmarks/attention.py --images 64 --batch 32 --rounds 1      # whether it runs

``forward`` are passes of the network alone with explicit attention maps, ``fused`` with the fused kernel; ``probe`` is
distance, entropy and CLS statistics of every head besides. ``cka`` and ``shared`` are the CKA probe alone and both in
one pass: what they cost together over what they cost apart is ``shared_over_apart``. The ways take turns in every
round; seconds are medians over rounds, ratios medians of each round's. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from images import INFO, make_batches, timed

from kdbias.batch import Batch
from kdbias.models.attention_path import unfused
from kdbias.models.deit import vit_tiny
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.modules.trainer import choose_precision
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.cka import CKAProbe
from kdbias.probes.observe import observe
from kdbias.runs.result import environment


def forward(network: Extractor, batches: list[Batch], precision: Precision, fused: bool) -> None:
    with evaluation(network, precision), nullcontext() if fused else unfused(network):
        for batch in batches:
            network.network(network.prepare(batch.image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    device = torch.device(args.device)
    chosen = choose_precision("auto", "gpu" if device.type == "cuda" else "cpu")
    precision: Precision = ("bf16" if "bf16" in chosen else "fp32") if args.precision == "auto" else args.precision
    torch.manual_seed(0)
    network: Extractor = vit_tiny(INFO).to(device).eval()
    batches = make_batches(args.images, args.batch, device)
    probe, cka = AttentionProbe(precision=precision), CKAProbe(precision=precision)
    work: dict[str, Callable[[], Any]] = {
        "forward": partial(forward, network, batches, precision, fused=False),
        "fused": partial(forward, network, batches, precision, fused=True),
        "probe": partial(probe, network, batches),
        "cka": partial(cka, network, batches),
        "shared": partial(observe, network, batches, {"attention": probe, "cka": cka}),
    }
    probe(network, batches[:1])  # the first pass is slower
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, function in work.items():
            seconds[name].append(timed(function, device))
    together = zip(seconds["shared"], seconds["probe"], seconds["cka"], strict=True)
    result = {
        "benchmark": "attention",
        "images": args.images,
        "batch": args.batch,
        "precision": precision,
        "device": device.type,
        "rounds": args.rounds,
        "seconds": {name: round(statistics.median(each), 3) for name, each in seconds.items()},
        "probe_over_forward": round(
            statistics.median(a / b for a, b in zip(seconds["probe"], seconds["forward"], strict=True)), 3
        ),
        "shared_over_apart": round(statistics.median(a / (b + c) for a, b, c in together), 3),
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
