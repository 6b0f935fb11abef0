"""How sharp the minimum is that a network sits in."""

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

CPU_ROOM = 1e9  # bytes for one graph
GRAPH = 5  # what a product takes at its height, in what a forward pass holds: 50 MB to 10 MB for DeiT-Tiny's image
LOSS = "cross-entropy of the answer's logits against hard labels, nats, mean over images"


@builder("probe")
@dataclass(frozen=True)
class HessianProbe(Probe):
    """Trace, extreme eigenvalues and spectral density of the loss's Hessian, by all parameters that are trained.

    The loss is the mean cross-entropy of the network's answer against hard labels on the first ``images`` images,
    whatever it was trained with; eval mode, fp32, explicit attention. A network without trained parameters, such as a
    teacher's, is differentiated by all of them. A trace falls with the scale of the logits, which soft labels keep low,
    so compare it at a like ``loss``; and it falls with 1/c² when all weights are scaled by c, of which a normalised
    network takes no notice: the mean eigenvalue times ‖w‖², ``trace_scaled``, stays.

    Scalars: ``trace`` with ``trace_se``, its standard error over the vectors; ``top``, ``second``, ``bottom`` (the
    largest, the next, the most negative eigenvalue); companions ``loss`` (nats), ``trace_per_weight`` (trace/‖w‖²),
    ``trace_scaled``, ``weight_norm``, ``gradient_norm`` and ``n``; with a difference method ``product_error``, the norm
    of its error relative to the exact product, for the first vector. Arrays: ``trace_samples`` ``(vectors,)``, and
    ``trace_samples_plain``, before the eigenvalues' share of their scatter was taken out; ``eigenvalues_top`` and
    ``eigenvalues_bottom`` ``(k,)``; ``density_grid`` and ``density`` ``(512,)``, of the eigenvalues, integrating to 1,
    with the ``density_nodes`` and ``density_weights`` ``(density_starts, density_steps)`` that they are drawn from.

    Args:
        images: The first so many are looked at.
        vectors: Random vectors for the trace. Networks of one architecture are given the same ones.
        k: Eigenvalues of each end; 0 for none.
        tolerance: Of an eigenpair's residual, relative to its eigenvalue.
        density_steps: Lanczos steps for the density; 0 for none.
        density_starts: Random vectors that they start from.
        method: Of the trace's products; ``exact``, ``finite_difference``, half the time and wrong by some tenths of a
            percent, or ``central_difference``, ten times nearer but hardly faster than ``exact``. Eigenvalues and
            density are from exact products: with others Lanczos iterations do not settle.
        chunk: Images in one graph, 50 MB each for DeiT-Tiny at 32 pixels. Where None, as many as fit into 1 GB on a
            CPU and a quarter of the memory of a GPU, by what one image's forward pass holds: more and larger layers
            and attention maps are fewer images.
        keep: Whether all chunks' graphs stay in memory, which makes eigenvalues a third cheaper.
        seed: Of the random vectors.

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

    def __post_init__(self) -> None:
        least = {"images": 1, "vectors": 2, "k": 0, "density_steps": 0, "density_starts": 1}
        if wrong := [
            f"{key} {getattr(self, key)} (at least {low})" for key, low in least.items() if getattr(self, key) < low
        ]:
            raise ValueError(f"probe.hessian: {', '.join(wrong)}")

    def refuses(self, network: Extractor) -> str:
        """Say why there is no Hessian of ``network``; empty if there is one."""
        return "" if network.info.classes else "it has no classifier, so no cross-entropy to differentiate"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier, there are no images, or their labels are mixed.
            CurvatureError: anything is not finite, the eigenvalues did not converge, or a GPU's memory is exceeded.
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
        exact = HessianProduct(losses, parameters, keep=self.keep)
        loss, gradient = loss_and_gradient_norm(losses, parameters)
        scalars: dict[str, float] = {}
        arrays: dict[str, npt.NDArray[Any]] = {}
        pairs = self._eigenvalues(exact, scalars, arrays) if self.k else None
        if self.density_steps:
            arrays |= self._density(exact)
        product = exact
        if self.method != "exact":
            product = HessianProduct(losses, parameters, method=self.method)
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
        """Give a fresh generator: the vectors of the trace do not depend on how many others were drawn."""
        return torch.Generator().manual_seed(self.seed + 1_000_003 * stream)


def first_images(batches: Iterable[Batch], count: int) -> tuple[Tensor, Tensor]:
    """Give the first ``count`` images ``(n, C, H, W)`` and their classes ``(n,)``.

    Raises:
        ValueError: there are none, or their labels are mixed.
    """
    images, targets, left = [], [], count
    for batch in batches:
        if batch.target.ndim != 1:
            raise ValueError("the Hessian probe needs one class an image; show it images that are not mixed")
        images.append(batch.image[:left])
        targets.append(batch.target[:left])
        left -= len(images[-1])
        if left <= 0:
            break
    if not images:
        raise ValueError("the Hessian probe was shown no images")
    return torch.cat(images).clone(), torch.cat(targets).clone()


def images_at_once(network: Extractor, image: Tensor) -> int:
    """Give how many images such as ``image`` ``(1, C, H, W)`` may be in one graph on their device; at least 1."""
    room = CPU_ROOM if image.device.type == "cpu" else _gpu_room(image.device)
    return max(1, int(room / (GRAPH * held_bytes(network, image))))


def _gpu_room(device: torch.device) -> float:
    """Give a quarter of the memory, or what training leaves of it."""
    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(total / 4, 0.9 * (free + kept))


def held_bytes(network: Extractor, image: Tensor) -> int:
    """Give the bytes that a forward pass of ``image`` ``(B, C, H, W)`` holds for the backward one.

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
        answer = network(image).logits  # while it is alive, no storage is reused
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
    """Give the sum of ``losses`` (scalars, nats) and the norm of its gradient by ``parameters``."""
    total, gradient = 0.0, [torch.zeros_like(p, requires_grad=False) for p in parameters]
    for loss in losses:
        value, parts = gradient_of(loss, parameters, graph=False)
        total += float(value)
        for held, part in zip(gradient, parts, strict=True):
            held += 0 if part is None else part
    return total, float(torch.stack([part.double().square().sum() for part in gradient]).sum().sqrt())


@contextmanager
def differentiable(network: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give the trained parameters; if there are none, give all, which then require gradients inside the block."""
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
