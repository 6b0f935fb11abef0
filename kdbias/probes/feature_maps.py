"""The tokens of each layer as maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.functional.principal import principal_components
from kdbias.models.evaluation import Precision, evaluation
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result
from kdbias.probes.versions import take


@builder("probe")
@dataclass(frozen=True)
class FeatureMapsProbe(Probe):
    """Maps of every layer's tokens: their norm, and their first three principal components as colours.

    The components of a layer are computed over the tokens of ``images`` images. The maps of the first ``shown`` images
    are kept.

    Arrays: ``image`` ``(k, H, W, C)`` uint8, ``target`` and ``index`` ``(k,)``; for each layer l ``norm_<l>``
    ``(k, h, w)`` and ``components_<l>`` ``(k, h, w, 3)``, not scaled; ``explained`` ``(L, 3)``, the share of variance
    of each component; ``depth`` ``(L,)``, of each layer in 0..1. Scalars: ``explained_first`` and ``explained_last``,
    the share of variance of the three components together, in the first and the last layer; ``norm_contrast``, the
    standard deviation of the norms within an image divided by their mean, as a mean over images and layers (it is
    large if a few tokens are outliers).

    Source: Oquab et al. 2023 (2304.07193) for the colours; Darcet et al. 2023 (2309.16588) for the norms.

    Raises:
        ValueError: ``images``, ``shown`` or ``batch_size`` is below 1.
    """

    judges_answers: ClassVar[bool] = False

    images: int = 64
    shown: int = 4
    batch_size: int = 64
    precision: Precision = "fp32"
    name: str = "features"

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: there are no images.
        """
        tokens: list[list[Tensor]] = []
        seen: list[Batch] = []
        with evaluation(network, self.precision):
            reader = network.reading(layers="all")
            for batch in take(batches, self.images, self.batch_size):
                features = reader(batch.image)
                tokens.append([part.float().cpu() for part in features.tokens])
                seen.append(Batch(*(part.cpu() for part in batch)))
                grids = features.grids
        image, target, index = (torch.cat([batch[place] for batch in seen]) for place in range(3))
        arrays: dict[str, npt.NDArray[Any]] = {
            "image": (image[: self.shown].permute(0, 2, 3, 1) * 255).round().byte().numpy(),
            "target": target[: self.shown].numpy(),
            "index": index[: self.shown].numpy(),
            "depth": np.array([layer.depth for layer in reader.info.layers]),
        }
        explained, contrast = [], []
        for number, (parts, grid) in enumerate(zip(zip(*tokens, strict=True), grids, strict=True)):
            whole = torch.cat(parts)
            components, shares = principal_components(whole)
            norm = whole.norm(dim=-1)
            arrays[f"norm_{number}"] = norm[: self.shown].reshape(-1, *grid).numpy()
            arrays[f"components_{number}"] = components[: self.shown].float().reshape(-1, *grid, 3).numpy()
            explained.append(shares.numpy())
            contrast.append(float((norm.std(1, correction=0) / norm.mean(1).clamp_min(1e-12)).mean()))
        arrays["explained"] = np.stack(explained)
        scalars = {
            "explained_first": float(explained[0].sum()),
            "explained_last": float(explained[-1].sum()),
            "norm_contrast": float(np.mean(contrast)),
        }
        meta = {
            "n": len(target),
            "layers": [layer.name for layer in reader.info.layers],
            "precision": self.precision,
        }
        return Result(self.name, scalars, arrays, meta)
