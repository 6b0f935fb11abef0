"""The weighted sum: arithmetic, resting terms, errors."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from kdbias.losses.base import LossTerm, Total
from kdbias.losses.ce import CE
from kdbias.losses.kl import KL


class Projection(LossTerm):
    """A term with a parameter of its own, as token losses have."""

    def build(self, student, teacher, data):
        self.map = nn.Linear(student.width, 1)

    def forward(self, student, teacher, batch, progress):
        assert not torch.is_autocast_enabled("cpu")
        assert self.report == {}
        if progress == 0.25:
            self.report["seen"] = student.pooled.detach().mean()
        return self.map(student.pooled).square().mean() * (1 + progress)


def total_of(pair, **terms):
    total = Total(terms)
    total.build(pair.student.info, pair.teacher.info, pair.info)
    return total


def forward(total, pair, progress):
    batch = pair.batch()
    return total(pair.student(batch.image), pair.teacher(batch.image), batch, progress)


def test_weighted_sum_of_unweighted_parts(pair):
    two = pair()
    total = total_of(two, ce=CE(0.25), kl=KL({"kind": "linear", "start": 0.0, "end": 3.0}))
    assert total.weights(0.5) == {"ce": 0.25, "kl": 1.5}
    value, parts = forward(total, two, 0.5)
    assert list(parts) == ["ce", "kl"]
    assert not any(p.requires_grad for p in parts.values())
    assert value.item() == pytest.approx(0.25 * parts["ce"].item() + 1.5 * parts["kl"].item(), rel=1e-6)


def test_needs_are_those_of_all_terms():
    assert Total({"ce": CE(), "kl": KL()}).needs == {"logits"}
    assert Total({"ce": CE()}).needs == frozenset()


def test_a_term_of_weight_zero_is_not_computed_and_leaves_no_parameter_without_gradient(pair):
    """DDP stops at parameters without gradient: here the projection's, and the DIST head's, which only kl trains."""
    two = pair(has_dist=True)
    late = {"kind": "step", "values": [0, 1], "at": [0.5]}
    total = total_of(two, ce=CE(), kl=KL(late), map=Projection(late))
    value, parts = forward(total, two, 0.0)
    alone, _ = forward(total_of(two, ce=CE()), two, 0.0)
    assert list(parts) == ["ce"]
    assert value.item() == alone.item()
    value.backward()
    for parameter in [*two.student.network.head_dist.parameters(), *total.parameters()]:
        assert parameter.grad.eq(0).all()
    assert list(forward(total, two, 0.5)[1]) == ["ce", "kl", "map"]


def test_progress_reaches_the_terms_and_autocast_does_not(pair):
    two = pair()
    total = total_of(two, map=Projection())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, last = forward(total, two, 0.0)[0], forward(total, two, 1.0)[0]
    assert first.dtype == torch.float32
    assert last.item() == pytest.approx(2 * first.item(), rel=1e-6)


def test_a_lone_warm_up_starts_with_a_step_of_nothing(pair):
    two = pair()
    value, parts = forward(total_of(two, kl=KL({"kind": "warmup", "value": 1.0, "until": 0.1})), two, 0.0)
    value.backward()
    assert (value.item(), parts) == (0.0, {})
    assert all(p.grad.eq(0).all() for p in two.student.parameters())


def test_no_terms_are_an_error():
    with pytest.raises(ValueError, match="name at least one term"):
        Total({})


def test_missing_or_unfitting_teacher(pair, tiny_info):
    two = pair()
    student, teacher = two.student.info, two.teacher.info
    with pytest.raises(ValueError, match=r"loss.kl: needs a teacher \(logits\) and there is none: .* leave kl out"):
        Total({"ce": CE(), "kl": KL()}).build(student, None, tiny_info)
    for theirs, ours, message in (
        (None, 10, "the teacher has no classifier: choose one that has"),
        (1000, 10, "the teacher has 1000 classes and the data 10: choose one for this data"),
        (10, None, r"the student has no classifier: choose another model=\.\.\."),
        (None, None, "the teacher has no classifier"),
    ):
        with pytest.raises(ValueError, match=rf"^loss\.kl: compares logits, but {message}.*, or leave kl out$"):
            Total({"kl": KL()}).build(replace(student, classes=ours), replace(teacher, classes=theirs), tiny_info)
    Total({"ce": CE()}).build(student, None, tiny_info)


def test_a_term_without_forward_says_so(pair):
    two = pair()
    with pytest.raises(NotImplementedError, match="LossTerm must implement forward"):
        forward(total_of(two, plain=LossTerm()), two, 0.0)


def test_a_report_is_of_one_step(pair):
    """It follows the parts under the term's name, is no summand, and does not stay where the next step has none."""
    two = pair()
    total = total_of(two, ce=CE(), map=Projection())
    value, parts = forward(total, two, 0.25)
    assert list(parts) == ["ce", "map", "map/seen"]
    torch.testing.assert_close(parts["map/seen"], two.student(two.batch().image).pooled.mean().detach())
    assert value.item() == pytest.approx(parts["ce"].item() + parts["map"].item(), rel=1e-6)
    assert list(forward(total, two, 0.0)[1]) == ["ce", "map"]


def test_heads_that_no_term_reads_get_a_gradient_of_zero(pair):
    """Structure alone trains no head; DDP wants a gradient all the same."""
    two = pair(has_dist=True)
    total = total_of(two, map=Projection())
    value, parts = forward(total, two, 0.0)
    value.backward()
    assert value.item() == parts["map"].item()
    assert two.trunk.proj.weight.grad.norm() > 0
    for parameter in [*two.student.network.head.parameters(), *two.student.network.head_dist.parameters()]:
        assert parameter.grad.eq(0).all()


def test_a_term_is_positional_where_it_is_aligned():
    class Aligned(LossTerm):
        aligned = True

    assert (LossTerm().positional, Aligned().positional, Aligned().allow_misaligned) == (False, True, False)
