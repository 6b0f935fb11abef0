"""What the terms of the loss read of a teacher, by the names of their builders; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence

READS: dict[str, tuple[str, ...]] = {
    "kdbias.losses.at.AT": ("tokens",),
    "kdbias.losses.cka.CKA": ("tokens",),
    "kdbias.losses.crd.CRD": ("pooled",),
    "kdbias.losses.cskd.CSKD": ("dense",),
    "kdbias.losses.dist.DIST": ("logits",),
    "kdbias.losses.dkd.DKD": ("logits",),
    "kdbias.losses.gram.Gram": ("tokens",),
    "kdbias.losses.hard_kl.HardKL": ("logits",),
    "kdbias.losses.kl.KL": ("logits",),
    "kdbias.losses.locality.Locality": ("tokens",),
    "kdbias.losses.ofa.OFA": ("logits",),
    "kdbias.losses.relation.Relation": ("tokens",),
    "kdbias.losses.rkd.RKD": ("pooled",),
    "kdbias.losses.rsd.RSD": ("pooled",),
    "kdbias.losses.token.Token": ("tokens",),
}
"""Maps the builder of a term to what it reads of the teacher, where no setting changes it."""


def no_teacher(name: str, wanted: Sequence[str]) -> str:
    """Say that the term ``name`` needs something that the teacher does not provide, and name the remedy."""
    return (
        f"needs a teacher ({', '.join(wanted)}) and there is none: set teacher=NAME, or leave {name} out of loss=[...]"
    )
