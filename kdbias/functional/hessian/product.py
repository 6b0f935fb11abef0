"""Products of a loss's Hessian with vectors, without the Hessian itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdbias.functional.precision import without_autocast
from kdbias.late import eagerly

Loss = Callable[[], Tensor]
Losses = Loss | Sequence[Loss]
"""A scalar loss, or its parts, whose sum it is: the shares of several batches in a mean over all images."""
Method = Literal["exact", "finite_difference", "central_difference"]


class CurvatureError(RuntimeError):
    """The Hessian could not be measured: a value is not finite, or an iteration did not converge."""


class HessianProduct:
    """Maps vectors ``(P,)`` or ``(m, P)`` to their products with the Hessian of a loss, in the same shape.

    P counts the entries of all ``parameters``, in their order. ``loss`` takes no arguments and reads the
    parameters in place. Several parts stand for their sum, and only one part is in memory at a time. Parameters, their
    ``grad`` and the autograd mode are not changed.

    ``exact`` differentiates twice, reverse over reverse: forward-mode derivatives of affine ``layer_norm`` in
    ``torch.func``'s transforms are silently wrong (pytorch #196700). With ``keep`` the graph of the gradient stays for
    later calls. Without it each part's graph is built in every call, serves all vectors of the call, and is freed:
    a call with m vectors costs m products and half a product, in the memory of one part.

    ``finite_difference`` is (g(w + s v) - g(w)) / s: a gradient for each vector and one at w, less than half of an
    exact product. ``central_difference``, (g(w + s v) - g(w - s v)) / 2s, takes two gradients a vector and is about
    ten times nearer. s changes no weight by more than sqrt(eps) (central: eps^(1/3) / 2) of the weights' root mean
    square, where in fp32 rounding and curvature's own change err alike: about 2e-3 and 2e-4 of the product's norm.

    ``counted`` is called with the number of products so far, before each call's are made: they may take minutes.

    Attention through ``scaled_dot_product_attention`` takes its explicit kernel, as the fused ones have no second
    derivative; autocast is off; compiled modules run eagerly.

    Raises:
        ValueError: no parameters, one that requires no gradient, or vectors of another length.
        CurvatureError: the loss, its gradient or a product is not finite; it says which.
    """

    def __init__(
        self,
        loss: Losses,
        parameters: Iterable[Tensor],
        *,
        method: Method = "exact",
        keep: bool = True,
        counted: Callable[[int], None] | None = None,
    ) -> None:
        self.parameters = list(parameters)
        if not self.parameters or not all(p.requires_grad for p in self.parameters):
            raise ValueError("a Hessian needs parameters, all of which require gradients")
        if method not in ("exact", "finite_difference", "central_difference"):
            raise ValueError(f"method must be exact, finite_difference or central_difference, got {method!r}")
        self.losses: list[Loss] = [loss] if callable(loss) else list(loss)
        self.method, self.keep = method, keep
        self.size = sum(p.numel() for p in self.parameters)
        self.dtype, self.device = self.parameters[0].dtype, self.parameters[0].device
        self.count, self._counted = 0, counted  # products so far
        self._graphs: dict[int, list[Tensor | None]] = {}
        self._base: tuple[Tensor, Tensor] | None = None  # weights, and the gradient there

    def __call__(self, vectors: Tensor) -> Tensor:
        """Multiply the Hessian with each vector."""
        if vectors.shape[-1] != self.size or vectors.ndim > 2:
            raise ValueError(f"expected vectors of {self.size} entries, got {tuple(vectors.shape)}")
        rows = vectors.reshape(-1, self.size).to(self.device, self.dtype)
        self.count += len(rows)
        if self._counted is not None:
            self._counted(self.count)
        products = self._exact(rows) if self.method == "exact" else self._differences(rows)
        return finite(products, "a product with the Hessian").reshape(vectors.shape)

    def _exact(self, rows: Tensor) -> Tensor:
        products = torch.zeros_like(rows)
        for part in range(len(self.losses)):
            self._add(part, rows, products)
        return products

    def _add(self, part: int, rows: Tensor, products: Tensor) -> None:
        """Add what one part of the loss gives; its graph is freed on return, unless it is kept."""
        gradient = self._graphs.get(part) or gradient_of(self.losses[part], self.parameters, graph=True)[1]
        if self.keep:
            self._graphs[part] = gradient
        for row, product in zip(rows, products, strict=True):
            product += self._through(gradient, row)

    def _through(self, gradient: list[Tensor | None], row: Tensor) -> Tensor:
        """Differentiate ``gradient`` times ``row``; parameters in which the loss is linear have none."""
        split = zip(gradient, self._split(row), strict=True)
        pairs = [(g, v) for g, v in split if g is not None and g.requires_grad]
        if not pairs:
            return torch.zeros_like(row)
        outputs, weights = zip(*pairs, strict=True)
        second = torch.autograd.grad(outputs, self.parameters, weights, retain_graph=True, allow_unused=True)
        return self._flat(second)

    def _differences(self, rows: Tensor) -> Tensor:
        before = [p.detach().clone() for p in self.parameters]
        weights = self._flat(before)
        central = self.method == "central_difference"
        eps = torch.finfo(self.dtype).eps
        most = (eps ** (1 / 3) / 2 if central else eps**0.5) * (float(weights.norm()) / self.size**0.5 or 1.0)
        products = torch.zeros_like(rows)
        base = None if central else self._gradient_here(weights)
        try:
            for row, product in zip(rows, products, strict=True):
                largest = float(row.abs().max())
                if not largest:
                    continue
                step = most / largest
                other = self._gradient_at(weights - step * row) if base is None else base
                product += (self._gradient_at(weights + step * row) - other) / (2 * step if central else step)
        finally:
            self._move(before)
        return products

    def _gradient_here(self, weights: Tensor) -> Tensor:
        if self._base is None or not torch.equal(self._base[0], weights):
            self._base = weights, self._flat_gradient()
        return self._base[1]

    def _gradient_at(self, weights: Tensor) -> Tensor:
        self._move(self._split(weights))
        return self._flat_gradient()

    def _flat_gradient(self) -> Tensor:
        total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for loss in self.losses:
            total += self._flat(gradient_of(loss, self.parameters, graph=False)[1])
        return total

    @torch.no_grad()
    def _move(self, weights: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, weights, strict=True):
            parameter.copy_(value)

    def _split(self, row: Tensor) -> list[Tensor]:
        parts = torch.split(row, [p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def _flat(self, parts: Sequence[Tensor | None]) -> Tensor:
        pairs = zip(parts, self.parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).detach().reshape(-1) for g, p in pairs])


def as_product(loss: Losses | HessianProduct, parameters: Iterable[Tensor]) -> HessianProduct:
    """Give the exact product of ``loss``, or the product that it is already; of several parts one graph at a time.

    A loss is a scalar, ``parameters`` are of any shapes; the product takes and gives ``(k, P)``.
    """
    if isinstance(loss, HessianProduct):
        return loss
    return HessianProduct(loss, parameters, keep=callable(loss))


def gradient_of(loss: Loss, parameters: Sequence[Tensor], *, graph: bool) -> tuple[Tensor, list[Tensor | None]]:
    """Give ``loss`` and its gradient by each parameter, None for unused ones; with ``graph``, it can be differentiated.

    The loss is a scalar, each part of the gradient has the shape of its parameter.

    Raises:
        CurvatureError: one of them is not finite.
    """
    with _plain_kernels(parameters[0], twice=graph):
        value = loss()
        finite(value.detach(), "the loss")
        gradient: list[Tensor | None] = []
        gradient += torch.autograd.grad(value, parameters, create_graph=graph, allow_unused=True)
    for part in gradient:
        if part is not None:
            finite(part.detach(), "the gradient of the loss")
    return value.detach(), gradient


def finite(value: Tensor, name: str) -> Tensor:
    """Give ``value``, a scalar or of any other shape, as it is; ``name`` is what the error calls it.

    Raises:
        CurvatureError: not all of it is finite.
    """
    if not bool(torch.isfinite(value).all()):
        raise CurvatureError(
            f"no curvature: {name} is not finite (NaN or infinite); look at the weights and the images"
        )
    return value


@contextmanager
def _plain_kernels(like: Tensor, *, twice: bool) -> Iterator[None]:
    """Differentiate eagerly, in the parameters' own precision; with ``twice``, by kernels with a second derivative."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_autocast(like),
        sdpa_kernel(SDPBackend.MATH) if twice else nullcontext(),
        eagerly(),
    ):
        yield
