"""A network of which only the classifier is trained: the rest has no gradients and stays in eval mode."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdbias.config.errors import ArgumentError


def freeze(network: nn.Module) -> None:
    """Turn gradients off for all parameters except the classifier's, and ``rest`` the trunk.

    An optimiser over parameters that require gradients, DDP and weight averaging then leave the trunk unchanged.

    Raises:
        ValueError: there is no classifier, so nothing to train.
    """
    trained = {id(parameter) for head in _classifiers(network) for parameter in head.parameters()}
    if not trained:
        raise ArgumentError(
            "frozen", "there is no classifier to train: set it to false, or give the network a classifier"
        )
    for parameter in network.parameters():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)
    rest(network)


def rest(network: nn.Module) -> None:
    """Put everything except the classifier into eval mode: no dropout, and BatchNorm's statistics stay fixed."""
    modes = [(head, head.training) for head in _classifiers(network)]
    network.eval()
    for head, training in modes:
        head.train(training)


def _classifiers(network: Any) -> tuple[nn.Module, ...]:
    heads = network.get_classifier()
    return heads if isinstance(heads, tuple) else (heads,)
