import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from kdbias.models.teacher import Teacher
from kdbias.probes.agreement import AgreementProbe


def saying(logits):
    return SimpleNamespace(logits=logits)


def test_a_copy_of_the_teacher_agrees_in_all(tiny_cnn, images):
    network, teacher = deepcopy(tiny_cnn), Teacher(tiny_cnn, "t")
    batches = images()
    with torch.no_grad():
        answer = torch.cat([teacher(batch.image).logits.argmax(1) for batch in batches])
    marked = [
        batch._replace(target=torch.where(batch.index < 6, (answer[batch.index] + 1) % 10, answer[batch.index]))
        for batch in batches
    ]
    result = AgreementProbe(teacher)(network, marked)
    assert result.scalars["accuracy"] == result.scalars["teacher_accuracy"] == 0.75
    for key in ("transfer_efficiency", "agreement", "same_error", "kappa"):
        assert result.scalars[key] == pytest.approx(1, abs=1e-12)
    assert result.scalars["kl"] == pytest.approx(0, abs=1e-6)
    assert result.meta == {"n": 24, "classes": 10, "teacher": "t", "precision": "fp32"}


def test_counts_by_hand(tiny_cnn, images):
    batch = images(n=8)[0]
    target = batch.target
    other, third = (target + 1) % 10, (target + 2) % 10
    theirs = torch.where(torch.arange(8) < 4, target, other)  # half right
    own = torch.cat([target[:3], third[3:4], target[4:5], other[5:6], third[6:]])
    asked = []

    class Stub:
        name, info = "t", SimpleNamespace(classes=10)

        def __call__(self, image):
            asked.append(image)
            return saying(3.0 * one_hot(theirs, 10))

    teacher = Stub()
    observer = AgreementProbe(teacher).observer(tiny_cnn)
    view = torch.rand(8, 3, 32, 32)
    observer.see(batch._replace(teacher_image=view), saying(2.0 * one_hot(own, 10).float()))
    result = observer.result()
    assert asked[0] is view
    assert result.arrays["agree"].tolist() == [True] * 3 + [False] * 2 + [True] + [False] * 2
    assert result.scalars["agreement"] == 0.5
    assert result.scalars["transfer_efficiency"] == 1.0
    assert result.scalars["same_error"] == 0.25
    assert result.scalars["kappa"] == pytest.approx(0.5)  # 6 of 8 outcomes alike, 4 expected
    p, q = (3.0 * one_hot(theirs, 10)).softmax(1).double(), (2.0 * one_hot(own, 10)).softmax(1).double()
    np.testing.assert_allclose(result.arrays["kl"], (p * (p / q).log()).sum(1), rtol=1e-5)


def test_a_teacher_without_error_has_none_to_share(tiny_cnn, images):
    teacher = Teacher(deepcopy(tiny_cnn), "t")
    batches = [batch._replace(target=teacher(batch.image).logits.argmax(1)) for batch in images()]
    scalars = AgreementProbe(teacher)(tiny_cnn, batches).scalars
    assert math.isnan(scalars["same_error"])
    assert math.isnan(scalars["kappa"])


def test_the_teacher_is_read_and_left_as_it_was(tiny_vit, tiny_cnn, images):
    teacher = Teacher(tiny_cnn, "t")
    before = {k: v.clone() for k, v in tiny_cnn.state_dict().items()}
    modes = [module.training for module in tiny_vit.modules()]
    random = torch.random.get_rng_state()
    AgreementProbe(teacher)(tiny_vit, images())
    assert all(torch.equal(v, before[k]) for k, v in tiny_cnn.state_dict().items())
    assert all(p.grad is None for p in [*tiny_cnn.parameters(), *tiny_vit.parameters()])
    assert [module.training for module in tiny_vit.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize(
    ("theirs", "own", "text"),
    [(None, 10, "teacher t has no classifier"), (10, None, "network has no classifier"), (7, 10, "7 classes")],
)
def test_what_cannot_agree_is_refused(tiny_cnn, images, theirs, own, text):
    teacher, network = Teacher(deepcopy(tiny_cnn), "t"), tiny_cnn
    teacher.extractor.info = replace(teacher.info, classes=theirs)
    network.survey = replace(network.survey, classes=own)
    network.info = replace(network.info, classes=own)
    assert text in AgreementProbe(teacher).refuses(network)
    with pytest.raises(ValueError, match=text):
        AgreementProbe(teacher)(network, images())
