"""Pure maths on tensors: no modules, no state beyond running sums, device and dtype from the inputs.

Everything runs in fp32 with autocast off, also when called under autocast; fp64 stays fp64.
"""

from kdbias.functional.adversarial import pgd
from kdbias.functional.attention import (
    attention_distance,
    attention_entropy,
    cls_dispersion,
    uniform_attention_distance,
)
from kdbias.functional.c2vkd import token_graph
from kdbias.functional.capd import capd_attention, capd_mix, capd_values, groupwise
from kdbias.functional.cka.batched import batched_cka
from kdbias.functional.cka.exact import linear_cka, rbf_cka
from kdbias.functional.cka.stream import StreamingCKA
from kdbias.functional.consistency import error_consistency
from kdbias.functional.crd import crd_loss, crd_scores
from kdbias.functional.cskd import cskd_dense, cskd_target
from kdbias.functional.gram import gram_distance
from kdbias.functional.grid import pool_maps, resample_tokens
from kdbias.functional.hessian.eigenvalues import hessian_eigenvalues
from kdbias.functional.hessian.trace import hessian_trace
from kdbias.functional.logits.decoupled import dkd
from kdbias.functional.logits.kl import soft_kl, standardize_logits
from kdbias.functional.relation import relation_kl
from kdbias.functional.sskd import sskd_keep, sskd_parts, sskd_similarity

__all__ = [
    "StreamingCKA",
    "attention_distance",
    "attention_entropy",
    "batched_cka",
    "capd_attention",
    "capd_mix",
    "capd_values",
    "cls_dispersion",
    "crd_loss",
    "crd_scores",
    "cskd_dense",
    "cskd_target",
    "dkd",
    "error_consistency",
    "gram_distance",
    "groupwise",
    "hessian_eigenvalues",
    "hessian_trace",
    "linear_cka",
    "pgd",
    "pool_maps",
    "rbf_cka",
    "relation_kl",
    "resample_tokens",
    "soft_kl",
    "sskd_keep",
    "sskd_parts",
    "sskd_similarity",
    "standardize_logits",
    "token_graph",
    "uniform_attention_distance",
]
