"""DIST as a term: what it reads, its settings, a batch of one."""

from dataclasses import replace

import pytest
import torch

from kdbias.functional.logits.dist import dist
from kdbias.losses.dist import DIST


@pytest.fixture
def seen(pair):
    """Features of a student with a DIST token, of its teacher, and their batch."""
    two = pair(has_dist=True)
    batch = two.batch()
    return two.student(batch.image), two.teacher(batch.image), batch


def test_it_is_the_function_on_the_dist_head_where_there_is_one(seen):
    student, teacher, batch = seen
    torch.testing.assert_close(
        DIST(beta=2.0, gamma=0.5, temperature=3.0)(student, teacher, batch, 0.0),
        dist(student.distill_logits, teacher.logits, 2.0, 0.5, 3.0),
    )
    alone = replace(student, distill_logits=None)
    torch.testing.assert_close(DIST()(alone, teacher, batch, 0.0), dist(student.logits, teacher.logits))


def test_labels_do_not_count(seen, pair):
    student, teacher, batch = seen
    mixed = pair().batch(mixed=True)
    assert torch.equal(DIST()(student, teacher, batch, 0.0), DIST()(student, teacher, mixed, 0.0))


def test_one_image(pair):
    two = pair()
    batch = two.batch(1)
    student, teacher = two.student(batch.image), two.teacher(batch.image)
    with pytest.raises(ValueError, match="got 1: raise batch_size"):
        DIST()(student, teacher, batch, 0.0)
    assert DIST(gamma=0.0)(student, teacher, batch, 0.0).isfinite()


def test_a_teacher_without_logits_is_an_error_with_a_remedy(seen):
    student, teacher, batch = seen
    with pytest.raises(ValueError, match="needs a teacher with logits: choose one"):
        DIST()(student, replace(teacher, logits=None), batch, 0.0)


def test_bad_settings_are_refused_when_built():
    with pytest.raises(ValueError, match=r"beta: must be above 0 where gamma is 0, got beta=0\.0, gamma=0\.0"):
        DIST(beta=0.0, gamma=0.0)
    with pytest.raises(ValueError, match="gamma: must be a number of at least 0"):
        DIST(gamma=-1.0)
    with pytest.raises(ValueError, match="temperature: must be above 0"):
        DIST(temperature=0.0)
