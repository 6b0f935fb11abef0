"""Locality guidance: the official code's numbers, grids, the scale of the teacher, layers."""

import math
from dataclasses import replace

import pytest
import torch
from small_pair import make_pair
from torch.nn import functional as F

from kdbias.losses.locality import Locality
from kdbias.models.features import Layer


def wave(*shape: int, step: float = 0.7, scale: float = 1.0, offset: float = 0.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) + offset).view(*shape)


@pytest.fixture
def two(tiny_info):
    """A transformer of grid 4×4 and a CNN teacher of 8×8."""
    pair = make_pair(tiny_info)
    pair.teacher = make_pair(tiny_info, family="cnn").teacher
    return pair


def ready(two, **settings) -> Locality:
    torch.manual_seed(0)
    term = Locality(**settings)
    term.build(two.student.info, two.teacher.info, two.info)
    return term


def with_maps(info, features, maps):
    """Give network facts and features with these maps ``(B, D, h, w)`` for layers."""
    layers = tuple(Layer(f"layer{i}", (i + 1) / len(maps), m.shape[1], tuple(m.shape[2:])) for i, m in enumerate(maps))
    tokens = tuple(m.flatten(2).mT for m in maps)
    return replace(info, layers=layers), replace(features, tokens=tokens, grids=tuple(layer.grid for layer in layers))


def test_official_numbers(two):
    """``guidance_loss`` of pycls/models/distill.py, lkhl/tiny-transformers: a larger and a smaller teacher map."""
    batch = two.batch(2)
    info_s, student = with_maps(
        two.student.info, two.student(batch.image), [wave(2, 6, 4, 4, step=0.9), wave(2, 6, 4, 4, step=1.7)]
    )
    info_t, teacher = with_maps(
        two.teacher.info,
        two.teacher(batch.image),
        [wave(2, 3, 8, 8, step=0.5, scale=2.0), wave(2, 5, 2, 2, step=0.3, scale=2.0)],
    )
    term = Locality(by="index")
    term.build(info_s, info_t, two.info)
    for convolution in term.project:
        for k, parameter in enumerate(convolution.parameters()):
            parameter.data = wave(*parameter.shape, step=0.37, scale=0.5, offset=k).float()
    assert term(student, teacher, batch, 0.0).item() == pytest.approx(4.303033530436698, rel=1e-5)
    assert [part.item() for part in term.report.values()] == pytest.approx(
        [2.2275837101977247, 2.075449820238974], rel=1e-5
    )


def test_equal_grids_need_no_resampling_and_the_projection_can_match(two, tiny_info):
    two.teacher = make_pair(tiny_info).student
    term, batch = ready(two), two.batch()
    for convolution in term.project:
        torch.nn.init.eye_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    assert term(student, teacher, batch, 0.0).item() == pytest.approx(0.0, abs=1e-10)
    louder = replace(teacher, tokens=tuple(3 * t for t in teacher.tokens))
    expected = sum(F.mse_loss(s, 3 * s) for s in student.tokens)
    torch.testing.assert_close(term(student, louder, batch, 0.0), expected)


def test_each_axis_goes_to_its_larger_side(two):
    batch = two.batch(2)
    info_s, student = with_maps(two.student.info, two.student(batch.image), [wave(2, 3, 2, 6)])
    info_t, teacher = with_maps(two.teacher.info, two.teacher(batch.image), [wave(2, 3, 5, 3, step=1.3)])
    term = Locality()
    term.build(info_s, info_t, two.info)
    torch.nn.init.eye_(term.project[0].weight)
    torch.nn.init.zeros_(term.project[0].bias)
    ours, theirs = (
        F.interpolate(x.float(), (5, 6), mode="bilinear") for x in (wave(2, 3, 2, 6), wave(2, 3, 5, 3, step=1.3))
    )
    torch.testing.assert_close(term(student, teacher, batch, 0.0), F.mse_loss(ours, theirs))


def test_a_resnets_three_stages_meet_the_blocks_of_the_paper(two):
    """Blocks 0, 6, 11 of twelve; and of the default layers those of nearest depth."""
    stages = tuple(Layer(f"layer{i + 1}", (i + 1) / 3, 16 * 2**i, (32 // 2**i,) * 2) for i in range(3))
    two.teacher.info = replace(two.teacher.info, layers=stages)
    for blocks, pairs in (((0, 6, 11), ((0, 0), (1, 1), (2, 2))), ((3, 6, 9, 11), ((0, 0), (1, 1), (3, 2)))):
        layers = tuple(Layer(f"blocks.{i}", (i + 1) / 12, 24, (8, 8)) for i in blocks)
        two.student.info = replace(two.student.info, layers=layers)
        term = ready(two)
        assert term.pairs == pairs
        assert [(p.in_features, p.out_features) for p in term.project] == [(24, 16), (24, 32), (24, 64)]


def test_gradient_reaches_the_student_alone(two):
    term, batch = ready(two), two.batch()
    term(two.student(batch.image), two.teacher(batch.image), batch, 0.0).backward()
    assert all(p.grad.norm() > 0 for p in [*two.trunk.parameters(), *term.parameters()])
    assert all(p.grad is None for p in two.teacher.parameters())


def test_constant_images_and_one_image_are_finite(two):
    term = ready(two)
    for batch in (two.batch(1), two.batch()._replace(image=torch.full((16, 3, 32, 32), 0.5))):
        assert term(two.student(batch.image), two.teacher(batch.image), batch, 0.0).isfinite()


def test_it_compares_place_by_place():
    assert Locality().positional
    assert not Locality().allow_misaligned
    assert Locality(allow_misaligned=True).allow_misaligned


def test_lists_of_unequal_length_are_an_error(two):
    with pytest.raises(ValueError, match="by: index pairs one to one"):
        ready(two, layers=["blocks.0"], by="index")
