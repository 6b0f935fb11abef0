"""Curvature of the loss at a network's weights: trace, eigenvalues and spectral density of the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.hessian.density import hessian_spectrum
from kdbias.functional.hessian.eigenvalues import hessian_eigenpairs
from kdbias.functional.hessian.product import CurvatureError, HessianProduct, Method, gradient_of
from kdbias.functional.hessian.trace import Eigenpairs, random_signs, trace_samples
from kdbias.functional.precision import without_autocast
from kdbias.models.attention_path import unfused
from kdbias.models.evaluation import evaluation
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.telling import tell

CPU_ROOM = 1e9  # bytes for one graph
GRAPH = 5  # peak memory of a product over what a forward pass holds: 50 MB to 10 MB for one image of DeiT-Tiny
LOSS = "cross-entropy of the answer's logits against hard labels, nats, mean over images"


@builder("probe")
@dataclass(frozen=True)
class HessianProbe(Probe):
    """Trace, extreme eigenvalues and spectral density of the loss's Hessian with respect to all trained parameters.

    The loss is the mean cross-entropy with hard labels on the first ``images`` images, whatever loss the network was
    trained with. The network runs in eval mode, fp32 and with explicit attention. If no parameter requires gradients,
    as in a teacher, all parameters count. The trace falls with the scale of the logits, and soft labels keep that
    scale low, so compare traces at similar ``loss``. If all weights are scaled by c, the trace falls with 1/c²
    although the function of a normalised network stays the same. ``trace_scaled``, the mean eigenvalue times ‖w‖²,
    stays the same too.

    Scalars: ``trace`` with ``trace_se``, its standard error over the vectors; the eigenvalues ``top`` (the largest),
    ``second`` (the next) and ``bottom`` (the most negative); ``loss`` (nats), ``trace_per_weight`` (trace/‖w‖²),
    ``trace_scaled``, ``weight_norm``, ``gradient_norm`` and ``n``; with a difference method ``product_error``, the norm
    of the error relative to the exact product, for the first vector. Arrays: ``trace_samples`` ``(vectors,)``, and
    ``trace_samples_plain``, the same before the contribution of the known eigenpairs was replaced by its exact value;
    ``eigenvalues_top`` and ``eigenvalues_bottom`` ``(k,)``; ``density_grid`` and ``density`` ``(512,)`` of the
    eigenvalues, with integral 1, and the ``density_nodes`` and ``density_weights`` ``(density_starts, density_steps)``
    behind them.

    Args:
        images: Number of images, the first ones.
        vectors: Random vectors for the trace. Networks of one architecture get the same vectors.
        k: Eigenvalues at each end of the spectrum; 0 for none.
        tolerance: Of an eigenpair's residual, relative to its eigenvalue.
        density_steps: Lanczos steps for the density; 0 for no density.
        density_starts: Random start vectors of these steps.
        method: How the trace's products are computed: ``exact``; ``finite_difference``, in half the time with an error
            of some tenths of a percent; ``central_difference``, with a tenth of that error but hardly faster than
            ``exact``. Eigenvalues and density always use exact products, because Lanczos iterations do not converge
            with the others.
        chunk: Images in one graph, 50 MB each for DeiT-Tiny at 32 pixels. None takes as many as fit into 1 GB on a
            CPU or a quarter of the memory of a GPU, given what the forward pass of one image holds.
        keep: Whether the graphs of all chunks stay in memory, which makes eigenvalues a third cheaper.
        seed: Of the random vectors.

    Raises:
        ValueError: a number is out of range.

    Source: Hochreiter and Schmidhuber, Neural Computation 1997 (flat minima); Dinh et al. 2017 (1703.04933) on the
    scale of the weights; Yao et al. 2020 (1912.07145).
    """

    images: int = 256
    vectors: int = 16
    k: int = 5
    tolerance: float = 1e-3
    density_steps: int = 40
    density_starts: int = 1
    method: Method = "exact"
    chunk: int | None = None
    keep: bool = False
    seed: int = 0
    name: str = "hessian"

    def refuses(self, network: Extractor) -> str:
        """Say why there is no Hessian of ``network``; empty if there is one."""
        return "" if network.info.classes else "it has no classifier, so no cross-entropy to differentiate"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: the network has no classifier, there are no images, or their labels are mixed.
            CurvatureError: a value is not finite, the eigenvalues did not converge, or a GPU's memory is exceeded.
        """
        if reason := self.refuses(network):
            raise ValueError(f"the Hessian is not defined for this network: {reason}")
        with torch.inference_mode(False):
            images, targets = first_images(batches, self.images)
        with evaluation(network), unfused(network), differentiable(network) as parameters:
            chunk = min(self.chunk or images_at_once(network, images[:1]), len(images))
            losses = loss_parts(network, images, targets, chunk)
            try:
                return self._measure(losses, parameters, len(images))
            except torch.cuda.OutOfMemoryError as error:
                kept = ", or probe.hessian.keep to false" if self.keep else ""
                raise CurvatureError(
                    f"out of memory with the graph of {chunk} images of {images.shape[-1]} px: set "
                    f"probe.hessian.chunk to fewer{kept} ({error})"
                ) from error

    def _measure(self, losses: list[Callable[[], Tensor]], parameters: list[nn.Parameter], n: int) -> Result:
        exact = HessianProduct(losses, parameters, keep=self.keep, counted=_told)
        loss, gradient = loss_and_gradient_norm(losses, parameters)
        scalars: dict[str, float] = {}
        arrays: dict[str, npt.NDArray[Any]] = {}
        pairs = self._eigenvalues(exact, scalars, arrays) if self.k else None
        if self.density_steps:
            arrays |= self._density(exact)
        product = exact
        if self.method != "exact":
            product = HessianProduct(losses, parameters, method=self.method, counted=_told)
            scalars["product_error"] = self._product_error(product, exact)
        samples, plain = trace_samples(product, self.vectors, self._generator(), pairs)
        arrays |= {"trace_samples": samples.numpy(), "trace_samples_plain": plain.numpy()}
        trace, squared = float(samples.mean()), sum(float(p.detach().double().square().sum()) for p in parameters)
        first = {"trace": trace, "trace_se": float(samples.std()) / self.vectors**0.5}
        companions = {
            "loss": loss,
            "trace_per_weight": trace / squared,
            "trace_scaled": trace / product.size * squared,
            "weight_norm": squared**0.5,
            "gradient_norm": gradient,
            "n": float(n),
        }
        meta = {
            "n": n,
            "loss": LOSS,
            "parameters": product.size,
            "products": exact.count + (product.count if product is not exact else 0),
            "vectors": self.vectors,
            "method": self.method,
            "tolerance": self.tolerance,
            "density_steps": self.density_steps,
            "density_starts": self.density_starts,
            "seed": self.seed,
            "precision": "fp32",
        }
        return Result(self.name, first | scalars | companions, arrays, meta)

    def _eigenvalues(
        self, product: HessianProduct, scalars: dict[str, float], arrays: dict[str, npt.NDArray[Any]]
    ) -> Eigenpairs:
        k = min(self.k, product.size // 2)
        values, vectors = hessian_eigenpairs(
            product, 2 * k, "BE", generator=self._generator(1), tolerance=self.tolerance
        )
        arrays["eigenvalues_top"], arrays["eigenvalues_bottom"] = values[k:].flip(0).numpy(), values[:k].numpy()
        top = arrays["eigenvalues_top"]
        scalars |= {"top": float(top[0])} | ({"second": float(top[1])} if k > 1 else {}) | {"bottom": float(values[0])}
        return values, vectors

    def _density(self, product: HessianProduct) -> dict[str, npt.NDArray[Any]]:
        spectrum = hessian_spectrum(
            product, product.parameters, self.density_steps, self.density_starts, self._generator(2)
        )
        grid, density = spectrum.density()
        found = {"grid": grid, "nodes": spectrum.nodes, "weights": spectrum.weights}
        return {"density": density.numpy()} | {f"density_{key}": value.numpy() for key, value in found.items()}

    def _product_error(self, product: HessianProduct, exact: HessianProduct) -> float:
        vector = random_signs(1, product, self._generator())[0]
        right = exact(vector)
        return float((product(vector) - right).norm() / right.norm().clamp_min(torch.finfo(right.dtype).tiny))

    def _generator(self, stream: int = 0) -> torch.Generator:
        """Give a new generator, so that the vectors of the trace do not depend on other draws."""
        return torch.Generator().manual_seed(self.seed + 1_000_003 * stream)


def _told(count: int) -> None:
    """Tell how many products there were; how many there will be depends on when the eigenvalues converge."""
    tell("products with the Hessian", count)


def first_images(batches: Iterable[Batch], count: int) -> tuple[Tensor, Tensor]:
    """Give the first ``count`` images ``(n, C, H, W)`` and their classes ``(n,)``.

    Raises:
        ValueError: there are none, or their labels are mixed.
    """
    images, targets, left = [], [], count
    for batch in batches:
        if batch.target.ndim != 1:
            raise ValueError("the Hessian probe needs one class per image; give it images that are not mixed")
        images.append(batch.image[:left])
        targets.append(batch.target[:left])
        left -= len(images[-1])
        if left <= 0:
            break
    if not images:
        raise ValueError("the Hessian probe got no images")
    return torch.cat(images).clone(), torch.cat(targets).clone()


def images_at_once(network: Extractor, image: Tensor) -> int:
    """Give how many images like ``image`` ``(1, C, H, W)`` fit into one graph on its device; at least 1."""
    room = CPU_ROOM if image.device.type == "cpu" else _gpu_room(image.device)
    return max(1, int(room / (GRAPH * held_bytes(network, image))))


def _gpu_room(device: torch.device) -> float:
    """Give a quarter of the GPU's memory in bytes, or 0.9 of what is free if that is less."""
    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(total / 4, 0.9 * (free + kept))


def held_bytes(network: Extractor, image: Tensor) -> int:
    """Give the bytes that a forward pass of ``image`` ``(B, C, H, W)`` saves for the backward pass.

    Parameters and buffers do not count.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor)
    with torch.inference_mode(False), torch.enable_grad(), without_autocast(image), hooks:
        answer = network(image).logits  # as long as it exists, no storage is reused
        del answer
    return max(1, sum(held.values()))


def loss_parts(network: Extractor, images: Tensor, targets: Tensor, chunk: int) -> list[Callable[[], Tensor]]:
    """Give the loss (a scalar, nats) of each ``chunk`` of ``images`` ``(n, C, H, W)`` with ``targets`` ``(n,)``.

    Their sum is the mean over all images.
    """

    def share(image: Tensor, target: Tensor) -> Tensor:
        logits = network(image).logits
        return cross_entropy(logits, target, reduction="sum") / len(images)

    pairs = zip(torch.split(images, chunk), torch.split(targets, chunk), strict=True)
    return [partial(share, image, target) for image, target in pairs]


def loss_and_gradient_norm(losses: list[Callable[[], Tensor]], parameters: list[nn.Parameter]) -> tuple[float, float]:
    """Give the sum of ``losses`` (scalars, nats) and the norm of its gradient with respect to ``parameters``."""
    total, gradient = 0.0, [torch.zeros_like(p, requires_grad=False) for p in parameters]
    for loss in losses:
        value, parts = gradient_of(loss, parameters, graph=False)
        total += float(value)
        for held, part in zip(gradient, parts, strict=True):
            held += 0 if part is None else part
    return total, float(torch.stack([part.double().square().sum() for part in gradient]).sum().sqrt())


@contextmanager
def differentiable(network: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give the trained parameters; if there are none, give all, which require gradients inside the block."""
    parameters = list(network.parameters())
    trained = [p for p in parameters if p.requires_grad]
    try:
        if not trained:
            for parameter in parameters:
                parameter.requires_grad_(True)
        yield trained or parameters
    finally:
        if not trained:
            for parameter in parameters:
                parameter.requires_grad_(False)
