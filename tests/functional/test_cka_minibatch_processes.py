"""Minibatch CKA over processes: each has minibatches of its own, all have the CKA of one with the same minibatches."""

import pytest
import torch
import torch.distributed as dist
from processes import alone, found_by
from test_cka_minibatch import related, stream

from kdbias.functional.cka.minibatch import MinibatchCKA
from kdbias.functional.cka.structure import NoStructure

SHARES = {2: [0, 16, 48], 3: [0, 16, 16, 48]}
"""Where each process's samples begin and end, in minibatches of 8; of three, the second has none."""
ENDS = [0, 13, 24]
"""Of the first and the last process: a minibatch with a rest of 5, and one with a rest of 3, which is left out."""


def share(xs, ys, begin, end, **settings):
    part = MinibatchCKA(batch=8, **settings)
    if end > begin:
        part.update([x[begin:end] for x in xs], None if ys is None else [y[begin:end] for y in ys])
    return part


def outcome(cka):
    """Give what ``compute`` finds without structure."""
    with pytest.raises(NoStructure) as error:
        cka.compute()
    return error.value.side, error.value.layers, str(error.value)


def flat(xs, begin, end):
    """Give the layers, the third without structure between two samples."""
    return [*xs[:2], torch.cat([xs[2][:begin], torch.ones(end - begin, 3), xs[2][end:]])]


def work(rank, world):
    xs, (begin, end) = related(48), SHARES[world][rank : rank + 2]
    found = {}
    for kernel in ("linear", "rbf"):
        for ys in (None, xs[1:]):
            part = share(xs, ys, begin, end, kernel=kernel)
            whole = part.reduced()
            found[kernel, ys is not None] = (part.n, whole.n, whole.compute())
    part.update([x[:5] for x in xs], [y[:5] for y in xs[1:]])  # after the sum
    found["on"] = (part.n, part.reduced().n)

    last = share(xs, None, 0, 48 if rank == world - 1 else 0).reduced()
    nobody = share(xs, None, 0, 0).reduced()
    found["last"], found["none"], found["few"] = last.compute(), nobody.n, share(xs, None, 0, 3).reduced().n
    with pytest.raises(ValueError, match="at least 4 samples"):
        nobody.compute()

    # The last process alone has a minibatch without structure, in a full one or in its rest: no error before compute.
    for name, ends in (("full", (40, 48)), ("rest", (16, 21))):
        dead = flat(xs, *ends)
        part = share(dead, None, begin, 21 if name == "rest" and rank == world - 1 else end, kernel="rbf")
        found[name] = outcome(part.reduced())
    found["linear"] = share(flat(xs, 40, 48), None, begin, end).reduced().compute()
    found["all"] = outcome(share(flat(xs, 0, 48), None, begin, end).reduced())

    pair = dist.new_group([0, world - 1])
    if rank in (0, world - 1):
        ends = share(xs, None, *ENDS[rank > 0 :][:2]).reduced(pair)
        found["pair"] = (ends.n, ends.compute())

    unlike = [share(xs[: 3 - (rank == 1)], None, 0, 8), share(xs, None, 0, 8, scale=1.0 + rank)]
    errors = []
    for one in unlike:
        with pytest.raises(ValueError, match="expected the same kernel") as error:
            one.reduced()
        errors.append(str(error.value))
    found["errors"] = errors
    return found


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory):
    return found_by(work, request.param, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_processes_equal_one_with_the_same_minibatches(found, kernel, two):
    xs, shares = related(48), SHARES[len(found)]
    expected = stream(xs, xs[1:] if two else None, 48, kernel=kernel, batch=8).compute()
    for rank, each in enumerate(found):
        own, n, cka = each[kernel, two]
        assert (own, n) == (shares[rank + 1] - shares[rank], 48)
        torch.testing.assert_close(cka, expected, rtol=1e-12, atol=0)
        assert torch.equal(cka, found[0][kernel, two][2])


def test_what_was_summed_goes_on_as_it_was(found):
    """The 5 samples are a minibatch in each process."""
    shares = SHARES[len(found)]
    for rank, each in enumerate(found):
        assert each["on"] == (shares[rank + 1] - shares[rank] + 5, 48 + 5 * len(found))


def test_one_process_may_have_all_samples_or_none_any_or_too_few(found):
    expected = stream(related(48), None, 48, batch=8).compute()
    for each in found:
        torch.testing.assert_close(each["last"], expected, rtol=1e-12, atol=0)
        assert (each["none"], each["few"]) == (0, 0)


def test_each_process_has_a_rest_of_its_own(found):
    """One process that meets the two minibatches first and the rest of 5 last weighs them alike."""
    xs = related(48)
    order = [*range(8), *range(13, 21), *range(8, 13)]
    expected = stream([x[order] for x in xs], None, 21, batch=8).compute()
    for each in (found[0], found[-1]):
        assert each["pair"][0] == 21
        torch.testing.assert_close(each["pair"][1], expected, rtol=1e-12, atol=0)


def test_no_structure_in_one_process_is_the_error_of_one_with_all_in_all(found):
    xs = related(48)
    for each in found:
        for name in ("full", "rest"):
            assert each[name] == outcome(stream(flat(xs, 40, 48), None, 48, kernel="rbf", batch=8))
            assert each[name][:2] == (0, (2,))
        assert each["all"] == outcome(stream(flat(xs, 0, 48), None, 48, batch=8))
        # Under the linear kernel such a minibatch adds 0, and the others have structure.
        expected = stream(flat(xs, 40, 48), None, 48, batch=8).compute()
        torch.testing.assert_close(each["linear"], expected, rtol=1e-12, atol=0)


def test_other_layers_or_settings_in_one_process_are_an_error_in_all(found):
    assert all(each["errors"] == found[0]["errors"] for each in found)
    layers, scale = found[0]["errors"]
    assert "linear, 8, 1.0 and [[6, 30, 3]] (process 0); linear, 8, 1.0 and [[6, 30]] (process 1)" in layers
    assert "linear, 8, 1.0 and [[6, 30, 3]] (process 0); linear, 8, 2.0 and [[6, 30, 3]] (process 1)" in scale


def test_alone_it_gives_the_accumulator_itself(tmp_path):
    cka = MinibatchCKA()
    assert cka.reduced() is cka
    with alone(tmp_path):
        assert cka.reduced() is cka
