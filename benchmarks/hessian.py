"""What a product with a Hessian costs: ours, exact and by differences, against PyHessian and curvlinops.

    python benchmarks/hessian.py
    python benchmarks/hessian.py --network small_vit --images 32 --vectors 2 --rounds 1
    PYTHONPATH=<where they are> python benchmarks/hessian.py          with pyhessian and curvlinops-for-pytorch

All multiply the Hessian of the same network's mean cross-entropy over the same images, in eval mode, fp32, explicit
attention, with the same random vectors; they take turns within a round. Seconds are a product's, medians over rounds,
with the first gradient's graph, which each builds once a round, shared out over the vectors; ``exact_alone`` is ours
with one vector a call, as in a Lanczos run, where the graph is built for every product.

A product differentiates the gradient's graph, which is twice the work of building it. So a peer that keeps the graph
of all images (PyHessian with one batch) and one that builds it anew for all vectors together (ours) cost alike in
operations. Ours is built for ``--chunk`` images at a time: memory is that of one chunk (50 MB an image for
DeiT-Tiny, some 13 GB for 256 at once), and tensors of some megabytes are reused by the allocator, where those
of 256 images come from the system, page by page, each time. ``--peer-batch`` splits the peers' data too.

Prints one JSON line. ``error`` is the norm of the difference to the exact product, relative; a peer that cannot be
imported is null (curvlinops 3 differs by about 1e-3 on DeiT: see pytorch #196700 on ``layer_norm``).
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from images import INFO, now
from torch import Tensor, nn

from kdbias.config.build import build
from kdbias.functional.hessian.product import HessianProduct
from kdbias.functional.hessian.trace import random_signs
from kdbias.models.attention_path import attention_modules
from kdbias.models.features import Extractor
from kdbias.probes.hessian import loss_parts
from kdbias.runs.result import environment

try:
    from pyhessian import hessian as pyhessian
    from pyhessian.utils import hessian_vector_product
except ImportError:
    pyhessian = None
try:
    from curvlinops import HessianLinearOperator
except ImportError:
    HessianLinearOperator = None

NETWORKS: dict[str, dict[str, Any]] = {
    "deit_tiny": {"_target_": "kdbias.models.deit.deit_tiny"},
    "resnet20": {"_target_": "kdbias.models.resnet_cifar.resnet20"},
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 32, "depth": 2, "heads": 2},
}
Products = Callable[[Tensor], Tensor]
"""Maps vectors ``(m, P)`` to products, with all that it takes to get ready."""


class Logits(nn.Module):
    """What the peers take: a network that gives logits; its mode and attention path stay when they ask for eval."""

    def __init__(self, network: Extractor) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> Logits:
        """Leave all as it is."""
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Give the logits."""
        logits: Tensor = self.network(image).logits
        return logits


def ours(
    network: Extractor, image: Tensor, target: Tensor, chunk: int, method: Any = "exact", together: bool = True
) -> Products:
    def products(vectors: Tensor) -> Tensor:
        losses = loss_parts(network, image, target, chunk)
        product = HessianProduct(losses, network.parameters(), method=method, keep=False)
        return product(vectors) if together else torch.stack([product(vector) for vector in vectors])

    return products


def of_pyhessian(network: Extractor, data: list[tuple[Tensor, Tensor]]) -> Products:
    """One batch keeps its graph; of several the graph of each is built for each product."""

    def products(vectors: Tensor) -> Tensor:
        given = {"data": data[0]} if len(data) == 1 else {"dataloader": data}
        found = pyhessian(Logits(network), nn.CrossEntropyLoss(), cuda=vectors.is_cuda, **given)
        rows = []
        for vector in vectors:
            parts = split(vector, found.params)
            if len(data) == 1:
                row = hessian_vector_product(found.gradsH, found.params, parts)
            else:
                row = found.dataloader_hv_product(parts)[1]
            rows.append(torch.cat([part.detach().reshape(-1) for part in row]))
        network.zero_grad()
        return torch.stack(rows)

    return products


def of_curvlinops(network: Extractor, data: list[tuple[Tensor, Tensor]]) -> Products:
    def products(vectors: Tensor) -> Tensor:
        model = Logits(network)
        parameters = list(model.parameters())
        operator = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False)
        return torch.stack([operator @ vector for vector in vectors])

    return products


def split(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    return [part.view(p.shape) for part, p in zip(vector.split([p.numel() for p in like]), like, strict=True)]


def timed(products: Products, vectors: Tensor) -> tuple[float, Tensor]:
    """Give seconds a product, and the products."""
    began = now(vectors.device)
    found = products(vectors).detach()
    return (now(vectors.device) - began) / len(vectors), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="deit_tiny")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=16)
    parser.add_argument("--peer-batch", type=int, default=None, help="images a batch of the peers; all")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network: Extractor = build(NETWORKS[args.network], INFO).to(device).eval()
    for module in attention_modules(network):
        module.fused_attn = False
    image = torch.rand(args.images, 3, 32, 32, device=device)
    target = torch.randint(10, (args.images,), device=device)
    batch = args.peer_batch or args.images
    data = list(zip(image.split(batch), target.split(batch), strict=True))
    contestants: dict[str, Products] = {
        "exact": ours(network, image, target, args.chunk),
        "exact_alone": ours(network, image, target, args.chunk, together=False),
        "finite_difference": ours(network, image, target, args.chunk, "finite_difference"),
        "central_difference": ours(network, image, target, args.chunk, "central_difference"),
    }
    if pyhessian is not None:
        contestants["pyhessian"] = of_pyhessian(copy.deepcopy(network), data)
    if HessianLinearOperator is not None:
        contestants["curvlinops"] = of_curvlinops(copy.deepcopy(network), data)
    vectors = random_signs(args.vectors, HessianProduct([], network.parameters()), torch.Generator().manual_seed(0))

    ours(network, image[:2], target[:2], 2)(vectors[:1])  # imports and kernels

    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    errors: dict[str, float] = {}
    for _ in range(args.rounds):
        exact = None
        for name, products in contestants.items():
            spent, found = timed(products, vectors)
            seconds[name].append(spent)
            exact = found if exact is None else exact
            errors[name] = float((found - exact).norm() / exact.norm())
    print(json.dumps(report(args, vectors.shape[1], seconds, errors)))


def report(
    args: argparse.Namespace, parameters: int, seconds: dict[str, list[float]], errors: dict[str, float]
) -> dict[str, Any]:
    def ratio(slow: str, fast: str) -> float | None:
        if slow not in seconds or fast not in seconds:
            return None
        return round(statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)), 3)

    names = ["exact", "exact_alone", "finite_difference", "central_difference", "pyhessian", "curvlinops"]
    return {
        "benchmark": "hessian",
        "network": args.network,
        "parameters": parameters,
        "images": args.images,
        "vectors": args.vectors,
        "chunk": args.chunk,
        "seconds": {name: round(statistics.median(seconds[name]), 4) if name in seconds else None for name in names},
        "error": {name: float(f"{errors[name]:.2g}") if name in errors else None for name in names[1:]},
        "pyhessian_over_exact": ratio("pyhessian", "exact"),
        "curvlinops_over_exact": ratio("curvlinops", "exact"),
        "exact_over_finite_difference": ratio("exact", "finite_difference"),
        "exact_alone_over_finite_difference": ratio("exact_alone", "finite_difference"),
        "exact_over_central_difference": ratio("exact", "central_difference"),
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
