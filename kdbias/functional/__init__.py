"""Pure maths on tensors: no modules, no state beyond running sums, device and dtype from the inputs.

Everything runs in fp32 with autocast off, whatever it is called under; fp64 stays fp64.
"""

from kdbias.functional.attention import (
    attention_distance,
    attention_entropy,
    cls_dispersion,
    uniform_attention_distance,
)
from kdbias.functional.cka import linear_cka, rbf_cka
from kdbias.functional.cka_stream import StreamingCKA
from kdbias.functional.dkd import dkd
from kdbias.functional.kl import soft_kl, standardize_logits

__all__ = [
    "StreamingCKA",
    "attention_distance",
    "attention_entropy",
    "cls_dispersion",
    "dkd",
    "linear_cka",
    "rbf_cka",
    "soft_kl",
    "standardize_logits",
    "uniform_attention_distance",
]
