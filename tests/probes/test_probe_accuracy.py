from dataclasses import replace

import numpy as np
import pytest
import torch

from kdbias.features import Extractor
from kdbias.probes.accuracy import AccuracyProbe


class Answers(Extractor):
    """A network that answers given logits, in the order in which it is asked."""

    def __init__(self, base: Extractor, logits: torch.Tensor | None) -> None:
        super().__init__(base.network, mean=[0.5] * 3, std=[0.5] * 3, size=32)
        self.answers, self.asked = logits, 0

    def forward(self, image):
        features = super().forward(image)
        self.asked += len(image)
        here = None if self.answers is None else self.answers[self.asked - len(image) : self.asked]
        return replace(features, logits=here)


def test_counts_by_hand(tiny_cnn, pictures):
    batches = pictures(n=20, size=8)
    target = torch.cat([batch.target for batch in batches])
    logits = torch.zeros(20, 10)
    logits[torch.arange(20), target] = 2.0
    logits[torch.arange(5), (target[:5] + 1) % 10] = 3.0  # wrong, yet among five
    logits[torch.arange(2), target[:2]] = -1.0  # and not even that
    result = AccuracyProbe()(Answers(tiny_cnn, logits), batches)
    assert result.scalars["accuracy"] == 0.75
    assert result.scalars["top5"] == 0.9
    assert result.scalars["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)))
    assert result.arrays["right"].tolist() == [False] * 5 + [True] * 15
    assert result.arrays["index"].tolist() == list(range(20))
    confusion = result.arrays["confusion"]
    assert confusion.sum() == 20
    assert np.trace(confusion) == 15
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(target, minlength=10))


def test_calibration_error_of_a_sure_network_is_what_it_gets_wrong(tiny_cnn, pictures):
    batches = pictures(n=20)
    target = torch.cat([batch.target for batch in batches])
    answer = torch.where(torch.arange(20) < 6, (target + 1) % 10, target)
    result = AccuracyProbe()(Answers(tiny_cnn, 50.0 * torch.nn.functional.one_hot(answer, 10)), batches)
    assert result.scalars["ece"] == pytest.approx(0.3, abs=1e-6)


def test_no_classifier_no_accuracy(tiny_cnn, pictures):
    with pytest.raises(ValueError, match="no classifier"):
        AccuracyProbe()(Answers(tiny_cnn, None), pictures())
