"""What a loss term reads is fp32: cast when it is read, once, with gradients where they are wanted."""

from dataclasses import fields, replace

import pytest
import torch

from kdbias.losses.in_fp32 import in_fp32
from kdbias.models.features import Features


def features(dtype=torch.bfloat16) -> Features:
    torch.manual_seed(0)
    tokens = tuple(torch.randn(2, 4, 3).to(dtype).requires_grad_() for _ in range(2))
    return Features(
        logits=torch.randn(2, 5).to(dtype).requires_grad_(),
        class_logits=torch.randn(2, 5).to(dtype),
        distill_logits=None,
        dense_logits=None,
        pooled=torch.randn(2, 3).to(dtype).requires_grad_(),
        tokens=tokens,
        prefix=(torch.zeros(2, 0, 3, dtype=dtype),) * 2,
        grids=((2, 2),) * 2,
        qkv=(),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_output_is_that_of_the_network_in_fp32(dtype):
    given = features(dtype)
    read = in_fp32(given)
    assert isinstance(read, Features)
    for field in fields(Features):
        ours, theirs = getattr(read, field.name), getattr(given, field.name)
        pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
        for one, other in pairs:
            if isinstance(other, torch.Tensor):
                assert one.dtype == torch.float32
                assert torch.equal(one, other.float())
            else:
                assert one == other
    assert repr(read) == repr(given)


def test_only_what_is_read_is_cast_and_once(monkeypatch):
    read, cast = in_fp32(features()), []
    float_ = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda self: cast.append(self.shape) or float_(self))
    first = read.logits
    assert read.logits is first
    assert cast == [(2, 5)]


def test_gradients_arrive_also_after_a_look_without_them():
    given = features()
    read = in_fp32(given)
    with torch.no_grad():
        assert not read.pooled.requires_grad
    (2 * read.pooled.sum() + read.tokens[1].sum()).backward()
    assert torch.equal(given.pooled.grad, torch.full_like(given.pooled, 2))
    assert torch.equal(given.tokens[1].grad, torch.ones_like(given.tokens[1]))
    assert given.tokens[0].grad is None


def test_a_teacher_gives_no_gradient_and_a_replaced_output_stays():
    read = in_fp32(features(), detach=True)
    assert not read.logits.requires_grad
    assert not read.tokens[0].requires_grad
    zero = torch.zeros(2, 5)
    changed = replace(read, logits=zero)
    assert changed.logits is zero
    assert torch.equal(changed.pooled, read.pooled)
