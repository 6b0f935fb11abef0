"""What each logit term computes, and which head it reads."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import dkd, soft_kl, standardize_logits
from kdbias.losses.ce import CE
from kdbias.losses.dkd import DKD
from kdbias.losses.hard_kl import HardKL
from kdbias.losses.kl import KL


@pytest.fixture
def seen(pair):
    """Features of a student with a DIST token, of its teacher, and their batch."""
    two = pair(has_dist=True)
    batch = two.batch()
    return two.student(batch.image), two.teacher(batch.image), batch


def without_dist(student):
    return replace(student, distill_logits=None)


@pytest.mark.parametrize("soft", [False, True])
def test_ce_smooths_hard_and_soft_targets_alike(seen, pair, soft):
    student, _, _ = seen
    batch = pair().batch(mixed=soft)
    target = batch.target if soft else F.one_hot(batch.target, 10).float()
    smoothed = 0.9 * target + 0.1 / 10
    expected = -(smoothed * student.class_logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(CE(label_smoothing=0.1)(student, None, batch, 0.0), expected)


def test_ce_with_dist_is_the_mean_of_both_heads(seen):
    student, _, batch = seen
    heads = [F.cross_entropy(z, batch.target) for z in (student.class_logits, student.distill_logits)]
    torch.testing.assert_close(CE(label_smoothing=0.0, dist=True)(student, None, batch, 0.0), sum(heads) / 2)
    torch.testing.assert_close(CE(label_smoothing=0.0)(student, None, batch, 0.0), heads[0])


def test_ce_checks_its_heads(pair, tiny_info):
    info = pair().student.info
    with pytest.raises(ValueError, match=r"loss\.ce\.dist=true needs a student with a DIST token"):
        CE(dist=True).build(info, None, tiny_info)
    with pytest.raises(ValueError, match="needs a student with a classifier"):
        CE().build(replace(info, classes=None), None, tiny_info)
    with pytest.raises(ValueError, match=r"label_smoothing: must lie in \[0, 1\), got 1.0"):
        CE(label_smoothing=1.0)


def test_kl_reads_the_dist_head_where_there_is_one(seen):
    student, teacher, batch = seen
    torch.testing.assert_close(
        KL(temperature=3.0)(student, teacher, batch, 0.0), soft_kl(student.distill_logits, teacher.logits, 3.0)
    )
    torch.testing.assert_close(
        KL(temperature=3.0)(without_dist(student), teacher, batch, 0.0), soft_kl(student.logits, teacher.logits, 3.0)
    )


def test_kl_options(seen):
    student, teacher, batch = seen
    plain = KL()(student, teacher, batch, 0.0)
    torch.testing.assert_close(KL(reduction="numel")(student, teacher, batch, 0.0), plain / 10)
    z_s, z_t = standardize_logits(student.distill_logits), standardize_logits(teacher.logits)
    standardized = KL(temperature=2.0, standardize=True)(student, teacher, batch, 0.0)
    torch.testing.assert_close(standardized, soft_kl(z_s, z_t, 2.0))


def test_hard_kl_follows_the_teacher_and_not_the_label(seen):
    student, teacher, batch = seen
    other = batch._replace(target=(batch.target + 1) % 10)
    expected = F.cross_entropy(student.distill_logits, teacher.logits.argmax(dim=1))
    torch.testing.assert_close(HardKL()(student, teacher, batch, 0.0), expected)
    torch.testing.assert_close(HardKL()(student, teacher, other, 0.0), expected)


def test_dkd_is_the_function_with_a_warm_up(seen):
    student, teacher, batch = seen
    expected = dkd(student.distill_logits, teacher.logits, batch.target, 1.0, 8.0, 4.0)
    torch.testing.assert_close(DKD()(student, teacher, batch, 0.0), expected)
    assert [DKD().schedule(p) for p in (0.0, 0.04, 0.08, 1.0)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("term", [KL(), HardKL(), DKD()])
def test_a_teacher_without_logits_is_an_error_with_a_remedy(seen, term):
    student, teacher, batch = seen
    for silent in (None, replace(teacher, logits=None)):
        with pytest.raises(ValueError, match="needs a teacher with logits: choose one"):
            term(student, silent, batch, 0.0)


def test_bad_settings_are_refused_when_built():
    with pytest.raises(ValueError, match="temperature: must be above 0"):
        KL(temperature=0.0)
    with pytest.raises(ValueError, match="batchmean or numel, got 'mean'"):
        KL(reduction="mean")
    with pytest.raises(ValueError, match="temperature"):
        DKD(temperature=-4.0)
