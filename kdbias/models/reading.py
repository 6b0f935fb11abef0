"""One pass through a timm-like network, and its penultimate features, logits and dense logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:  # layout reads the head of what it surveys
    from kdbias.models.layout import Survey

Grid = tuple[int, int]
Maps = tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...], tuple[Grid, ...]]


def read(network: Any, x: Tensor, known: Survey, layers: tuple[int, ...]) -> Maps:
    """Run ``network`` on ``x`` and give (final features, tokens, prefix tokens, grids), the last three for each layer.

    Tokens are ``(B, N, D)``, prefix tokens ``(B, P, D)``, both raw; the final features are the input of the
    network's head.
    """
    indices = [known.indices[i] for i in layers]
    prefixed: dict[str, Any] = {"return_prefix_tokens": True} if known.prefix else {}  # timm's default gives none
    grid_of = getattr(getattr(network, "patch_embed", None), "dynamic_feat_size", None)
    if known.token_based and grid_of is not None:
        final, found = network.forward_intermediates(x, indices=indices, output_fmt="NLC", **prefixed)
        height, width = grid_of((x.shape[-2], x.shape[-1]))
        tokens, prefix = _apart(found, known)
        return final, tokens, prefix, ((height, width),) * len(layers)
    final, found = network.forward_intermediates(x, indices=indices, **prefixed)
    maps, prefix = _apart(found, known)
    tokens = tuple(m.flatten(2).transpose(1, 2) for m in maps)
    grids = tuple((m.shape[2], m.shape[3]) for m in maps)
    return final, tokens, prefix if known.prefix else tuple(t[:, :0] for t in tokens), grids


def _apart(found: Any, known: Survey) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Take the prefix tokens of each layer apart; there are empty ones where there are none."""
    if known.prefix == 0:
        return tuple(found), tuple(t[:, :0] for t in found)
    return tuple(t for t, _ in found), tuple(p for _, p in found)


def answer(network: Any, final: Tensor, known: Survey) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Give penultimate features ``(B, D)``, the classifier's logits and the DIST head's, from ``final``.

    With a DIST token the penultimate features are the CLS token's; a DIST head without one reads the same as the
    classifier.
    """
    heads = network.get_classifier()
    if known.has_dist and known.prefix > 1:
        head, head_dist = heads
        pooled = network.head_drop(final[:, 0])
        distilled = network.head_drop(final[:, 1])
        return (pooled, None, None) if known.classes is None else (pooled, head(pooled), head_dist(distilled))
    pooled = network.forward_head(final, pre_logits=True)
    if known.classes is None:
        return pooled, None, None
    head, head_dist = heads if isinstance(heads, tuple) else (heads, None)
    return pooled, _classified(head, pooled), None if head_dist is None else _classified(head_dist, pooled)


def _classified(head: Any, pooled: Tensor) -> Tensor:
    """Apply a classifier to ``(B, D)``, as to a map of one position where it is a convolution."""
    if hasattr(head, "global_pool"):  # some networks of timm give their whole head
        head = head.fc
    logits: Tensor = head(pooled[:, :, None, None]).flatten(1) if isinstance(head, nn.Conv2d) else head(pooled)
    return logits


def answer_densely(network: Any, final: Tensor, known: Survey, grid: Grid) -> Tensor:
    """Apply the classifier at every position of ``final``: ``(B, C, h, w)``; ``grid`` is that (h, w) of tokens.

    A CNN's whole head, pooling and norm included, reads each position as a map of its own; a ViT's last linear layer
    reads each patch token; with a DIST token it is the DIST head's.
    """
    if known.token_based:
        heads = network.get_classifier()
        head = heads[1] if known.has_dist else heads
        logits: Tensor = head(network.fc_norm(final[:, known.prefix :]))
        return logits.transpose(1, 2).reshape(len(logits), -1, *grid)
    if getattr(network, "output_fmt", "NCHW") == "NCHW":
        final = final.permute(0, 2, 3, 1)
        batch, height, width, channels = final.shape
        logits = network.forward_head(final.reshape(-1, channels, 1, 1))
    else:
        batch, height, width, channels = final.shape
        logits = network.forward_head(final.reshape(-1, 1, 1, channels))
    return logits.view(batch, height, width, -1).permute(0, 3, 1, 2)


def dense_problem(network: Any, known: Survey) -> str:
    """Say why ``network`` has no dense logits, or nothing where it has."""
    if known.classes is None:
        return "it has no classifier"
    if not known.token_based and not known.map_last:
        return "its classifier reads a sequence, not a map"
    if known.token_based and getattr(network, "attn_pool", None) is not None:
        return "its classifier reads an attention pool, not single tokens"
    if hasattr(network, "pre_logits"):
        return "its classifier reads a whole map at once"
    return ""


def qkv_problem(network: Any, known: Survey) -> str:
    """Say why ``network`` has no queries, keys and values to read, or nothing where it has."""
    if not known.token_based:
        return "it is no plain vision transformer"
    for block in getattr(network, "blocks", ()):
        attention = getattr(block, "attn", None)
        if not all(hasattr(attention, n) for n in ("qkv", "q_norm", "k_norm", "num_heads")):
            return "its attention keeps no joint projection to queries, keys and values"
        if getattr(attention, "q_bias", None) is not None or getattr(network, "rope", None) is not None:
            return "its attention changes queries and keys after their projection"
    return ""
