"""OFA-KD as a term: the official heads' numbers, the sum of parts, which token is read, settings."""

import math
from dataclasses import replace

import pytest
import torch
from small_pair import make_pair
from torch import nn

from kdbias.functional.logits.ofa import ofa
from kdbias.losses.base import Total
from kdbias.losses.ofa import OFA
from kdbias.losses.ofa_heads import BlockHead, ConvHead, make_head
from kdbias.models.features import Layer, NetworkInfo


def wave(*shape: int, step: float = 0.7, scale: float = 1.0, offset: float = 0.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64) + offset).view(*shape)


def filled(head: nn.Module) -> nn.Module:
    """Give the head in fp64 with parameters that depend on their place alone."""
    for k, parameter in enumerate(head.double().parameters()):
        parameter.data = wave(*parameter.shape, step=0.37, scale=0.5, offset=k)
    return head


def transformer(side: int, prefix: int, has_dist: bool = False) -> NetworkInfo:
    layers = tuple(Layer(f"blocks.{i}", (i + 1) / 4, 16, (side, side)) for i in range(4))
    return NetworkInfo(layers, 16, 5, prefix, has_dist, "vit", has_cls=prefix > 0)


STAGES = tuple(Layer(f"layer{i + 1}", (i + 1) / 4, 4 * 2**i, (16 // 2**i, 16 // 2**i)) for i in range(4))
CNN = NetworkInfo(STAGES, 32, 5, 0, False, "cnn")


@pytest.mark.parametrize(
    ("family", "prefix", "kind"),
    [
        ("cnn", 0, ConvHead),
        ("vit", 0, BlockHead),
        ("hybrid", 0, ConvHead),
        ("hybrid", 1, BlockHead),
        ("other", 0, BlockHead),
    ],
)
def test_the_kind_of_a_head_is_that_of_what_the_student_computes_on(family, prefix, kind):
    """Stages of halving maps for one that convolves, else a sequence of tokens."""
    student = NetworkInfo(STAGES, 32, 5, prefix, False, family)
    assert type(make_head(student, 0, 24, 5)) is kind


@pytest.mark.parametrize(
    ("place", "official"),
    [
        (1, [0.33389298641330195, -1.407822341846934, -0.14252126413346355, 0.19727492972846605, -1.1433401251200137]),
        (3, [2.6203122879540013, -5.123796927041744, 3.335134274067191, 0.14738033949242146, -4.791779933701086]),
    ],
)
def test_official_numbers_of_a_cnns_heads(place, official):
    """The projectors of distillers/ofa.py, Hao840/OFAKD: separable convolutions of an early stage, 1×1 of the last."""
    head, layer = filled(make_head(CNN, place, 40, 5)), CNN.layers[place]
    tokens = wave(3, layer.width, *layer.grid, step=1.1).flatten(2).mT
    assert head(tokens, None, layer.grid)[0].tolist() == pytest.approx(official, rel=1e-9)


@pytest.mark.parametrize(
    ("side", "prefix", "place", "official"),
    [
        (4, 0, 0, [4.181195360016453, 12.257689115927377, 18.73458880209912, 22.767816399122555, 23.832035471773604]),
        (
            14,
            1,
            1,
            [-15.96449011556772, -20.266689177792056, -21.92720301625392, -20.729533905566914, -16.8297324259958],
        ),
        (28, 1, 0, [26.289040654676846, 33.220554379417806, 35.81700522046168, 33.740522276166615, 27.262899046922016]),
    ],
)
def test_official_numbers_of_a_transformers_heads(side, prefix, place, official):
    """The same: without merging and mean token; one merging, two blocks; two mergings, three blocks; CLS."""
    head = filled(make_head(transformer(side, prefix), place, 24, 5))
    x = wave(2, prefix + side * side, 16, step=1.1)
    answer = head(x[:, prefix:], x[:, :prefix], (side, side))
    assert answer[0].tolist() == pytest.approx(official, rel=1e-9)


def test_early_layers_have_more_blocks():
    info = transformer(8, 1)
    assert [len(make_head(info, i, 24, 5).blocks) for i in range(4)] == [3, 2, 1, 1]
    assert [len(make_head(CNN, i, 24, 5).convolutions) for i in range(4)] == [3, 2, 1, 1]
    deep = replace(info, layers=tuple(Layer(f"blocks.{i}", (i + 1) / 12, 16, (8, 8)) for i in range(12)))
    assert [len(make_head(deep, i, 24, 5).blocks) for i in range(12)] == [3] * 9 + [2, 1, 1]


@pytest.mark.parametrize(
    ("prefix", "has_dist", "token"), [(1, False, 0), (2, True, 1), (5, False, 0), (0, False, None)]
)
def test_the_head_reads_the_token_that_the_teacher_trains(prefix, has_dist, token):
    assert make_head(transformer(8, prefix, has_dist), 0, 24, 5).token == token


def test_registers_alone_are_no_token_that_a_head_reads():
    assert make_head(replace(transformer(8, 4), has_cls=False), 0, 24, 5).token is None


@pytest.mark.parametrize(("logits", "trains"), [(1.0, True), (0.5, True), (0.0, False)])
def test_a_dist_head_is_trained_by_the_part_of_the_logits_alone(logits, trains):
    assert OFA(logits=logits).dist is trains


def test_layers_of_growing_width_and_odd_grids():
    """As a hierarchical transformer has them: merged where they can be, brought to the last width."""
    layers = tuple(Layer(f"layers.{i}", (i + 1) / 3, width, (s, s)) for i, (width, s) in enumerate([(8, 30), (16, 15)]))
    info = NetworkInfo(layers, 16, 5, 0, False, "vit")
    for place, layer in enumerate(layers):
        tokens = torch.randn(2, layer.grid[0] ** 2, layer.width)
        assert make_head(info, place, 24, 5)(tokens, tokens[:, :0], layer.grid).shape == (2, 5)


def ready(two, **settings) -> OFA:
    torch.manual_seed(0)
    term = OFA(**settings)
    term.build(two.student.info, two.teacher.info, two.info)
    return term


@pytest.fixture(params=["vit", "cnn"])
def two(request, tiny_info):
    return make_pair(tiny_info, has_dist=request.param == "vit", family=request.param)


def test_it_is_the_logits_part_and_each_layers(two):
    term, batch = ready(two, gamma=[1.1, 1.2, 1.5], temperature=2.0, logits=3.0, stages=0.5), two.batch()
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    value = term(student, teacher, batch, 0.0)
    answers = [
        head(t, p, g) for head, t, p, g in zip(term.heads, student.tokens, student.prefix, student.grids, strict=True)
    ]
    z = student.logits if student.distill_logits is None else student.distill_logits
    parts = [
        ofa(a, teacher.logits, batch.target, gamma, 2.0)
        for a, gamma in zip([*answers, z], (1.1, 1.2, 1.5), strict=True)
    ]
    torch.testing.assert_close(value, 0.5 * (parts[0] + parts[1]) + 3.0 * parts[2])
    assert list(term.report) == [*(layer.name for layer in two.student.info.layers), "logits"]
    torch.testing.assert_close(list(term.report.values()), [p.detach() for p in parts])


def test_layers_are_chosen_and_parts_switched_off(two):
    one = ready(two, layers=[two.student.info.layers[1].name])
    assert (one.places, len(one.heads)) == ([1], 1)
    assert len(ready(two, stages=0.0).heads) == 0
    batch = two.batch()
    args = two.student(batch.image), two.teacher(batch.image), batch, 0.0
    without = ready(two, logits=0.0)
    whole = ready(two)
    torch.testing.assert_close(whole(*args) - without(*args), ready(two, stages=0.0)(*args))
    assert "logits" not in without.report


def test_the_heads_belong_to_the_term_and_learn(two):
    term, batch = ready(two), two.batch()
    assert all(isinstance(h, ConvHead if two.student.info.family == "cnn" else BlockHead) for h in term.heads)
    assert {id(p) for p in Total({"ofa": term}).parameters()} == {id(p) for p in term.heads.parameters()}
    term(two.student(batch.image), two.teacher(batch.image), batch, 0.0).backward()
    assert all(p.grad.abs().sum() > 0 for p in term.heads.parameters())
    assert list(term.buffers()) == []


def test_mixed_labels_follow_the_larger_part(two):
    term, batch, mixed = ready(two, gamma=1.5), two.batch(), two.batch(mixed=True)
    hard = batch._replace(target=mixed.target.argmax(dim=1))
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    assert torch.equal(term(student, teacher, mixed, 0.0), term(student, teacher, hard, 0.0))


def test_one_image_is_an_error_only_where_heads_normalise_over_the_batch(two):
    term, batch = ready(two, layers="last"), two.batch(1)
    args = two.student(batch.image), two.teacher(batch.image), batch, 0.0
    assert term(*args).isfinite()
    term = OFA()
    term.build(CNN, two.teacher.info, two.info)
    with pytest.raises(ValueError, match=r"loss\.ofa normalises over the images of a batch and got 1"):
        term(*args)


def test_constant_images_are_finite(two):
    term, batch = ready(two), two.batch()
    batch = batch._replace(image=torch.zeros_like(batch.image))
    loss = term(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in [*term.parameters(), *two.trunk.parameters()])


def test_bad_settings_are_refused(two):
    with pytest.raises(ValueError, match="gamma: must be above 0, or be a list of numbers of this kind, got 0"):
        OFA(gamma=0)
    with pytest.raises(ValueError, match=r"gamma: must be above 0, .* got \[1.0, -1.0\]"):
        OFA(gamma=[1.0, -1.0])
    with pytest.raises(ValueError, match="logits: must be"):
        OFA(logits=0.0, stages=0.0)
    names = ", ".join(layer.name for layer in two.student.info.layers)
    with pytest.raises(ValueError, match=rf"loss\.ofa\.gamma has 2 values, and 3 are needed.*{names}"):
        ready(two, gamma=[1.0, 1.5])
    with pytest.raises(ValueError, match=r"layers: 'layer7' is not among the layers read"):
        ready(two, layers=["layer7"])
