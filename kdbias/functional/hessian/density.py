"""The spectral density of a loss's Hessian."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdbias.functional.hessian.product import HessianProduct, Losses, as_product, finite
from kdbias.functional.hessian.trace import random_signs


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of a Hessian: ``nodes`` and ``weights``, ``(starts, steps)`` in fp64.

    The weights of one start sum to 1: each node stands for that share of all P eigenvalues, or of those near it.
    """

    nodes: Tensor
    weights: Tensor

    def density(self, points: int = 512, width: float = 0.01) -> tuple[Tensor, Tensor]:
        """Give a grid over the spectrum and the density on it, ``(points,)`` each.

        Each node is a Gaussian whose standard deviation is ``width`` times the range of the nodes. The density is the
        mean over starts; it integrates to 1 over all numbers.
        """
        low, high = float(self.nodes.min()), float(self.nodes.max())
        sigma = width * (high - low) or width * max(abs(high), 1.0)
        grid = torch.linspace(low - 5 * sigma, high + 5 * sigma, points, dtype=torch.float64)
        bells = torch.exp(-0.5 * ((grid[:, None, None] - self.nodes) / sigma).square())
        return grid, (bells * self.weights).sum((1, 2)) / (len(self.nodes) * sigma * (2 * torch.pi) ** 0.5)


def hessian_spectrum(
    loss: Losses | HessianProduct,
    parameters: Iterable[Tensor],
    steps: int,
    starts: int = 1,
    generator: torch.Generator | None = None,
) -> Spectrum:
    """Estimate the spectrum by stochastic Lanczos quadrature: ``steps`` Lanczos steps from ``starts`` random vectors.

    All starts take their steps together, so that one graph serves the products of all. Every new vector is
    orthogonalised against all earlier ones, twice; otherwise large eigenvalues appear in several copies. The estimate
    holds ``starts * steps`` vectors of P numbers in memory.

    Args:
        loss: A callable without arguments, the parts of a sum, or a ``HessianProduct``.
        parameters: The tensors that ``loss`` (a scalar) is differentiated by, of P numbers in all.
        steps: Products for each start; nodes of the quadrature.
        starts: Number of random vectors (of signs).
        generator: Draws them, on the CPU; seeded with 0 where None.

    Raises:
        ValueError: steps or starts below 1.
        CurvatureError: the loss, its gradient or a product is not finite.

    Source: Ghorbani, Krishnan and Xiao, ICML 2019 (arXiv:1901.10159); Yao et al., PyHessian, 2020 (arXiv:1912.07145).
    """
    if steps < 1 or starts < 1:
        raise ValueError(f"steps and starts must be at least 1, got {steps} and {starts}")
    product = as_product(loss, parameters)
    first = random_signs(starts, product, generator or torch.Generator().manual_seed(0))
    diagonal, beside = _tridiagonal(product, first / product.size**0.5, min(steps, product.size))
    matrices = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    nodes, vectors = torch.linalg.eigh(matrices)
    return Spectrum(finite(nodes, "the spectrum"), vectors[:, 0].square())


def _tridiagonal(product: HessianProduct, vectors: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Give the diagonals ``(starts, steps)`` and ``(starts, steps - 1)`` of H in each start's Krylov space.

    If that space is exhausted, the next vector is 0, and the following nodes have no weight.
    """
    starts, size = vectors.shape
    basis = torch.zeros(starts, steps, size, dtype=product.dtype, device=product.device)
    diagonal = torch.zeros(starts, steps, dtype=torch.float64)
    beside = torch.zeros(starts, steps, dtype=torch.float64)
    basis[:, 0] = vectors
    scale = torch.zeros(starts, dtype=torch.float64)
    for step in range(steps):
        image = product(basis[:, step])
        diagonal[:, step] = (image.double() * basis[:, step].double()).sum(1).cpu()
        scale = torch.maximum(scale, image.double().norm(dim=1).cpu())
        if step + 1 == steps:
            break
        for _ in range(2):
            known = basis[:, : step + 1]
            image = image - ((known @ image[:, :, None]).transpose(1, 2) @ known)[:, 0]
        length = image.double().norm(dim=1)
        there = length.cpu() > 100 * torch.finfo(product.dtype).eps * scale
        beside[:, step] = torch.where(there, length.cpu(), 0)
        inverse = torch.where(there, 1 / length.cpu().clamp_min(1e-300), 0)
        basis[:, step + 1] = image * inverse.to(image)[:, None]
    return diagonal, beside[:, :-1]
