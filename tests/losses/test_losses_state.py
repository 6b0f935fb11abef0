"""A term that remembers: what every such term of conf/loss keeps, and a bank of the tests beside them."""

import pytest
import torch
from bank_term import Bank
from state import STEPS, buffers, in_two_processes, same, trained
from test_loss_contract import NAMES, term_of
from two_processes import Step

from kdbias.losses.base import LossTerm, Rows, Total
from kdbias.losses.ce import CE


class ForwardWrites(Bank):
    """Takes the batch into the bank at once, as the official CRD does."""

    def forward(self, *args):
        loss = super().forward(*args)
        with torch.no_grad():
            self.update({key: rows.detach() for key, rows in self.pending.items()})
        return loss


def terms() -> dict[str, LossTerm]:
    found = {name: term_of(name) for name in NAMES}
    return {name: term for name, term in found.items() if term.remembers} | {"a bank": Bank()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return in_two_processes(terms(), tmp_path_factory.mktemp("processes"))


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", terms())
def test_two_processes_remember_what_one_does(name, parts):
    """The same in both, bit for bit: else DDP, which sends the buffers of process 0 to all, would change them."""
    first, second = (part[name] for part in parts)
    assert same(first, second)
    close(first, trained(terms()[name]))


@pytest.mark.parametrize("name", terms())
def test_the_state_moves(name):
    begin, end = buffers(Step(terms()[name]).double()), trained(terms()[name])
    assert any(not torch.equal(value, end[f"total.{key}"]) for key, value in begin.items())


@pytest.mark.parametrize("name", terms())
def test_a_state_dict_is_all_that_it_needs_to_go_on(name):
    assert same(trained(terms()[name]), trained(terms()[name], stop=2))


def spied(name: str) -> tuple[LossTerm, list[Rows]]:
    """Give a term, and the rows that it is updated with from now on."""
    seen = []

    class Spy(type(terms()[name])):
        def update(self, rows):
            seen.append({key: row.clone() for key, row in rows.items()})
            super().update(rows)

    term = terms()[name]
    term.__class__ = Spy
    return term, seen


@pytest.mark.parametrize("name", terms())
@pytest.mark.parametrize("how", [{}, {"again": True}, {"parts": 2}, {"parts": 2, "again": True}])
def test_a_step_takes_every_image_once(name, how):
    """However often its batches are computed, and in however many parts."""
    term, seen = spied(name)
    trained(term, **how)
    assert len(seen) == STEPS
    assert {len(row) for rows in seen for row in rows.values()} == {16}
    assert not any(row.requires_grad for rows in seen for row in rows.values())


@pytest.mark.parametrize("name", terms())
def test_a_batch_that_is_computed_again_changes_nothing(name):
    assert same(trained(terms()[name]), trained(terms()[name], again=True))


def test_a_forward_that_writes_is_found():
    with pytest.raises(AssertionError, match="that is what update is for"):
        trained(ForwardWrites())


def test_the_bank_is_what_its_formula_says(pair):
    """Two steps by hand: Z stays that of the first, a row moves by half and has length 1, the others stay."""
    two = pair()
    total = Total({"bank": Bank()})
    two.build(total)
    term = total._term("bank")
    start, batch = term.bank.clone(), two.batch()
    total(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    total.hold(0)
    total.update()
    key = torch.nn.functional.normalize(two.teacher(batch.image).pooled.detach(), dim=1)
    moved = (start[:16] + key) / 2
    torch.testing.assert_close(term.bank[:16], moved / moved.norm(dim=1, keepdim=True))
    assert torch.equal(term.bank[16:], start[16:])
    query = torch.nn.functional.normalize(term.project(two.student(batch.image).pooled), dim=1)
    first = (query @ start.T / 0.5).exp().mean()
    torch.testing.assert_close(term.z, first.detach())
    total(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    total.hold(1)
    total.update()
    torch.testing.assert_close(term.z, first.detach())


def test_a_resting_term_remembers_nothing(pair):
    two = pair()
    late = Total({"ce": CE(), "bank": Bank({"kind": "step", "values": [0, 1], "at": [0.5]})})
    two.build(late)
    before, batch = late._term("bank").bank.clone(), two.batch()
    for progress, moved in ((0.0, False), (0.5, True)):
        late(two.student(batch.image), two.teacher(batch.image), batch, progress)
        late.hold(0)
        late.update()
        assert (not torch.equal(late._term("bank").bank, before)) is moved
    late.update()  # nothing is held any more
    now = late._term("bank").bank.clone()
    late(two.student(batch.image), two.teacher(batch.image), batch, 0.0)
    late.hold(1)
    late.update()
    assert torch.equal(late._term("bank").bank, now)


def test_rows_are_of_images_and_somebody_takes_them(pair):
    class Scalar(LossTerm):
        def forward(self, student, teacher, batch, progress):
            self.pending = {"mean": student.pooled.mean()}
            return student.pooled.mean()

    class Left(LossTerm):
        def forward(self, student, teacher, batch, progress):
            self.pending = {"rows": student.pooled}
            return student.pooled.mean()

    two, batch = pair(), pair().batch()
    with pytest.raises(ValueError, match=r"Scalar: pending\['mean'\] needs a row for each of the 16 images, got \(\)"):
        Total({"x": Scalar()})(two.student(batch.image), None, batch, 0.0)
    left = Total({"x": Left()})
    left(two.student(batch.image), None, batch, 0.0)
    left.hold(0)
    with pytest.raises(NotImplementedError, match="Left leaves rows pending and must implement update"):
        left.update()


def test_needs_that_nothing_gives_are_named():
    class Unknown(LossTerm):
        needs = frozenset({"dens", "logits"})

    with pytest.raises(ValueError, match=r"loss\.x needs dens; there are dense, dist, logits, pooled, qkv, tokens"):
        Total({"x": Unknown()})
