"""A training step waits for the device nowhere: what would stop a GPU's queue shows among the operations on the CPU."""

import pytest
import torch
from waits import noted

from kdbias.config.build import build
from kdbias.data.augment import Augment
from kdbias.data.cues import cues
from kdbias.data.resident import ResidentLoader
from kdbias.functional import sskd_keep
from kdbias.functional.sskd import sskd_parts
from kdbias.losses.negatives import ByClass
from kdbias.models.teacher import Teacher
from kdbias.modules.base import step_seed
from kdbias.modules.distill import Distill


def test_what_waits_is_noted():
    x = torch.arange(4.0)
    with noted() as found:
        _ = bool(x.sum() > 1), float(x[0]), x.tolist(), x.numpy(), x.cpu(), x[x > 1], x.nonzero(), x.unique()
        x.index_put_((x > 2,), torch.zeros(()))
        _ = torch.tensor([1.0], device=x.device), torch.equal(x, x), 1.0 in x
    kinds = [each.rpartition(": ")[2] for each in found]
    assert kinds[:6] == ["_local_scalar_dense"] * 2 + ["tolist", "numpy", "cpu", "index"]
    assert {"nonzero", "_unique2", "tensor", "equal"} <= set(kinds)
    assert any(kind.startswith("index_put") for kind in kinds)
    assert found[0].startswith("test_waits.py:test_what_waits_is_noted: ")


def test_what_does_not_wait_is_not_noted():
    x, rows = torch.arange(4.0, requires_grad=True), torch.tensor([0, 2])
    with noted() as found:
        y = torch.where(x > 1, x[rows].sum(), x.gather(0, rows).mean()).softmax(0)
        y.sum().backward()
        _ = x.detach().index_put((rows,), torch.ones(2)), torch.zeros(3), len(x), x.shape[0]
    assert found == []


@pytest.mark.parametrize("policy", ["none", "cifar10", "trivialaugment"])
def test_batches_are_made_without_waiting(policy):
    source = cues(train=64, val=4, test=4)
    augment = Augment(policy=policy, cutout=8, rotate=10.0, view="photometric", teacher_stress="grey")
    loader = ResidentLoader(*source.split("train"), info=source.info, batch_size=16, augment=augment, shuffle=True)
    batches = iter(loader)
    next(batches)  # the tables of the policy are made once
    with noted() as found:
        assert len(list(batches)) == 3
    assert found == []


@pytest.mark.parametrize("negatives", [5, 30, 35, 40, 90])
@pytest.mark.parametrize("relax", [False, True])
def test_negatives_are_drawn_without_waiting_where_all_classes_are_prepared(negatives, relax, monkeypatch):
    """As on a GPU; 10, 20 and 20 images of three classes, so 40, 30 and 30 of others."""
    classes = torch.tensor([7] * 10 + [2] * 20 + [5] * 20)
    by_class, index = ByClass(classes), torch.tensor([0, 9, 10, 49, 30])
    monkeypatch.setattr(ByClass, "_prepared", lambda self, own: (torch.arange(len(self._counts)), own))
    with noted() as found:
        drawn = by_class.draw(index, negatives, relax)
    assert found == []
    assert (classes[drawn[:, 1:]] != classes[index][:, None]).all()
    assert (classes[drawn[:, 0]] == classes[index]).all()
    if negatives <= 30:
        assert all(len(set(row)) == negatives for row in drawn[:, 1:].tolist())


def test_a_gpu_has_all_classes_prepared_unless_their_table_is_too_large(monkeypatch):
    by_class = ByClass(torch.arange(20) % 4)
    own = torch.tensor([3, 1], device="meta")
    by_class._counts = by_class._counts.to("meta")
    classes, row = by_class._prepared(own)
    assert (classes.shape, row is own) == ((4,), True)
    monkeypatch.setattr("kdbias.losses.negatives.MOST", 79)
    with pytest.raises(NotImplementedError, match="unique"):
        by_class._prepared(own)


def test_the_rows_of_sskd_are_chosen_without_waiting():
    torch.manual_seed(0)
    logits, others, features = torch.randn(16, 5, requires_grad=True), torch.randn(16, 5), torch.randn(16, 6)
    with noted() as found:
        parts = sskd_parts(logits, others, features, features, torch.tensor([3, 0, 4, 1]), ratio_tf=0.5)
        sum(parts.values()).backward()
    assert found == []
    with noted() as found:
        sskd_keep(torch.randn(3, 2), torch.tensor([0, 1, 1]), 0.5)  # the indices themselves: their number is a value
    assert [each.rpartition(": ")[2] for each in found] == ["_local_scalar_dense", "nonzero"]


def test_a_run_that_compiles_compiles_its_teacher_too(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *args, **kwargs: compiled.append(self))
    info = cues(train=8, val=4, test=4).info
    vit = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 1, "heads": 1, "patch": 16}
    teacher = Teacher(build(vit, info), "teacher")
    for wanted in (True, False):
        spec = {"model": vit, "loss": {"kl": {"_target_": "kdbias.losses.kl.KL"}}, "data": info.to_dict()}
        module = Distill(spec | {"compile": wanted}, teacher)
        module.setup("test")
        assert compiled == []
        module.setup("fit")
        assert compiled == ([module.student, module.teacher.extractor] if wanted else [])
        compiled.clear()


def test_the_seed_of_a_step_is_that_of_int64_sums():
    primes = torch.tensor([1_000_003, 7_368_787, 2_147_483_647])
    for place in [(0, 0, 0), (3, 1, 99), (2**62 - 1, 7, 10**9), (2**63 - 1, 63, 1), (-5, 1, 2)]:
        expected = int(torch.tensor(place, dtype=torch.int64).mul(primes).sum().abs() % 2**62)
        assert step_seed(*place) == expected
    with noted() as found:
        step_seed(1, 0, 5)
    assert found == []
