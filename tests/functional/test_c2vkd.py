"""The graph of tokens: the official code's numbers, covariances by loops, invariances, tokens that are 0."""

import math
import statistics

import pytest
import torch

from kdbias.functional import token_graph


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


def tokens_of(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2).mT


@pytest.fixture
def maps():
    """Two maps ``(B, C, h, w)``: a CNN's and a ViT's."""
    return wave(2, 3, 2, 2), wave(2, 3, 2, 2, step=1.3)


OFFICIAL = {
    "cnn": [
        [0.4713535578947226, -0.09295550187274361, -0.3000188057163285, -0.3701069692326798],
        [-0.09295550187274361, 0.4702007984425778, 0.40405559105266425, 0.344013086098097],
        [-0.3000188057163285, 0.40405559105266425, 0.454199839656536, 0.4424341746692347],
        [-0.3701069692326798, 0.344013086098097, 0.4424341746692347, 0.45316454438407405],
    ],
    "one": 0.01606310388802676,
    "batch": 0.012579611294611062,
    "gradient": [  # of the first image's map, channel by channel
        [-0.0002352916668053842, 0.00016028320421855634, 0.0009281128563954989, -2.3812096656385595e-06],
        [1.3340973748471793e-05, -0.0008232980566390218, -0.00027124136739561597, -0.00039612882561574606],
        [-1.4237458948305635e-05, -2.9745620779188763e-05, -0.0004940825197562327, 0.0001264388821576683],
    ],
}
WEIGHT = 0.1  # ``graph_loss_weight``


def test_official_numbers_of_one_image(maps):
    """From the "patch-wise feature loss" of train.py, zhengxuJosh/C2VKD, in fp64."""
    cnn, vit = (token_graph(tokens_of(x[:1])) for x in maps)
    torch.testing.assert_close(cnn[0], torch.tensor(OFFICIAL["cnn"], dtype=torch.float64), rtol=1e-12, atol=1e-15)
    assert WEIGHT * (cnn - vit).square().mean().item() == pytest.approx(OFFICIAL["one"], rel=1e-12)


def test_official_numbers_of_a_batch(maps):
    """The official graph is over all tokens of the batch."""
    cnn, vit = maps
    vit.requires_grad_()
    graphs = [token_graph(tokens_of(x).flatten(0, 1)[None]) for x in (cnn, vit)]
    assert graphs[0].shape == (1, 8, 8)
    loss = WEIGHT * (graphs[0] - graphs[1]).square().mean()
    loss.backward()
    assert loss.item() == pytest.approx(OFFICIAL["batch"], rel=1e-12)
    gradient = torch.tensor(OFFICIAL["gradient"], dtype=torch.float64)
    torch.testing.assert_close(vit.grad[0].flatten(1), gradient, rtol=1e-9, atol=1e-15)
    blocks = torch.stack([graphs[1][0, :4, :4], graphs[1][0, 4:, 4:]])
    torch.testing.assert_close(token_graph(tokens_of(vit)), blocks)  # ours are its blocks on the diagonal


def test_covariances_by_loops():
    tokens = wave(2, 5, 4)
    for image, graph in zip(tokens.tolist(), token_graph(tokens), strict=True):
        directions = [[x / math.hypot(*token) for x in token] for token in image]
        expected = [statistics.covariance(a, b) for a in directions for b in directions]
        assert graph.flatten().tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_length_sign_and_order_of_channels_do_not_count_but_a_rotation_does():
    tokens = wave(2, 5, 4)
    graph = token_graph(tokens)
    lengths = torch.linspace(0.1, 30.0, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(token_graph(tokens * lengths), graph)
    torch.testing.assert_close(token_graph(-tokens), graph)
    torch.testing.assert_close(token_graph(tokens[..., [2, 0, 3, 1]]), graph)
    rotation = torch.linalg.qr(wave(4, 4, step=0.31) + torch.eye(4)).Q
    assert (token_graph(tokens @ rotation) - graph).abs().max() > 0.01


def test_tokens_in_another_order_are_nodes_in_another_order():
    tokens, order = wave(2, 5, 4), [3, 0, 4, 2, 1]
    torch.testing.assert_close(token_graph(tokens[:, order]), token_graph(tokens)[:, order][:, :, order])


def test_images_do_not_see_one_another():
    tokens = wave(2, 5, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(token_graph(tokens)[0].square().sum(), tokens)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].eq(0).all()


def test_graphs_are_covariances():
    graph = token_graph(wave(3, 6, 8))
    torch.testing.assert_close(graph, graph.mT)
    assert torch.linalg.eigvalsh(graph).min() > -1e-12
    assert graph.diagonal(dim1=1, dim2=2).max() <= 1 / 7
    centred = torch.tensor([[[1.0, -1.0], [-2.0, 2.0]]])  # nothing is lost by centring: the bound, and its opposite
    torch.testing.assert_close(token_graph(centred), torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]))


def test_tokens_without_direction_or_contrast():
    tokens = wave(1, 4, 3)
    tokens[0, 1] = 0.0
    tokens[0, 2] = 5.0
    tokens.requires_grad_()
    graph = token_graph(tokens)
    assert graph[0, 1].eq(0).all()
    assert graph[0, 2].abs().max() < 1e-15
    (graph - 0.1).square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert tokens.grad[0, 1].eq(0).all()
    assert tokens.grad[0, 0].abs().sum() > 0


def test_gradient_is_that_of_the_formula():
    assert torch.autograd.gradcheck(token_graph, wave(2, 3, 4).requires_grad_())


def test_autocast_does_not_count():
    tokens = wave(2, 5, 16)
    outside = token_graph(tokens.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = token_graph(tokens.float())
        assert token_graph(tokens.bfloat16()).dtype == torch.float32
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    in_fp64 = token_graph(tokens)
    assert in_fp64.dtype == torch.float64
    torch.testing.assert_close(outside.double(), in_fp64, rtol=1e-4, atol=1e-7)


def test_bad_input_is_an_error():
    with pytest.raises(ValueError, match=r"expected tokens \(B, N, D\) with D >= 2, got \(5, 4\)"):
        token_graph(wave(5, 4))
    with pytest.raises(ValueError, match=r"D >= 2, got \(2, 5, 1\)"):
        token_graph(wave(2, 5, 1))
