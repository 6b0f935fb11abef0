"""Attention measures: reference values of uniform and identity attention, loops, prefix, errors."""

import math

import pytest
import torch

from kdbias.functional import (
    attention,
    attention_distance,
    attention_entropy,
    cls_dispersion,
    uniform_attention_distance,
)
from kdbias.functional.attention import attention_statistics


def random_attention(batch=2, heads=3, tokens=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, heads, tokens, tokens, generator=generator, dtype=torch.float64).mul(2).softmax(dim=-1)


@pytest.mark.parametrize(("grid", "expected"), [((8, 8), 4.136), ((14, 14), 7.281)])
def test_uniform_attention_is_the_reference_line(grid, expected):
    assert uniform_attention_distance(grid) == pytest.approx(expected, abs=5e-4)
    tokens = grid[0] * grid[1] + 1
    uniform = torch.full((1, 2, tokens, tokens), 1 / tokens)
    torch.testing.assert_close(attention_distance(uniform, grid), torch.full((1, 2), uniform_attention_distance(grid)))
    torch.testing.assert_close(attention_entropy(uniform), torch.full((1, 2), math.log(tokens - 1)))


def test_identity_attention_looks_nowhere():
    identity = torch.eye(17).expand(2, 3, 17, 17)
    assert attention_distance(identity, (4, 4)).eq(0).all()
    assert attention_entropy(identity).eq(0).all()


def test_a_step_to_the_right_is_one_patch():
    """On 1 x 4 all but the last patch look one to the right: (1 + 1 + 1 + 0) / 4."""
    attention = torch.zeros(1, 1, 4, 4)
    for query in range(4):
        attention[0, 0, query, min(query + 1, 3)] = 1.0
    assert attention_distance(attention, (1, 4), prefix=0).item() == pytest.approx(0.75)


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_against_loops(prefix):
    """A grid that is not square shows whether rows and columns are in the right order."""
    attention = random_attention(tokens=12 + prefix)
    distance, entropy, dispersion = (torch.zeros(2, 3, dtype=torch.float64) for _ in range(3))
    for b in range(2):
        for head in range(3):
            rows = attention[b, head, :, prefix:]
            rows = rows / rows.sum(dim=1, keepdim=True)
            for i in range(12):
                for j in range(12):
                    weight = rows[prefix + i, j].item()
                    distance[b, head] += weight * math.dist(divmod(i, 4), divmod(j, 4)) / 12
                    entropy[b, head] -= weight * math.log(weight) / 12
            for axis in (0, 1):
                places = torch.tensor([divmod(j, 4)[axis] for j in range(12)], dtype=torch.float64)
                dispersion[b, head] += rows[0] @ places**2 - (rows[0] @ places) ** 2
    torch.testing.assert_close(attention_distance(attention, (3, 4), prefix), distance)
    torch.testing.assert_close(attention_entropy(attention, prefix), entropy)
    if prefix:
        torch.testing.assert_close(cls_dispersion(attention, (3, 4), prefix), dispersion)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("piece", [1, 1000, 2**18])
def test_all_at_once_is_each_alone_in_pieces_of_any_size(prefix, piece, monkeypatch):
    maps = random_attention(batch=5, tokens=12 + prefix)
    monkeypatch.setattr(attention, "PIECE", piece)
    found = attention_statistics(maps, (3, 4), prefix)
    torch.testing.assert_close(found.distance, attention_distance(maps, (3, 4), prefix))
    torch.testing.assert_close(found.entropy, attention_entropy(maps, prefix))
    if prefix == 0:
        assert found[2:] == (None, None)
    else:
        torch.testing.assert_close(found.cls_dispersion, cls_dispersion(maps, (3, 4), prefix))
        torch.testing.assert_close(found.cls_self, maps[:, :, 0, 0])


def test_fp32_keeps_its_digits_where_little_goes_to_patches():
    """A query that gives CLS all but 1e-4: the rest is renormalised, so that it counts in full."""
    maps = random_attention(tokens=17)
    maps[..., 1:] *= 1e-4
    maps[..., 0] = 1 - maps[..., 1:].sum(-1)
    exact, found = attention_statistics(maps, (4, 4)), attention_statistics(maps.float(), (4, 4))
    torch.testing.assert_close(found.distance.double(), exact.distance, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.entropy.double(), exact.entropy, rtol=1e-5, atol=0)


def test_what_goes_to_the_prefix_does_not_count():
    attention = random_attention(tokens=17)
    drained = attention.clone()
    drained[..., 0] += 9.0  # the CLS column
    drained = drained / drained.sum(dim=-1, keepdim=True)
    for measure in (attention_distance, cls_dispersion):
        torch.testing.assert_close(measure(drained, (4, 4)), measure(attention, (4, 4)))
    torch.testing.assert_close(attention_entropy(drained), attention_entropy(attention))


def test_entropy_is_that_of_rows_not_of_the_mean_row():
    """Each patch looks at one other place: sharp, though all places are looked at equally often."""
    shifted = torch.eye(9).roll(1, dims=1)[None, None]
    assert attention_entropy(shifted, prefix=0).item() == 0.0


def test_cls_dispersion_of_one_place_and_of_all():
    attention = torch.zeros(1, 2, 65, 65)
    attention[:, 0, :, 10] = 1.0
    attention[:, 1] = 1 / 65
    torch.testing.assert_close(cls_dispersion(attention, (8, 8)), torch.tensor([[0.0, 10.5]]))


def test_bf16_gives_fp32():
    attention = random_attention().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = (
            attention_distance(attention, (1, 13)),
            attention_entropy(attention),
            cls_dispersion(attention, (13, 1)),
        )
    assert [r.dtype for r in results] == [torch.float32] * 3
    exact = attention_distance(attention.double(), (1, 13))
    torch.testing.assert_close(results[0].double(), exact, rtol=1e-5, atol=0)


def test_errors_say_what_came():
    attention = random_attention(tokens=17)
    with pytest.raises(ValueError, match="1 prefix tokens and 8x8 = 64 patches, got 17 tokens"):
        attention_distance(attention, (8, 8))
    with pytest.raises(ValueError, match=r"expected attention \(B, H, P\+N, P\+N\).*got \(2, 3, 17, 16\)"):
        attention_entropy(attention[..., :16])
    with pytest.raises(ValueError, match="expected attention"):
        attention_distance(attention[0], (4, 4))
    with pytest.raises(ValueError, match="prefix must be >= 1"):
        cls_dispersion(attention, (1, 17), prefix=0)


def test_a_row_without_patches_is_an_error_not_nan():
    attention = random_attention(tokens=17)
    attention[0, 0, 3, 1:] = 0.0
    with pytest.raises(ValueError, match="1 of 96 rows give no attention to patches"):
        attention_distance(attention, (4, 4))
