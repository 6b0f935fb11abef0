"""The parts of CAPD: closed forms, and where a gradient goes."""

import math

import pytest
import torch
from torch.nn import functional as F

from kdbias.batch import DataInfo
from kdbias.config.build import build
from kdbias.config.errors import ArgumentError
from kdbias.functional.capd import capd_attention, capd_values
from kdbias.functional.grid import resample_tokens
from kdbias.models.features import Layer
from kdbias.models.teacher import Teacher
from kdbias.modules.capd_adversary import SMALLEST, MapPatchGAN, TokenMLP, adversary, adversary_loss, deceiving_loss
from kdbias.modules.capd_projectors import AttentionProjector, GroupwiseProjector, attention_shape, stage
from kdbias.modules.capd_terms import TERMS, Comparison, row_distance

INFO = DataInfo(3, 32, 4, tuple("abcd"), 96, (0.5,) * 3, (0.25,) * 3)
VIT = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2}
CNN = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 12]}


@pytest.fixture(scope="module", params=[4, 8, 2], ids=["equal", "teacher_smaller", "teacher_larger"])
def pair(request):
    """A student whose last map is 8×8, a teacher of 8×8, 4×4 or 16×16 tokens, and their answers to four images."""
    torch.manual_seed(0)
    student, teacher = build(CNN, INFO), Teacher(build({**VIT, "patch": request.param}, INFO), "vit")
    teacher.give(frozenset({"qkv"}))
    images = torch.rand(4, 3, 32, 32)
    return student, teacher, student(images), teacher(images)


def compared(pair, terms=TERMS, **settings) -> Comparison:
    torch.manual_seed(1)
    return Comparison(pair[0].info, pair[1].extractor, terms, **{"partial": False, "layer": 2, **settings})


def test_convolutions_give_queries_keys_and_values_as_three_of_them_would():
    torch.manual_seed(0)
    projector = AttentionProjector(5, (3, 4), heads=2, head_width=6)
    tokens = torch.randn(2, 12, 5)
    found = projector(tokens)
    assert found.shape == (3, 2, 2, 12, 6)
    placed = tokens.transpose(1, 2).reshape(2, 5, 3, 4)
    for i, part in enumerate(found):
        rows = slice(12 * i, 12 * (i + 1))
        out = F.conv2d(placed, projector.layer.weight[rows], projector.layer.bias[rows], padding=1)
        torch.testing.assert_close(part, out.view(2, 2, 6, 12).transpose(2, 3))


def test_a_linear_projector_has_no_bias_and_sees_one_position():
    projector = AttentionProjector(5, (3, 4), heads=2, head_width=6, kind="linear")
    assert projector.layer.bias is None
    tokens = torch.randn(1, 12, 5)
    changed = tokens.clone()
    changed[0, 7] += 1
    differs = (projector(changed) != projector(tokens)).flatten(4).any(-1).any(0).any(1)
    assert differs[0].nonzero().flatten().tolist() == [7]


def test_a_group_of_positions_has_one_map_and_its_neighbour_another():
    torch.manual_seed(0)
    projector = GroupwiseProjector(5, 7, (8, 8), group=4)
    assert projector.weight.shape == (4, 7, 5)
    tokens = torch.randn(2, 64, 5)
    found = projector(tokens).view(2, 8, 8, 7)
    placed = tokens.view(2, 8, 8, 5)
    for number, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        area = (slice(None), slice(row, row + 4), slice(column, column + 4))
        expected = F.linear(placed[area], projector.weight[number], projector.bias[number])
        torch.testing.assert_close(found[area], expected)


def test_dropout_acts_in_training_alone():
    projector = GroupwiseProjector(5, 7, (4, 4), dropout=0.5)
    tokens = torch.randn(3, 16, 5)
    assert 0.3 < (projector(tokens) == 0).float().mean() < 0.7
    assert not (projector.eval()(tokens) == 0).any()


@pytest.mark.parametrize(("grid", "expected"), [((8, 8), 2), ((14, 14), 1), ((32, 32), 0), ((1, 1), 3), ((4, 4), 3)])
def test_the_nearest_layer_is_by_the_ratio_of_positions_and_the_deepest_of_equals(grid, expected):
    layers = [Layer(str(i), 0.0, 4, (side, side)) for i, side in enumerate((32, 16, 8, 4))]
    assert stage(layers, grid, "nearest") == expected
    assert stage([*layers, layers[-1]], (4, 4), "nearest") == 4
    assert stage(layers, grid, 1) == 1


def test_the_student_s_heads_are_the_teacher_s(pair):
    assert attention_shape(pair[1].extractor) == (2, 8)
    assert compared(pair).attention(torch.randn(4, compared(pair).grid[0] ** 2, 12)).shape[1:3] == (4, 2)


@pytest.mark.parametrize("matched", ["attention", "logits"])
def test_terms_are_those_of_their_definitions(pair, matched):
    student, teacher = pair[2], pair[3]
    comparison = compared(pair, matched=matched)
    side = comparison.grid[0]
    assert side == min(8, teacher.grids[-1][0])
    found = comparison(student, teacher)
    mine = resample_tokens(student.tokens[2], (8, 8), (side, side))
    their = [
        torch.stack([resample_tokens(part[:, h], teacher.grids[-1], (side, side)) for h in range(2)], 1)
        for part in teacher.qkv[-1]
    ]
    q, k, v = comparison.attention(mine)
    maps = capd_attention(q, k, matched), capd_attention(their[0], their[1], matched)
    squared = (maps[0] - maps[1]).square()
    tokens = resample_tokens(teacher.tokens[-1], teacher.grids[-1], (side, side))
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = {
        "attention": squared.sum(-1).mean() if matched == "attention" else squared.mean(),
        "values": F.mse_loss(capd_values(v), capd_values(their[2])),
        "logits": (student.logits - teacher.logits).square().mean(),
        "class_token": (comparison.class_token(student.pooled) - teacher.pooled).square().mean(),
        "tokens": (comparison.tokens(mine) - tokens).square().mean(),
    }
    assert found.terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found.terms[name], value, msg=name)
    torch.testing.assert_close(found.maps, maps)
    torch.testing.assert_close(found.tokens[1], tokens)


def test_mixing_gives_the_student_half_of_the_teacher_and_leaves_the_teacher_alone(pair):
    plain, mixed = compared(pair), compared(pair, partial=True)
    torch.manual_seed(3)
    one, two = plain(pair[2], pair[3]), mixed(pair[2], pair[3])
    assert not torch.allclose(one.maps[0], two.maps[0])
    assert torch.equal(one.maps[1], two.maps[1])
    for name in ("logits", "tokens", "class_token"):
        assert torch.equal(one.terms[name], two.terms[name])


def test_only_what_a_term_reads_is_made_and_each_parameter_has_a_gradient(pair):
    made = {
        "attention": {"attention"}, "values": {"attention"}, "logits": set(), "class_token": {"class_token"},
        "tokens": {"tokens"},
    }  # fmt: skip
    for name, parts in made.items():
        comparison = compared(pair, {name})
        assert {key for key, _ in comparison.named_children()} == parts
        found = comparison(pair[2], pair[3])
        assert set(found.terms) == {name}
        gradients = (
            torch.autograd.grad(found.terms[name], list(comparison.parameters()), retain_graph=True) if parts else ()
        )
        assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_losses_are_fp32_under_autocast_and_near_those_without(pair):
    comparison = compared(pair)
    plain = comparison(pair[2], pair[3]).terms
    with torch.autocast("cpu", torch.bfloat16):
        cast = comparison(pair[2], pair[3]).terms
    for name, value in cast.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, plain[name], rtol=0.02, atol=1e-3, msg=name)
    assert torch.equal(cast["tokens"], plain["tokens"])  # its maths stays out of bf16


def test_rows_are_at_most_two_apart():
    torch.testing.assert_close(row_distance(torch.eye(5)[None], torch.eye(5).roll(1, 0)[None]), torch.tensor(2.0))
    assert row_distance(torch.eye(5)[None], torch.eye(5)[None]) == 0


def test_losses_of_the_two_sides():
    zeros = torch.zeros(3, 2)
    assert float(adversary_loss(zeros, zeros)) == pytest.approx(math.log(2))
    assert float(deceiving_loss(zeros)) == pytest.approx(math.log(2))
    scores = torch.tensor([1.5, -0.5])
    ones, nil = torch.ones(2), torch.zeros(2)
    bce = F.binary_cross_entropy_with_logits
    expected = (bce(scores, ones) + bce(scores.flip(0), nil)) / 2
    torch.testing.assert_close(adversary_loss(scores, scores.flip(0)), expected)
    torch.testing.assert_close(deceiving_loss(scores), bce(scores, ones))
    sure = torch.tensor([-20.0], requires_grad=True)
    deceiving_loss(sure).backward()
    assert sure.grad == pytest.approx(-1.0)  # it does not saturate where the adversary is sure


def test_an_adversary_scores_tokens_or_a_map_of_one_image():
    torch.manual_seed(0)
    mlp, gan = adversary("mlp", 6, 8, 64), adversary("patchgan", 6, 8, 64)
    assert isinstance(mlp, TokenMLP)
    assert isinstance(gan, MapPatchGAN)
    assert mlp(torch.randn(3, 64, 6)).shape == (3, 64, 1)
    maps = torch.rand(3, 64, 64)
    torch.testing.assert_close(gan(maps)[1:], gan(maps[1:]))
    assert adversary("none", 6, 8, 64) is None
    assert torch.isfinite(gan(torch.rand(1, SMALLEST, SMALLEST))).all()
    with pytest.raises(ValueError, match="spatial"):
        gan(torch.rand(1, SMALLEST - 1, SMALLEST - 1)).sum().item()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3}, r"^layer: must be nearest or .* 0 \(layer1, 32x32\).* got 3"),
        ({"layer": True}, "^layer: must be nearest"),
        ({"projector": "mlp"}, "^projector: must be one of conv, linear"),
        ({"matched": "maps"}, "^matched: must be one of attention, logits"),
        ({"group": 0}, "^group: must be at least 1 position"),
        ({"dropout": 1.0}, r"^dropout: must lie in \[0, 1\)"),
    ],
)
def test_bad_arguments_are_named(pair, settings, message):
    with pytest.raises(ArgumentError, match=message):
        compared(pair, **settings)


@pytest.mark.parametrize(("kind", "message"), [("cnn", "must be one of mlp"), ("patchgan", "patchgan needs 24")])
def test_bad_adversaries_are_named(kind, message):
    with pytest.raises(ArgumentError, match=f"^adversary: {message}"):
        adversary(kind, 6, 8, 16)


def test_queries_keys_and_values_are_all_mixed(pair, monkeypatch):
    """Where all is the teacher's, nothing is left to compare."""
    monkeypatch.setattr("kdbias.modules.capd_terms.capd_mix", lambda mine, theirs: theirs)
    terms = compared(pair, partial=True)(pair[2], pair[3]).terms
    assert (terms["attention"], terms["values"]) == (0, 0)
