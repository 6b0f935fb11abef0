"""CKA of DeiT-Tiny, 12 layers by 12: this package's probe against its forward passes, and against torch_cka.

    pip install --no-deps --target PEERS torch_cka
    PYTHONPATH=PEERS python benchmarks/cka.py
    PYTHONPATH=PEERS python benchmarks/cka.py --images 64 --batch 32 --rounds 1      # whether it runs

``forward`` are the passes alone, ``probe`` the whole measurement, ``sums`` the probe's statistics of outputs that are
there already. The peer is timed with its passes, as it comes, and without them, on outputs that are there already:
``flat`` as its hooks give them, ``mean`` of each image's tokens, the samples that the probe takes. Its networks run
in the precision of ours, its statistics in fp32 as it has them, without gradients, which it does not see to itself.

The two do not give the same number. torch_cka 0.21 flattens all tokens, CLS among them, averages debiased HSIC over
the batches of its loader (Nguyen et al. 2021, eq. 3), in fp32 and without centring; it reads the network once for each
side, and makes the Gram matrix and the norm of the second side again for each layer of the first. The probe takes mean
patch tokens, and its result is that of all images at once; in fp64. ``difference`` compares this package's minibatch
estimator with the peer's on the same flattened tokens. The ways take turns in every round; seconds are medians over
rounds, ratios medians of each round's. The peer is null where it is not installed. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from typing import Any

import torch
from images import INFO, make_batches, timed
from torch import Tensor, nn

from kdbias.batch import Batch
from kdbias.functional import StreamingCKA
from kdbias.functional.cka.minibatch import MinibatchCKA
from kdbias.models.deit import vit_tiny
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.modules.trainer import choose_precision
from kdbias.probes.cka import CKAProbe
from kdbias.runs.result import environment

PEER = "torch_cka"


class Loader:
    """Batches as the peer wants them: pairs that begin with images."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.dataset = batches, "images"

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch.image, batch.target) for batch in self.batches)


class Passes(nn.Module):
    """The network for the peer: images in [0, 1] in, the precision of ours inside."""

    def __init__(self, network: Extractor, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, image: Tensor) -> Tensor:
        """Give the network's own output."""
        with evaluation(self.network, self.precision):
            return self.network.network(self.network.prepare(image))  # type: ignore[no-any-return]


class Replay(nn.Module):
    """Gives the peer outputs of layers that are there already, through modules that do nothing."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs
        self.layers = nn.ModuleList(nn.Identity() for _ in outputs)

    def forward(self, image: Tensor) -> None:
        """Hand every output to its module."""
        for layer, output in zip(self.layers, self.outputs, strict=True):
            layer(output)


def forward(network: Extractor, batches: list[Batch], precision: Precision) -> None:
    with evaluation(network, precision):
        for batch in batches:
            network.network(network.prepare(batch.image))


def sums(tokens: list[Tensor], count: int) -> Tensor:
    """The probe's statistics of ``count`` batches, the means of their tokens among them."""
    cka = StreamingCKA()
    for _ in range(count):
        cka.update([x.float().mean(1) for x in tokens])
    return cka.compute()


def peer(model: nn.Module, layers: list[str], batches: list[Batch], device: torch.device) -> Tensor:
    """Run torch_cka on ``model`` with itself, its hooks taken off again."""
    package: Any = importlib.import_module(PEER)
    with torch.no_grad(), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cka = package.CKA(model, model, model1_layers=layers, model2_layers=layers, device=device)
        loader = Loader(batches)
        cka.compare(loader, loader)
    for module in model.modules():
        module._forward_hooks.clear()
    return cka.export()["CKA"]  # type: ignore[no-any-return]


def outputs(network: Extractor, image: Tensor, precision: Precision) -> list[Tensor]:
    """Give the output ``(B, P+N, D)`` of each block."""
    with evaluation(network, precision):
        features = network(image)
    return [torch.cat(pair, dim=1) for pair in zip(features.prefix, features.tokens, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.images % args.batch:
        parser.error("--images must be so many whole batches: the peer averages over batches")

    device = torch.device(args.device)
    chosen = choose_precision("auto", "gpu" if device.type == "cuda" else "cpu")
    precision: Precision = ("bf16" if "bf16" in chosen else "fp32") if args.precision == "auto" else args.precision
    torch.manual_seed(0)
    network: Extractor = vit_tiny(INFO).to(device).eval()
    batches = make_batches(args.images, args.batch, device)
    count, prefix = len(batches), network.info.prefix
    blocks = outputs(network, batches[0].image, precision)
    tokens, flat = [x[:, prefix:] for x in blocks], Replay(blocks)
    mean = Replay([x.float().mean(1) for x in tokens])
    probe, passes = CKAProbe(precision=precision), Passes(network, precision)
    work: dict[str, Callable[[], Any]] = {
        "forward": partial(forward, network, batches, precision),
        "probe": partial(probe, network, batches),
        "sums": partial(sums, tokens, count),
    }
    difference = None
    if find_spec(PEER):
        inside = [f"network.network.blocks.{i}" for i in range(len(blocks))]
        names = [f"layers.{i}" for i in range(len(blocks))]
        work |= {
            "peer": partial(peer, passes, inside, batches, device),
            "peer_sums_flat": partial(peer, flat, names, batches, device),
            "peer_sums_mean": partial(peer, mean, names, batches, device),
        }
        ours = MinibatchCKA(batch=args.batch)
        ours.update([x.flatten(1) for x in blocks])
        difference = float((ours.compute().cpu() - peer(flat, names, batches[:1], device)).abs().max())
    forward(network, batches[:1], precision)  # the first pass is slower
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.rounds):
        for name, function in work.items():
            seconds[name].append(timed(function, device))

    def ratio(above: str, below: str) -> float | None:
        if above not in seconds:
            return None
        return round(statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True)), 3)

    result = {
        "benchmark": "cka",
        "images": args.images,
        "batch": args.batch,
        "layers": len(blocks),
        "precision": precision,
        "device": device.type,
        "rounds": args.rounds,
        "seconds": {name: round(statistics.median(each), 3) for name, each in seconds.items()},
        "probe_over_forward": ratio("probe", "forward"),
        "peer": f"{PEER} {version(PEER)}" if find_spec(PEER) else None,
        "peer_over_probe": ratio("peer", "probe"),
        "peer_over_probe_without_passes": ratio("peer_sums_flat", "sums"),
        "peer_over_probe_without_passes_same_samples": ratio("peer_sums_mean", "sums"),
        "difference": difference,
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
