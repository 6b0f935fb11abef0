"""Figures of the similarity between a network's layers and its teacher's: those of ``cka``."""

from kdbias.report.cka import figures, training

__all__ = ["figures", "training"]
