"""Where in an image the evidence for a class lies: Grad-CAM for CNNs and vision transformers."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.models.attention_path import choose
from kdbias.models.evaluation import evaluation
from kdbias.models.features import Extractor, Features


def activation_map(reader: Extractor, image: Tensor, target: Tensor | None = None, layer: int = -1) -> Tensor:
    """Give the Grad-CAM of images ``(B, C, H, W)`` in [0, 1] as maps ``(B, h, w)`` in 0..1.

    The map is ReLU(Σ_k a_k A_k) over the channels k of the tokens A (as in ``Features.tokens``). The weight a_k is the
    mean over positions of the gradient of the target's logit. Each map is divided by its largest value. It is 0
    everywhere if nothing speaks for the target.

    ``target`` ``(B,)`` holds a class for each image. If it is negative or None, the predicted class is taken.
    ``layer`` counts all layers of the network, not only those that ``reader`` reads. -1 is the last layer with more
    than one position whose patch tokens influence the logit. If the head of a ViT reads the CLS token alone, the
    gradient at the patch tokens of the last block is 0. -1 is then the layer before, the input of the last block (as
    ``blocks[-1].norm1`` in pytorch-grad-cam).

    Gradients, hooks and modes are restored. Parameters need not require gradients, and the network may be compiled (it
    runs eagerly here).

    Source: Selvaraju et al., ICCV 2017 (1610.02391).

    Raises:
        ValueError: there is no classifier or no such layer, the logit depends on none of the layer's patch tokens, or
            timm gives copies of the network's maps instead of the maps (Swin).
    """
    with evaluation(reader), torch.inference_mode(False), torch.enable_grad():
        full = reader.reading(layers="all")
        choose(full, training=True, device=image.device)  # the path on which gradients are fast
        count = len(full.layers)
        if layer != -1:
            full.survey.select((layer,))
        features = full(image.detach().clone().requires_grad_())
        score = _score(features, target)
        wanted = _candidates(features) if layer == -1 else (layer,)
        for number in wanted:
            gradient = _gradient(score, features.tokens[number])
            if layer != -1 or bool(gradient.any()) or number == wanted[-1]:
                break
        if not bool(gradient.any()) and reader.survey.token_based:
            name = full.survey.names[number]
            raise ValueError(
                f"layer {number} ({name}) of {count}: the logit depends on none of its patch tokens (the head reads "
                "the CLS token); take the layer before, or -1"
            )
    tokens = features.tokens[number].detach()
    maps = torch.einsum("bd,bnd->bn", gradient.mean(1), tokens).relu()
    maps = maps / maps.amax(1, keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    return maps.view(len(maps), *features.grids[number])


def _candidates(features: Features) -> tuple[int, ...]:
    """Give the layers that -1 may mean, the preferred one first: the last two with more than one position."""
    several = [i for i, (height, width) in enumerate(features.grids) if height * width > 1]
    return tuple(reversed(several or [len(features.grids) - 1]))[:2]


def _score(features: Features, target: Tensor | None) -> Tensor:
    """Give the sum over images of the logits of their targets."""
    if features.logits is None:
        raise ValueError("the network has no classifier (a self-supervised one?): Grad-CAM is not defined for it")
    own = features.logits.argmax(1)
    chosen = own if target is None else torch.where(target.to(own) < 0, own, target.to(own))
    return features.logits.gather(1, chosen[:, None]).sum()


def _gradient(score: Tensor, tokens: Tensor) -> Tensor:
    """Give the gradient ``(B, N, D)`` of ``score`` at ``tokens``.

    ``tokens`` are a view (without the prefix, transposed) of the tensor that the network's next layer reads. So the
    gradient is taken at that tensor and seen through the same view.
    """
    base = tokens if tokens._base is None else tokens._base
    (gradient,) = torch.autograd.grad(score, base, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("Grad-CAM: the network gives copies of its maps, and its logits do not depend on those")
    laid_out = torch.empty_strided(base.shape, base.stride(), dtype=gradient.dtype, device=gradient.device)
    offset = tokens.storage_offset() - base.storage_offset()
    return laid_out.copy_(gradient).as_strided(tokens.shape, tokens.stride(), offset)
