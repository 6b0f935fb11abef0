"""Streaming CKA: exactly what all samples at once give."""

from itertools import pairwise

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


def drifting(n: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Give layers of two networks whose mean moves from the first samples to the last, far from 0."""
    drift = 100.0 + 0.1 * torch.arange(n, dtype=torch.float64)[:, None]
    return tuple([x + drift for x in layers(7, n, widths)] for widths in ([5, 30, 3], [7, 4]))


def in_parts(xs, ys, bounds):
    parts = []
    for start, stop in pairwise(bounds):
        part = StreamingCKA()
        for i in range(start, stop, 9):
            rows = slice(i, min(i + 9, stop))
            part.update([x[rows] for x in xs], None if ys is None else [y[rows] for y in ys])
        parts.append(part)
    return parts


@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("bounds", [[0, 25, 50], [0, 1, 3, 3, 44, 50], [0, 0, 50, 50]])
def test_merged_parts_equal_all_at_once(two, bounds):
    xs, ys = drifting(50)
    whole = StreamingCKA()
    for part in in_parts(xs, ys if two else None, bounds):
        whole.merge(part)
    expected = torch.stack([torch.stack([linear_cka(x, y) for y in (ys if two else xs)]) for x in xs])
    assert whole.n == 50
    torch.testing.assert_close(whole.compute(), expected, rtol=1e-9, atol=0)


def test_it_can_go_on_after_a_merge_and_the_other_stays_as_it_is():
    xs, _ = drifting(60)
    first, second = in_parts(xs, None, [0, 20, 40])
    before = second.compute()
    first.merge(second)
    first.update([x[40:50] for x in xs])
    last = in_parts(xs, None, [50, 60])[0]
    last.merge(first)
    assert (last.n, second.n) == (60, 20)
    assert torch.equal(second.compute(), before)
    torch.testing.assert_close(last.compute(), stream(xs, None, [60]).compute(), rtol=1e-9, atol=0)


def test_parts_of_other_layers_do_not_merge():
    one, two = StreamingCKA(), StreamingCKA()
    one.update([torch.randn(8, 3)])
    two.update([torch.randn(8, 3)], [torch.randn(8, 3)])
    before = one.compute()
    with pytest.raises(ValueError, match=r"got \[\[3\]\] \(here\), \[\[3\], \[3\]\] \(there\)"):
        one.merge(two)
    assert torch.equal(one.compute(), before)
