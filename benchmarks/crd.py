"""CRD's scores and loss, forward and backward: one product with the bank against a gather of the bank's vectors.

    python benchmarks/crd.py
    python benchmarks/crd.py --batch 4 --bank 100 --dim 8 --negatives 20 --rounds 1      # whether it runs

``dense`` is this package's ``crd_scores``: the product of the anchors with the whole bank, of which the scalars are
gathered. ``gathered`` is the way of RepDistiller's ``crd/memory.py``: the bank's vectors ``(B, 1 + K, d)`` are gathered
and multiplied image by image. The loss, its constant Z and the indices are the same; each step ends with the gradient
of the anchors. The ways take turns in every round, after one step of each that is not counted; seconds are medians over
rounds, the ratio the median of each round's. The differences are relative to the largest value. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial

import torch
from images import timed
from torch import Tensor
from torch.nn import functional as F

from kdbias.functional import crd_loss, crd_scores
from kdbias.runs.result import environment

TEMPERATURE = 0.07

Scores = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def gathered(anchor: Tensor, bank: Tensor, indices: Tensor, temperature: float) -> Tensor:
    """Give the scores ``(B, 1 + K)`` from the gathered vectors ``(B, 1 + K, d)``."""
    vectors = bank.index_select(0, indices.flatten()).view(*indices.shape, bank.shape[1])
    return torch.bmm(vectors, anchor[:, :, None]).squeeze(2).div(temperature).exp()


WAYS: dict[str, Scores] = {"dense": crd_scores, "gathered": gathered}


def step(scores: Scores, anchor: Tensor, bank: Tensor, indices: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Give the loss and the gradient ``(B, d)`` of the anchors."""
    anchor = anchor.detach().requires_grad_()
    loss = crd_loss(scores(anchor, bank, indices, TEMPERATURE) / z, len(bank))
    loss.backward()
    assert anchor.grad is not None
    return loss.detach(), anchor.grad


def difference(one: Tensor, other: Tensor) -> float:
    """Give the largest difference as a part of the largest value."""
    return ((one - other).abs().max() / other.abs().max()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--negatives", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    device, generator = torch.device(args.device), torch.Generator().manual_seed(0)
    anchor, bank = (F.normalize(torch.randn(k, args.dim, generator=generator)) for k in (args.batch, args.bank))
    indices = torch.randint(args.bank, (args.batch, 1 + args.negatives), generator=generator)
    anchor, bank, indices = anchor.to(device), bank.to(device), indices.to(device)
    z = crd_scores(anchor, bank, indices, TEMPERATURE).mean() * args.bank
    work = {name: partial(step, scores, anchor, bank, indices, z) for name, scores in WAYS.items()}
    (loss, gradient), (other_loss, other_gradient) = work["dense"](), work["gathered"]()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, function in work.items():
            seconds[name].append(timed(function, device))
    result = {
        "benchmark": "crd",
        "batch": args.batch,
        "bank": args.bank,
        "dim": args.dim,
        "negatives": args.negatives,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "rounds": args.rounds,
        "seconds": {name: round(statistics.median(each), 4) for name, each in seconds.items()},
        "gathered_over_dense": round(
            statistics.median(a / b for a, b in zip(seconds["gathered"], seconds["dense"], strict=True)), 2
        ),
        "loss_difference": difference(loss, other_loss),
        "gradient_difference": difference(gradient, other_gradient),
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
