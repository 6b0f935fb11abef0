"""How much of the image each layer really sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.receptive_field import energy_radius, radial_energy
from kdbias.models.attention_path import choose
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor, Features
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import take


@builder("probe")
@dataclass(frozen=True)
class ReceptiveFieldProbe(Probe):
    """Effective receptive field of each layer's central token, by the energy of its input gradient.

    The energy at a pixel is the squared norm of the token's derivative by that pixel, over channels of both, estimated
    without bias by ``draws`` random signs a channel (a function of ``seed`` and the image's index). Each image's map is
    divided by its sum before they are averaged. Pixels are the image's, before any resizing, so that networks of
    different input sizes can be compared. In a grid of even side the central token is the one below and right of the
    centre; radii are about the map's own centre of gravity, since stages with stride are not centred.

    Arrays: ``energy`` ``(L, H, W)``, sums to 1; ``radius`` ``(L,)``, pixels, of the disc that holds ``share`` of it;
    ``magnitude_radius`` ``(L,)``, the same for the gradient's magnitude, the root of the energy; ``curve`` ``(L, R)``,
    the share of energy within each of ``radii`` ``(R,)``; ``depth`` ``(L,)``, of each layer in 0..1; and the same of a
    uniform map: ``uniform_radius``, ``uniform_curve``. Scalars: ``radius_first``, ``radius_last``, ``radius_mean``
    (over layers), ``magnitude_radius_`` likewise, ``radius_uniform``.

    On the residual stream of a vision transformer most of the energy stays in the token's own patch, however far it
    attends; magnitude gives the faint and wide part its weight.

    Source: Luo et al., NeurIPS 2016 (1701.04128).
    """

    judges_answers: ClassVar[bool] = False

    images: int = 256
    share: float = 0.5
    draws: int = 1
    seed: int = 0
    batch_size: int = 64
    precision: Precision = "fp32"
    name: str = "receptive_field"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: there are no images, or a token does not depend on the image.
        """
        total, n = torch.zeros(()), 0
        with (
            evaluation(network, self.precision),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            reader = network.reading(layers="all")
            choose(reader, training=True, device=reader.mean.device)  # the path on which gradients are fast
            for batch in take(batches, self.images, self.batch_size):
                total = total + self._energy(reader, batch).cpu()
                n += len(batch.target)
        energy = total / total.sum((1, 2), keepdim=True)
        if not bool(energy.isfinite().all()):
            raise ValueError("receptive_field: the central token of a layer does not depend on the image")
        uniform = torch.full_like(energy[0], 1 / energy[0].numel())
        radii = torch.arange(0, float(np.hypot(*energy.shape[1:])) / 2 + 1, 0.5, dtype=torch.float64)
        radius, uniform_radius = energy_radius(energy, self.share), energy_radius(uniform, self.share)
        magnitude_radius = energy_radius(energy.sqrt(), self.share)
        arrays = {
            "energy": energy.float(),
            "radius": radius,
            "magnitude_radius": magnitude_radius,
            "curve": radial_energy(energy, radii),
            "radii": radii,
            "depth": torch.tensor([layer.depth for layer in reader.info.layers]),
            "uniform_radius": uniform_radius,
            "uniform_curve": radial_energy(uniform, radii),
        }
        scalars = {"radius_uniform": float(uniform_radius)}
        for key, by_layer in (("radius", radius), ("magnitude_radius", magnitude_radius)):
            scalars[f"{key}_first"], scalars[f"{key}_last"] = float(by_layer[0]), float(by_layer[-1])
            scalars[f"{key}_mean"] = float(by_layer.mean())
        meta = {
            "n": n,
            "share": self.share,
            "draws": self.draws,
            "seed": self.seed,
            "layers": [layer.name for layer in reader.info.layers],
            "grids": [list(layer.grid) for layer in reader.info.layers],
            "precision": self.precision,
        }
        return Result(self.name, scalars, {key: array.numpy() for key, array in arrays.items()}, meta)

    def _energy(self, reader: Extractor, batch: Batch) -> Tensor:
        """Give the sum over images of each layer's map ``(L, H, W)``, fp64, each map summing to 1."""
        image = batch.image.detach().clone().requires_grad_()
        features: Features = reader(image)
        maps = []
        for layer, (tokens, (height, width)) in enumerate(zip(features.tokens, features.grids, strict=True)):
            token = tokens[:, height // 2 * width + width // 2].float()
            energy = torch.zeros_like(image[:, 0], dtype=torch.float64)
            for signs in self._signs(batch, layer, token):
                (gradient,) = torch.autograd.grad((token * signs).sum(), image, retain_graph=True)
                energy += gradient.double().square().sum(1)
            whole = energy.sum((1, 2), keepdim=True)
            maps.append(torch.where(whole > 0, energy / whole, 0.0).sum(0))
        return torch.stack(maps).detach()

    def _signs(self, batch: Batch, layer: int, like: Tensor) -> Tensor:
        """Give random signs ``(draws, B, D)``."""
        drawn = [
            np.random.default_rng([self.seed, int(index), layer]).choice([-1.0, 1.0], size=(self.draws, like.shape[1]))
            for index in batch.index
        ]
        return torch.from_numpy(np.stack(drawn, axis=1)).to(like)
