"""The trace of a loss's Hessian, estimated with random vectors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kdbias.functional.hessian.product import HessianProduct, Losses, as_product, finite

Eigenpairs = tuple[Tensor, Tensor]
"""Values ``(k,)`` and orthonormal vectors ``(k, P)``."""
TOGETHER = 16  # vectors that go through one graph and are in memory at a time


def hessian_trace(
    loss: Losses | HessianProduct,
    parameters: Iterable[Tensor],
    probes: int,
    generator: torch.Generator | None = None,
    *,
    eigenpairs: Eigenpairs | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate tr H by the mean of vᵀHv over random signs v, with the standard error of that mean over the vectors.

    Both are scalars in fp64. The error is that of ``probes`` vectors alone, not of the images; it is 0 where H is
    diagonal. Networks with equal parameter shapes and equally seeded generators are probed with the same vectors.

    Args:
        loss: A callable without arguments, the parts of a sum, or a ``HessianProduct``.
        parameters: The tensors that ``loss`` is differentiated by.
        probes: Number of vectors, at least 2.
        generator: Draws the vectors, on the CPU; seeded with 0 where None.
        eigenpairs: Some (approximate) eigenvalues with their vectors, to lower the error; see ``trace_samples``.

    Raises:
        ValueError: fewer than two vectors.
        CurvatureError: the loss, its gradient or a product is not finite.

    Source: Hutchinson, Communications in Statistics 1990; Avron and Toledo, Journal of the ACM 2011.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian_trace(lambda: (w**3).sum(), [w], 2)
    (tensor(18., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    samples = trace_samples(as_product(loss, parameters), probes, generator, eigenpairs)[0]
    return samples.mean(), samples.std() / probes**0.5


def trace_samples(
    product: HessianProduct,
    probes: int,
    generator: torch.Generator | None = None,
    eigenpairs: Eigenpairs | None = None,
) -> tuple[Tensor, Tensor]:
    """Give one estimate of the trace for each vector, ``(probes,)`` fp64, and the same without ``eigenpairs``.

    The error of vᵀHv comes from the off-diagonal part of H, most of it from a few large eigenvalues λ with vectors q.
    As E (qᵀv)² = 1, subtracting Σ λ ((qᵀv)² - 1) removes that error without changing the expectation, for any unit q
    and any λ. This is the idea of Hutch++ (Meyer et al., SOSA 2021, arXiv:2010.09649), with eigenvectors that were
    computed anyway, so it needs no further product.
    """
    if probes < 2:
        raise ValueError(f"a standard error needs at least 2 vectors, got {probes}")
    generator = generator or torch.Generator().manual_seed(0)
    plain, reduced = [], []
    for start in range(0, probes, TOGETHER):
        vectors = random_signs(min(TOGETHER, probes - start), product, generator)
        pairs = zip(vectors, product(vectors), strict=True)
        sample = torch.stack([v.double() @ image.double() for v, image in pairs])
        plain.append(sample)
        if eigenpairs is not None:
            values, basis = eigenpairs
            along = (vectors @ basis.to(vectors).T).double()
            sample = sample - (along.square() - 1) @ values.to(along)
        reduced.append(sample)
    return finite(torch.cat(reduced).cpu(), "the trace"), torch.cat(plain).cpu()


def random_signs(count: int, product: HessianProduct, generator: torch.Generator) -> Tensor:
    """Draw ``(count, P)`` of -1 and 1 (Rademacher), vector by vector: the first are the same whatever ``count`` is."""
    signs = torch.empty(count, product.size, dtype=product.dtype, device=product.device)
    for row in signs:
        row.copy_(torch.randint(2, row.shape, generator=generator, dtype=torch.int8, device=generator.device))
    return signs.mul_(2).sub_(1)
