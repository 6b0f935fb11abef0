"""Streaming CKA: exactly what all samples at once give."""

import pytest
import torch

from kdbias.functional import StreamingCKA, linear_cka


def layers(seed: int, n: int, widths: list[int], mean: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    mixed = [base @ torch.randn(4, w, generator=generator, dtype=torch.float64) for w in widths]
    return [m + torch.randn(m.shape, generator=generator, dtype=torch.float64) + mean for m in mixed]


def stream(xs, ys, sizes):
    cka, start = StreamingCKA(), 0
    for size in sizes:
        part = slice(start, start + size)
        cka.update([x[part] for x in xs], None if ys is None else [y[part] for y in ys])
        start += size
    return cka


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("sizes", [[50], [16, 16, 18], [1, 2, 47]])
def test_two_networks_equal_all_at_once(mean, sizes):
    xs, ys = layers(0, 50, [5, 80, 3], mean), layers(0, 50, [7, 4], mean)
    cka = stream(xs, ys, sizes)
    expected = torch.stack([torch.stack([linear_cka(x, y) for y in ys]) for x in xs])
    assert cka.n == 50
    torch.testing.assert_close(cka.compute(), expected, rtol=0, atol=1e-9)


def test_one_network_equals_all_at_once():
    xs = layers(1, 40, [6, 50, 8])
    matrix = stream(xs, None, [13, 27]).compute()
    expected = torch.stack([torch.stack([linear_cka(x, y) for y in xs]) for x in xs])
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(matrix, stream(xs, xs, [40]).compute(), rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_bf16_features_are_summed_in_fp64():
    xs = [x.bfloat16() for x in layers(2, 60, [16, 24], mean=3.0)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        matrix = stream(xs, None, [30, 30]).compute()
    assert matrix.dtype == torch.float64
    assert matrix[0, 1].item() == pytest.approx(linear_cka(xs[0].double(), xs[1].double()).item(), abs=1e-9)


def test_it_can_go_on_after_compute():
    xs = layers(3, 30, [4, 5])
    cka = stream([x[:20] for x in xs], None, [20])
    cka.compute()
    cka.update([x[20:] for x in xs])
    torch.testing.assert_close(cka.compute(), stream(xs, None, [30]).compute(), rtol=0, atol=1e-12)


def test_features_with_gradient_keep_no_graph():
    cka = stream([layers(4, 10, [3])[0].requires_grad_()], None, [10])
    assert not cka.compute().requires_grad


@pytest.mark.parametrize(
    ("xs", "ys", "message"),
    [
        ([], None, "expected"),
        ([torch.zeros(4, 2)], [], r"\(B, D\) for each layer"),
        ([torch.zeros(4, 2, 2)], None, r"\(4, 2, 2\)"),
        ([torch.zeros(4, 2)], [torch.zeros(5, 2)], "of one batch"),
        ([torch.zeros(0, 2)], None, "B >= 1"),
    ],
)
def test_wrong_batches(xs, ys, message):
    with pytest.raises(ValueError, match=message):
        StreamingCKA().update(xs, ys)


def test_other_layers_than_before():
    cka = StreamingCKA()
    cka.update([torch.randn(8, 3)])
    with pytest.raises(ValueError, match=r"widths \[\[3\]\] as in the first batch, got \[\[4\]\]"):
        cka.update([torch.randn(8, 4)])
    with pytest.raises(ValueError, match="as in the first batch"):
        cka.update([torch.randn(8, 3)], [torch.randn(8, 3)])


def test_a_layer_without_structure_is_named():
    x = layers(5, 12, [3])[0]
    with pytest.raises(ValueError, match=r"HSIC\(y\[1\], y\[1\]\) is 0"):
        stream([x], [x, torch.full((12, 4), 0.1)], [5, 7]).compute()


def test_too_few_samples():
    with pytest.raises(ValueError, match="at least 4 samples, got 0"):
        StreamingCKA().compute()
    with pytest.raises(ValueError, match="at least 4 samples, got 3"):
        stream(layers(6, 3, [2]), None, [3]).compute()
