"""CSKD: the official code's numbers through the term, which logits it reads, grids, the schedule over training."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from kdbias.functional import cskd_target
from kdbias.losses.base import Total
from kdbias.losses.ce import CE
from kdbias.losses.cskd import CSKD, local_share
from kdbias.models.features import asked


def wave(*shape: int, step: float = 0.7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.sin(step * torch.arange(math.prod(shape), dtype=torch.float64)).view(*shape)


@pytest.fixture
def two(pair):
    two = pair(True, "vit", "cnn")
    two.build(CSKD())
    return two


def both(two, batch, ours, dist, theirs):
    """Features with these logits: at the student's places, of its DIST head, at the teacher's places."""
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    nothing = torch.full_like(dist, math.nan)  # logits that the term must not read
    student = replace(student, dense_logits=ours, distill_logits=dist, class_logits=nothing, logits=nothing)
    return student, replace(teacher, dense_logits=theirs, logits=nothing)


OFFICIAL = [  # targets, tau, loss at three tenths of training, from tests/functional/test_cskd.py
    ("hard", 1.0, "linear", 1.7439575981225703),
    ("hard", 1.0, "square", 1.7475853180378569),
    ("hard", 1.0, "cosine", 1.7391553700217646),
    ("soft", 1.0, "linear", 30.608717471177556),
    ("soft", 2.0, "cosine", 62.9766396876202),
]


@pytest.mark.parametrize(("targets", "tau", "schedule", "expected"), OFFICIAL)
def test_official_numbers(two, targets, tau, schedule, expected):
    """14×14 tokens against a map of 7×7: they are pooled, and the parts are summed with their weights."""
    ours, theirs = wave(2, 196, 5, step=0.37).mT.reshape(2, 5, 14, 14), wave(2, 5, 7, 7, step=0.83)
    dist, batch = wave(2, 5, step=1.1), two.batch(2)
    student, teacher = both(two, batch, ours, dist, theirs)
    g = theirs.mean((2, 3))
    if targets == "hard":
        whole = F.cross_entropy(dist, g.argmax(1))
    else:
        whole = tau**2 * F.kl_div((dist / tau).log_softmax(1), (g / tau).softmax(1), reduction="sum") / dist.numel()
    term = CSKD(targets=targets, temperature=tau, schedule=schedule, alpha=0.3, dense=2.0)
    loss = term(student, teacher, batch, 0.3)
    assert term.report["dense"].item() == pytest.approx(expected, rel=1e-5)
    assert term.report["dist"].item() == pytest.approx(whole.item(), rel=1e-5)
    assert loss.item() == pytest.approx(0.3 * whole.item() + 2 * expected, rel=1e-5)


def test_a_larger_map_of_the_teacher_is_pooled_and_each_axis_goes_to_its_smaller_side(two):
    ours, theirs, batch = wave(2, 5, 4, 8, step=0.37), wave(2, 5, 8, 6, step=0.83), two.batch(2)
    term = CSKD()
    term(*both(two, batch, ours, wave(2, 5), theirs), batch, 0.4)
    target = F.adaptive_avg_pool2d(cskd_target(theirs, math.cos(0.2 * math.pi)), (4, 6))
    expected = F.cross_entropy(F.adaptive_avg_pool2d(ours, (4, 6)), target.argmax(1))
    assert term.report["dense"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("targets", ["hard", "soft"])
def test_it_reads_the_heads_of_the_networks_themselves(two, targets):
    """The DIST head of the patch tokens after the final norm, and the teacher's classifier at every place."""
    batch = two.batch()
    term, student, teacher = CSKD(targets=targets), two.student.network, two.teacher.network
    tokens = student.forward_features(two.student.prepare(batch.image))
    ours = student.head_dist(tokens[:, 2:])
    theirs = teacher.linear(two.teacher(batch.image).tokens[-1]).detach()  # 8×8 places, and the student has 4×4
    g = theirs.mean(1)
    for progress, r in ((0.0, 1.0), (0.5, math.cos(math.pi / 4)), (1.0, 0.0)):
        term(two.student(batch.image), two.teacher(batch.image), batch, progress)
        target = F.avg_pool2d((r * theirs + (1 - r) * g[:, None]).mT.reshape(16, 10, 8, 8), 2).flatten(2).mT
        rows, goal = ours.flatten(0, 1), target.flatten(0, 1)
        if targets == "hard":
            expected = F.cross_entropy(rows, goal.argmax(1))
        else:
            expected = F.kl_div(rows.log_softmax(1), goal.softmax(1), reduction="sum") / 16
        torch.testing.assert_close(term.report["dense"], expected)
    if targets == "hard":
        torch.testing.assert_close(term.report["dist"], F.cross_entropy(student.head_dist(tokens[:, 1]), g.argmax(1)))


def test_the_local_share_falls_from_one_to_zero():
    for schedule in ("linear", "square", "cosine"):
        shares = [local_share(schedule, i / 20) for i in range(21)]
        assert shares[0] == 1
        assert shares[-1] == pytest.approx(0, abs=1e-15)
        assert shares[-1] >= 0
        assert all(a > b for a, b in pairwise(shares))


def test_with_cross_entropy_it_is_the_published_sum(two):
    """(1 - alpha) CE + alpha CE with the teacher's decision + the places, as a run adds them."""
    batch = two.batch()
    ce, term = CE(weight=0.7, label_smoothing=0.0), CSKD(alpha=0.3)
    loss, parts = Total({"ce": ce, "cskd": term})(two.student(batch.image), two.teacher(batch.image), batch, 0.2)
    expected = 0.7 * parts["ce"] + 0.3 * parts["cskd/dist"] + parts["cskd/dense"]
    torch.testing.assert_close(loss.detach(), expected)


def test_alpha_may_be_a_schedule(two):
    batch = two.batch()
    term = CSKD(alpha={"kind": "linear", "start": 0.0, "end": 0.6})
    for progress, alpha in ((0.0, 0.0), (0.5, 0.3), (1.0, 0.6)):
        loss = term(two.student(batch.image), two.teacher(batch.image), batch, progress)
        torch.testing.assert_close(loss.detach(), alpha * term.report["dist"] + term.report["dense"])


def test_it_trains_the_dist_token_unless_alpha_rests():
    assert CSKD().dist
    assert CSKD(alpha={"kind": "step", "values": [0, 0.5], "at": [0.9]}).dist
    assert not CSKD(alpha=0).dist
    assert not CSKD(alpha={"kind": "constant", "value": 1.0, "complement": True}).dist


def test_mixed_images_need_no_labels(two):
    batch, mixed = two.batch(), two.batch(mixed=True)
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    assert torch.equal(CSKD()(student, teacher, batch, 0.5), CSKD()(student, teacher, mixed, 0.5))


def test_a_student_without_dist_token_is_refused(pair):
    two = pair(False, "vit", "cnn")
    with pytest.raises(ValueError, match="gives no distill_logits: it has no DIST token"):
        asked(two.student, CSKD.student_needs)
    features = replace(two.student.reading(dense=True)(two.batch().image))
    with pytest.raises(ValueError, match="a student with a DIST token"):
        CSKD()(features, two.teacher.reading(dense=True)(two.batch().image), two.batch(), 0.0)


def test_a_teacher_of_other_classes_is_refused(two):
    teacher = replace(two.teacher.info, classes=7)
    with pytest.raises(ValueError, match="the teacher has 7 classes and the data 10"):
        Total({"cskd": CSKD()}).build(two.student.info, teacher, two.info)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": "both"}, "targets: must be hard or soft"),
        ({"temperature": 2.0}, "temperature: hard targets have none, got 2.0"),
        ({"targets": "soft", "temperature": 0.0}, "temperature: must be above 0"),
        ({"schedule": "cos"}, "schedule: must be one of linear, square, cosine, got 'cos'"),
        ({"dense": 0.0}, "dense: must be above 0, got 0.0: without it, use the term hard_kl"),
        ({"dense": math.nan}, "dense: must be above 0, got nan"),
        ({"alpha": -0.1}, "weight must be finite and >= 0"),
    ],
)
def test_bad_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        CSKD(**settings)
