"""Streaming CKA over processes: each has its share of the samples, all have the CKA of one with all of them."""

import pytest
import torch
import torch.distributed as dist
from processes import alone, found_by
from test_cka_stream import drifting, in_parts

from kdbias.functional import StreamingCKA, linear_cka

SHARES = {2: [0, 37, 50], 4: [0, 20, 21, 21, 50]}
"""Where each process's samples begin and end; of four, the third has none."""


def work(rank, world):
    xs, ys = drifting(50)
    one, two = (in_parts(xs, other, SHARES[world])[rank] for other in (None, ys))
    reduced = one.reduced()
    found = {"one": (reduced.n, reduced.compute()), "two": (two.n, two.reduced().compute()), "share": one.n}
    one.update([x[:5] for x in xs])  # after the sum, and all take the same samples
    found["on"] = (one.n, one.reduced().n)

    last = in_parts(xs, ys, [0, 50])[0] if rank == world - 1 else StreamingCKA()
    found["last"] = last.reduced().compute()
    found["none"] = StreamingCKA().reduced().n

    pair = dist.new_group([0, world - 1])
    if rank in (0, world - 1):
        ends = in_parts(xs, None, [0, 30, 50])[rank > 0].reduced(pair)
        found["pair"] = (ends.n, ends.compute())

    unlike = StreamingCKA()
    unlike.update([torch.randn(8, 3)] * (2 if rank == 1 else 1))
    with pytest.raises(ValueError, match="expected layers") as error:
        unlike.reduced()
    found["error"] = str(error.value)
    return found


@pytest.fixture(scope="module", params=[2, 4])
def found(request, tmp_path_factory):
    return found_by(work, request.param, tmp_path_factory.mktemp("processes"))


def matrix(xs, ys):
    return torch.stack([torch.stack([linear_cka(x, y) for y in ys]) for x in xs])


def test_processes_with_unlike_shares_equal_one_with_all(found):
    xs, ys = drifting(50)
    shares = SHARES[len(found)]
    for rank, each in enumerate(found):
        assert each["share"] == shares[rank + 1] - shares[rank]
        assert each["one"][0] == 50
        torch.testing.assert_close(each["one"][1], matrix(xs, xs), rtol=1e-9, atol=0)
        torch.testing.assert_close(each["two"][1], matrix(xs, ys), rtol=1e-9, atol=0)
        assert torch.equal(each["one"][1], found[0]["one"][1])


def test_what_was_summed_goes_on_as_it_was(found):
    assert [each["on"] for each in found] == [(each["share"] + 5, 50 + 5 * len(found)) for each in found]


def test_one_process_may_have_all_samples_or_none_any(found):
    for each in found:
        torch.testing.assert_close(each["last"], matrix(*drifting(50)), rtol=1e-9, atol=0)
        assert each["none"] == 0


def test_a_group_sums_its_own_processes(found):
    xs, _ = drifting(50)
    for each in (found[0], found[-1]):
        assert each["pair"][0] == 50
        torch.testing.assert_close(each["pair"][1], matrix(xs, xs), rtol=1e-9, atol=0)


def test_other_layers_in_one_process_are_an_error_in_all(found):
    assert len({each["error"] for each in found}) == 1
    assert "[[3]] (process 0), [[3, 3]] (process 1)" in found[0]["error"]


def test_alone_it_gives_the_accumulator_itself(tmp_path):
    cka = StreamingCKA()
    assert cka.reduced() is cka
    with alone(tmp_path):
        assert cka.reduced() is cka
