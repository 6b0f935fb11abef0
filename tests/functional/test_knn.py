"""The accuracy is that of the official DINO code (``knn_classifier``) on the same inputs."""

import math

import pytest
import torch

from kdbias.functional import knn
from kdbias.functional.knn import weighted_knn


def waves(*shape, phase=0.0):
    return (torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + phase).sin().reshape(shape)


BANK, LABELS, QUERIES = waves(300, 5), (torch.arange(300) * 7 % 11) % 4, waves(100, 5, phase=0.9)


def test_accuracy_equals_the_official_code():
    answer = weighted_knn(BANK, LABELS, QUERIES, classes=5, k=20, temperature=0.07).argmax(1)
    assert (answer == torch.arange(100) % 4).sum() == 21


def test_scores_by_hand():
    scores = weighted_knn(BANK[:30], LABELS[:30], QUERIES[:3], classes=4, k=6, temperature=0.1)
    for query, found in zip(QUERIES[:3], scores, strict=True):
        cosines = [
            (float(query @ b / query.norm() / b.norm()), int(c)) for b, c in zip(BANK[:30], LABELS, strict=False)
        ]
        expected = [0.0] * 4
        for cosine, label in sorted(cosines, reverse=True)[:6]:
            expected[label] += math.exp(cosine / 0.1)
        assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_chunks_and_lengths_do_not_matter(monkeypatch):
    whole = weighted_knn(BANK, LABELS, QUERIES, classes=4)
    monkeypatch.setattr(knn, "CHUNK", 7)
    scaled = weighted_knn(9 * BANK, LABELS, 0.5 * QUERIES, classes=4)
    torch.testing.assert_close(scaled, whole, rtol=1e-9, atol=0)


def test_a_small_bank_votes_whole():
    scores = weighted_knn(BANK[:3], LABELS[:3], QUERIES[:2], classes=4, k=20)
    assert (scores > 0).sum(1).tolist() == [len(set(LABELS[:3].tolist()))] * 2


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(m, D\) with m labels"):
        weighted_knn(BANK, LABELS[:5], QUERIES, classes=4)
