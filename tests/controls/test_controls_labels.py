"""Smoothed labels as sure as the teacher, and answers that belong to another image of the class."""

import pytest
import torch

from kdbias.batch import Batch
from kdbias.controls.accuracy import Confidence, confidence
from kdbias.controls.label_smoothing import SmoothedTeacher, smoothed_logits
from kdbias.controls.shuffled import ShuffledTeacher, partners, rows
from kdbias.models.deit import vit
from kdbias.models.features import Features
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher

CLASSES = 10


def network(info):
    torch.manual_seed(0)
    return small_cnn(info, widths=(4, 8, 8))


def batch_of(target, index=None, seed=0):
    image = torch.rand(len(target), 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(image, target, torch.arange(len(target)) if index is None else index, image)


def mixed(own, partner, share):
    """Targets of which the part ``share`` is the image's own class."""
    eye = torch.eye(CLASSES)
    return share * eye[own] + (1 - share) * eye[partner]


def mean_on_target(logits, target, temperature):
    return float(((logits.double() / temperature).softmax(1) * target).sum(1).mean())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_smoothed_labels_have_the_softened_probability_that_is_asked_for(temperature):
    target = torch.eye(CLASSES)[[3, 7]]
    probability = (smoothed_logits(target, 0.8, temperature) / temperature).softmax(1)
    expected = torch.full((2, CLASSES), 0.2 / 9)
    expected[0, 3] = expected[1, 7] = 0.8
    torch.testing.assert_close(probability, expected)


def test_a_mixed_image_gets_the_mixture_of_its_labels_answers():
    both = smoothed_logits(torch.eye(CLASSES)[[3, 7]], 0.8, 2.0).div(2).softmax(1)
    found = smoothed_logits(mixed([3], [7], 0.7), 0.8, 2.0).div(2).softmax(1)
    torch.testing.assert_close(found, (0.7 * both[0] + 0.3 * both[1])[None])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("soft", [False, True])
def test_smoothed_labels_are_as_sure_as_the_teacher(tiny_info, soft, temperature):
    own = torch.arange(40) % CLASSES
    target = mixed(own, own.roll(1), 0.8) if soft else own
    teacher = Teacher(network(tiny_info), "small")
    batches = [batch_of(target[:25], seed=1), batch_of(target[25:], seed=2)]
    wanted = confidence(teacher, iter(batches), temperature)
    assert wanted.images == 40
    expected = [mean_on_target(teacher(b.teacher_image).logits, _soft(b.target), temperature) for b in batches]
    assert wanted.value == pytest.approx((25 * expected[0] + 15 * expected[1]) / 40, abs=1e-6)

    smoothed = SmoothedTeacher(teacher.extractor, "small", wanted, temperature)
    given = [mean_on_target(smoothed.answer(b, 0).logits, _soft(b.target), temperature) for b in batches]
    assert (25 * given[0] + 15 * given[1]) / 40 == pytest.approx(wanted.value, abs=1e-6)
    assert smoothed.given == pytest.approx(wanted.value, abs=1e-9)


def _soft(target):
    return target if target.ndim == 2 else torch.eye(CLASSES)[target]


def test_a_confidence_that_labels_cannot_have_is_approached_and_told(tiny_info):
    """Of images mixed .6 to .4 a teacher that bets on the larger part gives the target .6, and labels at most .52."""
    smoothed = SmoothedTeacher(network(tiny_info), "small", Confidence(0.6, 0.6**2 + 0.4**2, 10), 1.0)
    assert smoothed.label == pytest.approx(1, abs=1e-5)
    assert smoothed.given == pytest.approx(0.52, abs=1e-5)


def test_smoothed_labels_read_no_image(tiny_info):
    smoothed = SmoothedTeacher(network(tiny_info), "small", Confidence(0.7, 1.0, 10), 2.0)
    target = torch.tensor([1, 1, 2])
    first, second = (smoothed.answer(batch_of(target, seed=seed), 0).logits for seed in (0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[1])
    assert smoothed.info.classes == CLASSES


def test_partners_are_other_images_of_the_class():
    target = torch.tensor([0, 1, 0, 2, 1, 0, 0])
    index = torch.arange(100, 107)
    for step in range(20):
        source = partners(target, index, seed=3, step=step)
        assert sorted(source.tolist()) == list(range(7))
        assert torch.equal(target[source], target)
        alone = source == torch.arange(7)
        assert alone.tolist() == [False, False, False, True, False, False, False]  # the one image of class 2


def test_partners_follow_seed_and_step_alone():
    target, index = torch.zeros(50, dtype=torch.long), torch.arange(50)
    first = partners(target, index, 1, 7)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(partners(target, index, 1, 7), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(partners(target, index, 1, 8), first)
    assert not torch.equal(partners(target, index, 2, 7), first)


def test_copies_of_a_image_are_no_partners():
    """With repeated augmentation a batch has an image several times."""
    index = torch.tensor([4, 5, 6, 4, 5, 6, 7, 8, 8])
    target = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
    for step in range(20):
        source = partners(target, index, 0, step)
        assert sorted(source.tolist()) == list(range(9))
        other = index[source] != index
        assert other[:6].all()
        assert other[6:].sum() == 2  # of 7, 8, 8 one of the two 8 must keep to its kind


def test_a_mixed_image_counts_as_of_its_larger_part():
    target = mixed([0, 1, 0, 1], [1, 0, 2, 2], 0.7)
    source = partners(target, torch.arange(4), 0, 0)
    assert source.tolist() == [2, 3, 0, 1]


def test_all_that_the_teacher_gives_is_the_partners(tiny_info):
    torch.manual_seed(0)
    reader = vit(tiny_info, width=12, depth=2, heads=2, patch=8, distilled=True).reading(qkv=True)
    teacher, shuffled = Teacher(reader, "vit"), ShuffledTeacher(reader, "vit", seed=0)
    batch = batch_of(torch.tensor([0, 1, 0, 1, 2]))
    given, plain = shuffled.answer(batch, 3), teacher.answer(batch, 3)
    source = partners(batch.target, batch.index, 0, 3)
    assert isinstance(given, Features)
    for name in ("logits", "class_logits", "distill_logits", "pooled"):
        assert torch.equal(getattr(given, name), getattr(plain, name)[source])
    for name in ("tokens", "prefix"):
        assert all(torch.equal(a, b[source]) for a, b in zip(getattr(given, name), getattr(plain, name), strict=True))
    assert given.qkv[0].shape[:2] == (3, 5)
    assert torch.equal(given.qkv[1], plain.qkv[1][:, source])
    assert given.grids == plain.grids
    back = torch.empty_like(source)
    back[source] = torch.arange(5)
    assert torch.equal(rows(given, back).logits, plain.logits)


def test_what_happened_is_counted(tiny_info):
    shuffled = ShuffledTeacher(network(tiny_info), "small", seed=0)
    assert shuffled.counted() == {"images": 0}
    shuffled.answer(batch_of(torch.tensor([0, 0, 0, 1])), 0)
    shuffled.answer(batch_of(torch.tensor([0, 0, 0, 0])), 1)
    assert shuffled.counted() == {"images": 8, "of_another": 7 / 8, "label_agreement": 1.0}

    shuffled = ShuffledTeacher(network(tiny_info), "small", seed=0)
    shuffled.answer(batch_of(mixed([0, 0], [1, 2], 0.75)), 0)  # three quarters agree, a quarter does not
    assert shuffled.counted() == {"images": 2, "of_another": 1.0, "label_agreement": 0.75}


def test_the_teacher_sees_its_own_view(tiny_info):
    one = network(tiny_info)
    batch = batch_of(torch.tensor([0, 1, 0, 1, 2]))._replace(teacher_image=torch.rand(5, 3, 32, 32))
    given = ShuffledTeacher(one, "small", seed=0).answer(batch, 3)
    source = partners(batch.target, batch.index, 0, 3)
    assert torch.equal(given.logits, Teacher(one, "small")(batch.teacher_image).logits[source])
