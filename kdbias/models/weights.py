"""Load weights from a file into a network, with errors that state what does not fit and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from kdbias.models.features import Extractor
from kdbias.models.state_dict import require_values, state_dict
from kdbias.models.weights_file import UnreadableFile, WeightsError, read_checked

HEADS = ("head", "head_dist", "fc", "classifier", "linear")  # names of the classifier in each family
PRETRAINING = ("mask_token",)  # parameters that only self-supervised training reads


def read_weights(path: str | Path, key: str) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a checkpoint that ``torch.save`` wrote, on the CPU.

    Each has the shape ``(...)`` and type in which it was saved. From a checkpoint of this package the student's network
    is taken, from others the state dict wherever it is usual, without the prefixes of wrappers. ``key`` is the
    configuration key that named it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or of another kind, or holds no tensors by name.
    """
    file = Path(path)
    if file.is_dir():
        raise WeightsError(f"{key}: {file} is a folder: give a .safetensors or .ckpt file in it")
    if not file.is_file():
        raise FileNotFoundError(f"{key}: there is no file {file.resolve()}; give a .safetensors or .ckpt file")
    try:
        content = read_checked(file)
    except UnreadableFile as error:
        raise WeightsError(f"{key}: {file} cannot be read as weights: {error}") from error
    return state_dict(content, f"{key}: {file}", file.stat().st_size)


def load_state(
    extractor: Extractor, state: Mapping[str, Tensor], key: str, fresh_head: bool = False, any_values: bool = False
) -> Extractor:
    """Load ``state`` (by the names of the network's parameters) into ``extractor`` and give it back.

    A tensor has the shape ``(...)`` of its parameter, but position embeddings of another grid are interpolated, and
    what only self-supervised training reads is left out. With ``fresh_head`` a classifier that ``state`` lacks, or has
    for another number of classes, stays as it is, and one that the network lacks is left out. With ``any_values`` NaN
    and infinity are loaded too, as of a training that failed. ``key`` is the configuration key that named the weights.

    Raises:
        ValueError: names or shapes do not fit, or values are not finite; the message lists them and names ``key``.
    """
    network = extractor.network
    own = network.state_dict()
    heads = classifier_names(network)
    state = {k: v for k, v in state.items() if k in own or k not in PRETRAINING}
    state = {k: _interpolated(network, v) if k == "pos_embed" else v for k, v in state.items()}
    if fresh_head:
        stray = {k for k in state if k not in own and k.split(".")[0] in HEADS}
        unfit = {k for k in heads if k in state and state[k].shape != own[k].shape}
        state = {k: v for k, v in state.items() if k not in stray | unfit}
        own = {k: v for k, v in own.items() if k not in heads - state.keys()}
    _check_classes(own, state, heads, key)
    if problem := misfit(own, state):
        raise WeightsError(
            f"{key}: the weights do not fit {type(network).__name__} as configured: {problem}. Choose the network "
            "that they belong to, with its size and tokens, or other weights"
        )
    if not any_values:
        require_values({name: state[name] for name in own if name in state}, key)  # in the order of the network
    network.load_state_dict(dict(state), strict=False)
    return extractor


def classifier_names(network: nn.Module) -> set[str]:
    """Give the names of the parameters of the classifier: of two classifiers where there is a DIST token."""
    net: Any = network
    heads = net.get_classifier()
    found = {id(p) for head in (heads if isinstance(heads, tuple) else (heads,)) for p in head.parameters()}
    return {name for name, p in network.named_parameters() if id(p) in found}


def last_layers(network: nn.Module) -> list[nn.Module]:
    """Give the layer of each classifier that gives its answer: of one with a norm or several layers, the last."""
    net: Any = network
    heads = net.get_classifier()
    found = [
        [layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
        for head in (heads if isinstance(heads, tuple) else (heads,))
    ]
    return [layers[-1] for layers in found if layers]


def _check_classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor], heads: set[str], key: str) -> None:
    for name in sorted(heads & state.keys()):
        if own[name].shape[0] != state[name].shape[0]:
            begin = "; teacher=timm_trained begins from these by teacher.model.weights" if "teacher" in key else ""
            raise WeightsError(
                f"{key}: the weights classify {state[name].shape[0]} classes, the data has {own[name].shape[0]}; take "
                f"weights trained on this data, or train the network on it first (the experiments teacher_*{begin})"
            )


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """List the names and shapes of ``state`` that differ from those of ``own``; empty if all fit."""
    found = {
        "missing": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "unknown": [k for k in state if k not in own],
        "of another shape": [k for k, v in state.items() if k in own and own[k].shape != v.shape],
    }
    return "; ".join(f"{len(v)} {what} ({', '.join(v[:3])}{', ...' * (len(v) > 3)})" for what, v in found.items() if v)


def _interpolated(network: nn.Module, position: Tensor) -> Tensor:
    """Bring position embeddings ``(1, tokens, D)`` to the grid of ``network``."""
    net: Any = network
    own = getattr(net, "pos_embed", None)
    if own is None or position.ndim != 3 or own.shape[1] == position.shape[1] or own.shape[2] != position.shape[2]:
        return position
    prefix = 0 if getattr(net, "no_embed_class", False) else int(net.num_prefix_tokens)
    side = round((position.shape[1] - prefix) ** 0.5)
    if side**2 != position.shape[1] - prefix:
        return position
    resampled: Tensor = resample_abs_pos_embed(position, list(net.patch_embed.grid_size), num_prefix_tokens=prefix)
    return resampled
