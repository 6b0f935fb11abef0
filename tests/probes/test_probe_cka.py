import numpy as np
import pytest
import torch

from kdbias.functional import linear_cka
from kdbias.probes.cka import CKAProbe, between, within
from kdbias.teachers import Teacher


def samples(network, batches):
    with torch.no_grad():
        features = network.eval()(torch.cat([batch.image for batch in batches]))
    return [tokens.mean(1).double() for tokens in features.tokens]


def test_all_layers_with_all_layers_exactly(tiny_vit, pictures):
    result = CKAProbe()(tiny_vit, pictures(n=30, size=8))
    layers = samples(tiny_vit, pictures(n=30))
    expected = [[float(linear_cka(x, y)) for y in layers] for x in layers]
    np.testing.assert_allclose(result.arrays["cka"], expected, atol=1e-5)
    np.testing.assert_allclose(np.diag(result.arrays["cka"]), 1, atol=1e-9)
    np.testing.assert_allclose(result.arrays["depth"], [1 / 3, 2 / 3, 1])
    assert result.meta["n"] == 30


def test_a_cnn_against_a_transformer_either_way_round(tiny_vit, tiny_cnn, pictures):
    teacher = Teacher(tiny_cnn, "cnn")
    result = CKAProbe(other=teacher)(tiny_vit, pictures())
    mine, theirs = samples(tiny_vit, pictures()), samples(tiny_cnn, pictures())
    expected = [[float(linear_cka(x, y)) for y in theirs] for x in mine]
    np.testing.assert_allclose(result.arrays["cka"], expected, atol=1e-5)
    back = CKAProbe(other=tiny_vit)(tiny_cnn.train(), pictures())
    np.testing.assert_allclose(back.arrays["cka"].T, result.arrays["cka"], atol=1e-6)
    assert tiny_cnn.training
    assert set(result.scalars) == {"alignment", "first_last", "last_last"}


def test_the_other_network_sees_the_view_of_the_teacher_in_eval_mode(tiny_vit, pictures):
    tiny_vit.train()
    batches = [batch._replace(teacher_image=batch.image.flip(-1)) for batch in pictures()]
    result = CKAProbe(other=tiny_vit)(tiny_vit, batches)
    mine = samples(tiny_vit, pictures())
    theirs = samples(tiny_vit, [batch._replace(image=batch.teacher_image) for batch in batches])
    assert result.scalars["last_last"] == pytest.approx(float(linear_cka(mine[-1], theirs[-1])), abs=1e-5)
    assert result.scalars["last_last"] < 0.999


def test_a_cls_token_must_be_there(tiny_vit, tiny_cnn, pictures):
    cls = CKAProbe(tokens="cls")(tiny_vit, pictures())
    assert cls.meta["tokens"] == "cls"
    assert not np.allclose(cls.arrays["cka"], CKAProbe()(tiny_vit, pictures()).arrays["cka"])
    with pytest.raises(ValueError, match="no CLS token; use tokens='mean'"):
        CKAProbe(tokens="cls")(tiny_cnn, pictures())


def test_scalars_of_known_matrices():
    twelve = np.eye(12)
    twelve[0, 11], twelve[5, 11] = 0.358, 0.887
    found = within(twelve)
    assert (found["first_last"], found["middle_last"]) == (0.358, 0.887)
    assert found["diversity"] == pytest.approx(1 - (0.358 + 0.887) / 132)
    cka = np.array([[0.9, 0.1], [0.2, 0.3], [0.5, 0.4], [0.6, 0.8]])
    found = between(cka, np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.5, 1.0]))
    assert found["alignment"] == pytest.approx((0.9 + 0.2 + 0.5 + 0.8) / 4)  # .75 lies between both: the earlier one
    assert (found["first_last"], found["last_last"]) == (0.1, 0.8)
