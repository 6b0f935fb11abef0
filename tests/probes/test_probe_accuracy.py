import math

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from kdbias.models.features import Features
from kdbias.probes.accuracy import AccuracyProbe, thin
from kdbias.probes.tta import averaged, views

EMPTY = torch.zeros(0)


def answers(logits):
    return Features(logits, logits, None, None, EMPTY, (), (), (), ())


@pytest.fixture
def judge(tiny_cnn):
    """A function that measures given logits, as if a network had answered so."""

    def measured(batches, logits, **settings):
        observer = AccuracyProbe(**settings).observer(tiny_cnn)
        at = 0
        for batch in batches:
            observer.see(batch, answers(logits[at : at + len(batch.index)]))
            at += len(batch.index)
        return observer.result()

    return measured


def targets(batches):
    return torch.cat([batch.target for batch in batches])


def test_counts_by_hand(judge, images):
    batches = images(n=20, size=8)
    target = targets(batches)
    logits = torch.zeros(20, 10)
    logits[torch.arange(20), target] = 2.0
    logits[torch.arange(5), (target[:5] + 1) % 10] = 3.0  # wrong, yet among five
    logits[torch.arange(2), target[:2]] = -1.0  # and not even that
    result = judge(batches, logits)
    assert result.scalars["accuracy"] == 0.75
    assert result.scalars["top5"] == 0.9
    assert result.scalars["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)))
    assert result.arrays["right"].tolist() == [False] * 5 + [True] * 15
    assert result.arrays["index"].tolist() == list(range(20))
    assert result.arrays["answer"].tolist() == [*((target[:5] + 1) % 10).tolist(), *target[5:].tolist()]
    np.testing.assert_allclose(result.arrays["confidence"], logits.softmax(1).amax(1), rtol=1e-6)
    confusion = result.arrays["confusion"]
    assert confusion.sum() == 20
    assert np.trace(confusion) == 15
    np.testing.assert_array_equal(confusion.sum(1), np.bincount(target, minlength=10))


def test_means_over_classes_by_hand(judge, images):
    batches = images(n=40)
    target = targets(batches)
    logits = torch.randn(40, 10, generator=torch.Generator().manual_seed(5)) + 2 * one_hot(target, 10)
    result = judge(batches, logits)
    confusion = result.arrays["confusion"].astype(float)
    hits, given, there = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    counted = (given + there) > 0
    precision, recall = hits / np.maximum(given, 1), hits / np.maximum(there, 1)
    f1 = 2 * hits / np.maximum(given + there, 1)
    assert result.scalars["precision"] == pytest.approx(precision[counted].mean(), abs=1e-6)
    assert result.scalars["recall"] == pytest.approx(recall[counted].mean(), abs=1e-6)
    assert result.scalars["f1"] == pytest.approx(f1[counted].mean(), abs=1e-6)


def rank_auc(score, positive):
    gaps = score[positive][:, None] - score[~positive][None, :]
    return float(((gaps > 0).double() + 0.5 * (gaps == 0)).mean())


def test_auc_is_how_often_a_image_of_the_class_ranks_before_another(judge, images):
    batches = images(n=60)
    target = targets(batches) % 9  # no image is of the last class: it does not count
    batches = [batch._replace(target=batch.target % 9) for batch in batches]
    logits = torch.randn(60, 10, generator=torch.Generator().manual_seed(2)) + 2 * one_hot(target, 10)
    result = judge(batches, logits)
    scores = logits.double().softmax(1)
    expected = [rank_auc(scores[:, i], target == i) for i in range(9)]
    assert result.scalars["auc"] == pytest.approx(np.mean(expected), abs=1e-6)
    false, true = result.arrays["roc_fpr"], result.arrays["roc_tpr"]
    assert false.shape == true.shape == (10, 101)
    assert np.isnan(true[9]).all()
    np.testing.assert_array_equal([false[:9, 0], true[:9, 0]], 0)
    np.testing.assert_array_equal([false[:9, -1], true[:9, -1]], 1)
    # a curve of at most 60 points keeps them all: nothing of its area is lost
    np.testing.assert_allclose(np.trapezoid(true[:9], false[:9]), expected, atol=1e-6)


def test_a_thinned_curve_keeps_points_of_the_curve_in_even_distance():
    false = torch.linspace(0, 1, 5001)
    true = false.sqrt()
    a, b = thin(false, true)
    torch.testing.assert_close(b, a.sqrt())
    steps = (a + b).diff()
    assert steps.max() < 0.045
    assert len(a) == 101
    assert (a[0], b[0], a[-1], b[-1]) == (0, 0, 1, 1)


def test_a_single_class_has_no_roc(judge, images):
    batches = [batch._replace(target=torch.zeros_like(batch.target)) for batch in images()]
    assert math.isnan(judge(batches, torch.randn(24, 10)).scalars["auc"])


def test_calibration_error_of_a_sure_network_is_what_it_gets_wrong(judge, images):
    batches = images(n=20)
    target = targets(batches)
    answer = torch.where(torch.arange(20) < 6, (target + 1) % 10, target)
    assert judge(batches, 50.0 * one_hot(answer, 10)).scalars["ece"] == pytest.approx(0.3, abs=1e-6)


def test_calibration_is_judged_in_fifteen_bins(judge, images):
    """Ten images at .95, of which five are right, and ten at .65, all right: .45 and .35, which one bin would mix."""
    batches = images(n=20)
    sure, target = torch.arange(20) < 10, targets(batches)
    answer = torch.where(torch.arange(20) < 5, (target + 1) % 10, target)
    share = torch.where(sure, 0.95, 0.65)[:, None]
    logits = torch.where(one_hot(answer, 10).bool(), share, (1 - share) / 9).log()
    assert judge(batches, logits).scalars["ece"] == pytest.approx(0.4, abs=1e-5)


def test_averaged_views_are_what_counts_with_test_time_augmentation(tiny_cnn, images):
    batches = images()
    result = AccuracyProbe(tta=True, shift=1)(tiny_cnn, batches)
    tiny_cnn.eval()
    with torch.no_grad():
        expected = torch.cat([averaged(tiny_cnn, batch.image, views(shift=1)) for batch in batches])
    plain = AccuracyProbe()(tiny_cnn, batches)
    np.testing.assert_allclose(result.arrays["confidence"], expected.amax(1), rtol=1e-5)
    np.testing.assert_array_equal(result.arrays["answer"], expected.argmax(1))
    assert not np.allclose(result.arrays["confidence"], plain.arrays["confidence"], rtol=1e-5)
    assert (result.meta["views"], plain.meta["views"]) == (10, 1)


def test_ten_thousand_images_fit_a_megabyte(judge, images, tmp_path):
    generator = torch.Generator().manual_seed(0)
    batch = images(n=1, size=1)[0]
    target = torch.randint(10, (10_000,), generator=generator)
    many = batch._replace(target=target, index=torch.arange(10_000))
    result = judge([many], torch.randn(10_000, 10, generator=generator))
    result.save(tmp_path)
    assert (tmp_path / "accuracy.npz").stat().st_size < 500_000


def test_no_classifier_no_accuracy(tiny_cnn, images):
    with pytest.raises(ValueError, match="no classifier"):
        AccuracyProbe().observer(tiny_cnn).see(images()[0], answers(None))
    headless = tiny_cnn.reading()
    headless.info = type(headless.info)(headless.info.layers, headless.info.width, None, 0, False, "cnn")
    assert "no classifier" in AccuracyProbe().refuses(headless)
    assert AccuracyProbe().refuses(tiny_cnn) == ""
