"""Extreme eigenvalues of a loss's Hessian."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdbias.functional.hessian.product import CurvatureError, HessianProduct, Losses, as_product, finite
from kdbias.functional.hessian.trace import Eigenpairs, random_signs

Which = Literal["LA", "SA", "LM", "BE"]
SMALL = 100  # parameters; below it, a Lanczos run would take about as many products as the whole matrix


def hessian_eigenvalues(
    loss: Losses | HessianProduct,
    parameters: Iterable[Tensor],
    k: int,
    which: Which = "LA",
    *,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
    most: int = 2000,
) -> Tensor:
    """Give k extreme eigenvalues of the Hessian of ``loss``, ``(k,)`` fp64, the most extreme first.

    Arguments as for ``hessian_eigenpairs``, which gives the vectors too.

    >>> w = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    >>> hessian_eigenvalues(lambda: (w**3).sum(), [w], 1, which="SA")
    tensor([-18.], dtype=torch.float64)
    """
    product = as_product(loss, parameters)
    return hessian_eigenpairs(product, k, which, generator=generator, tolerance=tolerance, most=most)[0]


def hessian_eigenpairs(
    product: HessianProduct,
    k: int,
    which: Which = "LA",
    *,
    generator: torch.Generator | None = None,
    tolerance: float | None = None,
    most: int = 2000,
) -> Eigenpairs:
    """Give k extreme eigenvalues ``(k,)`` in fp64 and their vectors ``(k, P)``, the most extreme first.

    By Lanczos iterations with full orthogonalisation (ARPACK); for small problems, from the whole matrix.

    Args:
        product: Of the Hessian.
        k: Number of eigenvalues.
        which: ``"LA"``, the largest; ``"SA"``, the smallest, so the most negative; ``"LM"``, the largest in magnitude;
            ``"BE"``, k / 2 at each end, ascending, which costs less than two separate calls.
        generator: Draws the first vector, on the CPU; seeded with 0 where None.
        tolerance: Of |Hq - λq| relative to |λ|; the error of λ is below it, and of its square where λ stands apart.
            1e-6 in fp64 and 1e-4 in fp32 where None.
        most: Largest number of products.

    Raises:
        ValueError: a k that is not 1 to P, or another ``which``.
        CurvatureError: not converged within ``most`` products, or anything is not finite.

    Source: Lehoucq, Sorensen and Yang, ARPACK users' guide, 1998.
    """
    if which not in ("LA", "SA", "LM", "BE"):
        raise ValueError(f"which must be LA, SA, LM or BE, got {which!r}")
    if not 1 <= k <= product.size:
        raise ValueError(f"k must be 1 to the number of parameters, {product.size}, got {k}")
    if product.size <= max(SMALL, 3 * k):
        values, vectors = _dense(product)
    else:
        values, vectors = _lanczos(product, k, which, generator, tolerance, most)
    order = _order(values, k, which)
    return finite(values[order], "an eigenvalue"), vectors[order]


def _order(values: Tensor, k: int, which: Which) -> Tensor:
    if which == "BE":
        ascending = values.argsort()
        return torch.cat((ascending[: k // 2], ascending[len(values) - (k + 1) // 2 :]))
    key = {"LA": -values, "SA": values, "LM": -values.abs()}[which]
    return key.argsort()[:k]


def _dense(product: HessianProduct) -> Eigenpairs:
    matrix = product(torch.eye(product.size, dtype=product.dtype, device=product.device)).double().cpu()
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values, vectors.T.contiguous()


def _lanczos(
    product: HessianProduct, k: int, which: Which, generator: torch.Generator | None, tolerance: float | None, most: int
) -> Eigenpairs:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    kind: npt.DTypeLike = np.float64 if product.dtype == torch.float64 else np.float32

    def multiply(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        found: npt.NDArray[np.floating] = product(torch.from_numpy(vector.reshape(-1).copy())).cpu().numpy()
        return found

    operator = LinearOperator((product.size, product.size), matvec=multiply, dtype=kind)
    start = random_signs(1, product, generator or torch.Generator().manual_seed(0))[0].cpu().numpy()
    basis = min(product.size, max(4 * k, 20))
    tolerance = tolerance or (1e-6 if kind is np.float64 else 1e-4)
    rounds = max(1, (most - basis) // max(1, basis - k))
    try:
        values, vectors = eigsh(operator, k, which=which, v0=start, ncv=basis, tol=tolerance, maxiter=rounds)
    except ArpackNoConvergence as error:
        raise CurvatureError(
            f"no eigenvalues: {len(error.eigenvalues)} of {k} ({which}) converged to {tolerance:g} within {most} "
            "products with the Hessian; allow more, or a larger tolerance"
        ) from error
    return torch.from_numpy(values).double(), torch.from_numpy(np.ascontiguousarray(vectors.T))
