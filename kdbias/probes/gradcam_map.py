"""Where in an image the evidence for a class lies: Grad-CAM, for CNNs and vision transformers alike."""

from __future__ import annotations

import torch
from torch import Tensor

from kdbias.models.attention_path import choose
from kdbias.models.evaluation import evaluation
from kdbias.models.features import Extractor, Features


def activation_map(reader: Extractor, image: Tensor, target: Tensor | None = None, layer: int = -1) -> Tensor:
    """Give the Grad-CAM of images ``(B, C, H, W)`` in [0, 1] as maps ``(B, h, w)`` in 0..1.

    The map is ReLU(Σ_k a_k A_k) over the channels k of the tokens A (raw, as in ``Features.tokens``), a_k being the
    mean over all places of the gradient of the target's logit; each image's is divided by its largest value, and is
    0 throughout where nothing speaks for the target.

    ``target`` ``(B,)`` holds a class for each image; where it is negative, or None is given, the network's own answer
    is taken. ``layer`` counts the layers of the network, whichever ``reader`` reads; -1 is the last one with more than
    one place whose patch tokens reach the logit. A CLS token alone goes from the last block of a ViT to its head, so
    that the gradient at its patch tokens is 0: -1 is then the layer before, the input of the last block (where
    pytorch-grad-cam's ``blocks[-1].norm1`` looks too).

    Nothing is left behind: neither gradients nor hooks nor modes. It does not matter whether parameters require
    gradients, or whether the network is compiled (it runs eagerly here).

    Source: Selvaraju et al., ICCV 2017 (1610.02391).

    Raises:
        ValueError: there is no classifier, no such layer, the logit depends on no patch token of it, or timm gives
            copies of the network's maps instead of the maps (Swin).
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
    """Give the layers that -1 may mean, in the order of preference: the last two with a map of more than one place."""
    several = [i for i, (height, width) in enumerate(features.grids) if height * width > 1]
    return tuple(reversed(several or [len(features.grids) - 1]))[:2]


def _score(features: Features, target: Tensor | None) -> Tensor:
    """Give the sum over images of each one's logit of its target."""
    if features.logits is None:
        raise ValueError("the network has no classifier (a self-supervised one?): Grad-CAM is not defined for it")
    own = features.logits.argmax(1)
    chosen = own if target is None else torch.where(target.to(own) < 0, own, target.to(own))
    return features.logits.gather(1, chosen[:, None]).sum()


def _gradient(score: Tensor, tokens: Tensor) -> Tensor:
    """Give the gradient ``(B, N, D)`` of ``score`` at ``tokens``.

    Tokens are a view (without the prefix, transposed) of what the network goes on with, so the gradient is that at
    their base, seen through the same view.
    """
    base = tokens if tokens._base is None else tokens._base
    (gradient,) = torch.autograd.grad(score, base, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("Grad-CAM: the network gives copies of its maps, and its logits do not depend on those")
    laid_out = torch.empty_strided(base.shape, base.stride(), dtype=gradient.dtype, device=gradient.device)
    offset = tokens.storage_offset() - base.storage_offset()
    return laid_out.copy_(gradient).as_strided(tokens.shape, tokens.stride(), offset)
