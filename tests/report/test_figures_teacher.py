"""Figures of accuracy, and of a network beside its teacher."""

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from axes_of import assert_fits_a_card, assert_shares_end_at_0_and_100
from matplotlib.image import imread

from kdbias.functional.consistency import error_consistency
from kdbias.probes.base import Result
from kdbias.report import accuracy, adversarial, agreement, gradcam_agreement, style
from kdbias.stats import accuracy as accuracy_estimate

N = 400


def accuracy_result(seed=0, share=0.7, classes=10):
    draw = np.random.default_rng(seed)
    target, right = draw.integers(0, classes, N), draw.random(N) < share
    answer = np.where(right, target, (target + draw.integers(1, classes, N)) % classes)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (target, answer), 1)
    rates = np.tile(np.linspace(0, 1, 101), (classes, 1))
    arrays = {"right": right, "answer": answer, "target": target, "index": np.arange(N), "confusion": counts}
    arrays |= {"confidence": draw.uniform(0.3, 1, N), "roc_fpr": rates, "roc_tpr": rates ** (0.1 + 0.02 * seed)}
    scalars = {"accuracy": right.mean(), "top5": 0.95, "f1": 0.69, "ece": 0.05, "loss": 1.1, "auc": 0.9 + seed / 100}
    return Result("accuracy", scalars, arrays, {"n": N, "classes": classes, "names": list("abcdefghij")})


def agreement_result(seed=0, share=0.7):
    draw = np.random.default_rng(seed)
    teacher_right, right = np.arange(N) % 10 > 0, draw.random(N) < share
    agree = (right & teacher_right) | (~right & ~teacher_right & (draw.random(N) < 0.4))
    arrays = {"agree": agree, "right": right, "teacher_right": teacher_right, "kl": draw.exponential(1, N)}
    arrays |= {key: np.arange(N) for key in ("index", "target", "teacher_answer")}
    scalars = {"agreement": agree.mean(), "accuracy": right.mean(), "kappa": 0.1}
    return Result("agreement", scalars, arrays, {"n": N, "classes": 10, "teacher": "resnet56"})


def adversarial_result(seed=0):
    draw = np.random.default_rng(seed)
    keys = ("right", "teacher_right", "pgd_wrong", "fgsm_wrong", "turned_wrong", "pgd_teacher_wrong")
    arrays = {key: draw.random(N) < 0.6 for key in keys}
    scalars = {"pgd_fooled": 0.6, "fgsm_fooled": 0.5, "turned_fooled": 0.1}
    return Result("adversarial", scalars, arrays, {"n": N, "teacher": "resnet56", "epsilon": 8 / 255, "steps": 10})


def gradcam_result(seed=0):
    values = np.clip(np.random.default_rng(seed).normal(0.4, 0.3, N), -1, 1)
    values[:5] = np.nan
    scalars = {"correlation": 0.4, "correlation_other": 0.1}
    arrays = {"correlation": values, "cosine": (values + 2) / 3}
    return Result("gradcam_agreement", scalars, arrays, {"n": N, "teacher": "resnet56", "grid": [8, 8]})


MADE = {
    accuracy: (accuracy_result, {"accuracy", "accuracy-confusion", "accuracy-roc", "accuracy-reliability"}),
    agreement: (agreement_result, {"agreement"}),
    adversarial: (adversarial_result, {"adversarial"}),
    gradcam_agreement: (gradcam_result, {"gradcam_agreement"}),
}


def name_of(module):
    return module.__name__.rpartition(".")[2]


def three(make):
    return {"student": [make(seed) for seed in range(3)], "other": make(3), "no teacher": make(4), "untrained": make(5)}


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


@pytest.mark.parametrize("module", MADE, ids=name_of)
def test_every_figure_has_labelled_axes_and_room_for_its_text(module):
    make, names = MADE[module]
    drawn = module.figures(three(make), control="no teacher", initial="untrained")
    assert set(drawn) == names
    drawn["training"] = module.training([epoch(make(), 0), epoch(make(), 5)])
    assert_fits_a_card(drawn["training"])
    for figure in drawn.values():
        assert_shares_end_at_0_and_100(figure)
        for axes in figure.axes:
            assert axes.get_xlabel() or axes.get_ylabel()
        assert any("400" in text for text in texts(figure))
        buffer = io.BytesIO()
        with style.styled():
            figure.savefig(buffer, format="png", dpi=60)
        image = imread(io.BytesIO(buffer.getvalue()))
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border[:, :3] == 1).all()  # nothing is cut off at the edge


def epoch(result, number):
    return replace(result, meta=result.meta | {"epoch": number})


def test_no_network_is_dropped_and_the_control_has_its_look():
    figure = agreement.figures(three(agreement_result), control="no teacher", initial="untrained")["agreement"]
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "student (3 seeds)",
        "other",
        "no teacher (control)",
        "untrained",
    ]
    dots = [line for line in axes.lines if line.get_marker() == "o" and list(line.get_ydata()) == [2]]
    assert dots[0].get_color() == style.CONTROL["color"]
    assert dots[0].get_xdata()[0] == pytest.approx(100 * agreement_result(4).arrays["agree"].mean())


def test_kappa_is_the_functions_and_its_interval_holds_it():
    result = agreement_result()
    found = agreement.kappa(result)
    own, theirs = (torch.from_numpy(result.arrays[key]) for key in ("right", "teacher_right"))
    assert found.value == pytest.approx(error_consistency(own, theirs).item(), abs=1e-12)
    assert found.low < found.value < found.high
    result.arrays["right"][:] = result.arrays["teacher_right"][:] = True
    assert "always right" in agreement.kappa(result).reason
    assert "no error" in agreement.same_error(result).reason


def test_the_share_of_the_same_errors_is_of_those_of_the_teacher():
    result = agreement_result()
    agree, wrong = result.arrays["agree"], ~result.arrays["teacher_right"]
    assert agree[wrong].mean() != pytest.approx(agree.mean())
    assert agreement.same_error(result).value == pytest.approx(agree[wrong].mean())


def test_efficiency_is_the_quotient_of_the_accuracies():
    result = agreement_result()
    right, theirs = result.arrays["right"].mean(), result.arrays["teacher_right"].mean()
    assert agreement.efficiency(result).value == pytest.approx(right / theirs)


def test_only_images_that_both_get_right_are_drawn():
    result = adversarial_result()
    both = result.arrays["right"] & result.arrays["teacher_right"]
    expected = accuracy_estimate(result.arrays["pgd_wrong"][both])
    assert adversarial.fooled("pgd_wrong")(result) == expected
    result.arrays["right"][:] = False
    assert "no image" in adversarial.fooled("pgd_wrong")(result).reason


def test_bins_of_confidence_are_those_of_the_calibration_error():
    result = accuracy_result()
    sure, right, share = accuracy.bins([result])
    confidence = result.arrays["confidence"]
    inside = (confidence >= 10 / 15) & (confidence < 11 / 15)
    assert sure[10] == pytest.approx(confidence[inside].mean())
    assert right[10] == pytest.approx(result.arrays["right"][inside].mean())
    assert share.sum() == pytest.approx(1)
    assert np.isnan(sure[0])  # too few images for a point
    result.arrays["confidence"][:] = 1.0
    assert accuracy.bins([result])[2][-1] == 1


def test_the_mean_roc_leaves_out_classes_without_images():
    result = accuracy_result()
    result.arrays["roc_tpr"][3] = np.nan
    single = replace(result, arrays={key: array[:1] for key, array in result.arrays.items()})
    np.testing.assert_allclose(accuracy.mean_roc(result), accuracy.mean_roc(single))
    at_a_tenth = np.searchsorted(accuracy.RATES, 0.1)
    assert accuracy.mean_roc(result)[at_a_tenth] == pytest.approx(0.1**0.1, abs=1e-6)


def test_a_figure_comes_out_the_same_twice():
    one, two = (agreement.figures({"student": agreement_result()})["agreement"] for _ in range(2))
    assert style.rendered(one) == style.rendered(two)


def test_many_classes_have_a_matrix_without_numbers():
    figure = accuracy.confusion({"a": accuracy_result(classes=40)})
    assert len(figure.axes[0].texts) == 0
    assert any("70" in text or "right" in text for text in texts(figure))
