from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from kdbias.config.build import build
from kdbias.functional import linear_cka
from kdbias.functional.cka.minibatch import MinibatchCKA
from kdbias.models.teacher import Teacher
from kdbias.probes.cka import CKAProbe, between, nearest, within

CONF = Path(__file__).parents[2] / "conf" / "probe"


def samples(network, batches):
    with torch.no_grad():
        features = network.eval()(torch.cat([batch.image for batch in batches]))
    return [tokens.mean(1).double() for tokens in features.tokens]


def test_all_layers_with_all_layers_exactly(tiny_vit, images):
    result = CKAProbe()(tiny_vit, images(n=30, size=8))
    layers = samples(tiny_vit, images(n=30))
    expected = [[float(linear_cka(x, y)) for y in layers] for x in layers]
    np.testing.assert_allclose(result.arrays["cka"], expected, atol=1e-5)
    np.testing.assert_allclose(np.diag(result.arrays["cka"]), 1, atol=1e-9)
    np.testing.assert_allclose(result.arrays["depth"], [1 / 3, 2 / 3, 1])
    assert result.meta["n"] == 30


def test_a_cnn_against_a_transformer_either_way_round(tiny_vit, tiny_cnn, images):
    teacher = Teacher(tiny_cnn, "cnn")
    result = CKAProbe(other=teacher)(tiny_vit, images())
    mine, theirs = samples(tiny_vit, images()), samples(tiny_cnn, images())
    expected = [[float(linear_cka(x, y)) for y in theirs] for x in mine]
    np.testing.assert_allclose(result.arrays["cka"], expected, atol=1e-5)
    back = CKAProbe(other=tiny_vit)(tiny_cnn.train(), images())
    np.testing.assert_allclose(back.arrays["cka"].T, result.arrays["cka"], atol=1e-6)
    assert tiny_cnn.training
    assert set(result.scalars) == {"alignment", "first_last", "last_last"}


def test_the_other_network_sees_the_view_of_the_teacher_in_eval_mode(tiny_vit, images):
    tiny_vit.train()
    batches = [batch._replace(teacher_image=batch.image.flip(-1)) for batch in images()]
    result = CKAProbe(other=tiny_vit)(tiny_vit, batches)
    mine = samples(tiny_vit, images())
    theirs = samples(tiny_vit, [batch._replace(image=batch.teacher_image) for batch in batches])
    assert result.scalars["last_last"] == pytest.approx(float(linear_cka(mine[-1], theirs[-1])), abs=1e-5)
    assert result.scalars["last_last"] < 0.999


def test_two_networks_of_one_family(tiny_vit, tiny_cnn, images):
    """A student with a copy of itself is that student's own matrix, for transformers and for CNNs."""
    for network in (tiny_vit, tiny_cnn):
        own, two = CKAProbe()(network, images()), CKAProbe(other=Teacher(deepcopy(network), "t"))(network, images())
        np.testing.assert_allclose(two.arrays["cka"], own.arrays["cka"], atol=1e-6)
        assert two.scalars["alignment"] == pytest.approx(1)


@pytest.mark.parametrize("size", [8, 5])
@pytest.mark.parametrize(("kernel", "tokens"), [("rbf", "mean"), ("linear", "flat"), ("rbf", "flat"), ("rbf", "cls")])
def test_minibatches_of_their_own_size(tiny_vit, images, kernel, tokens, size):
    result = CKAProbe(kernel=kernel, tokens=tokens, batch=12)(tiny_vit, images(n=24, size=size))
    with torch.no_grad():
        features = tiny_vit.eval()(torch.cat([batch.image for batch in images(n=24)]))
    flat = [tokens.flatten(1) for tokens in features.tokens]
    layers = {"mean": samples(tiny_vit, images()), "flat": flat, "cls": [p[:, 0] for p in features.prefix]}[tokens]
    sums = MinibatchCKA(kernel, batch=12)
    sums.update(layers)
    np.testing.assert_allclose(result.arrays["cka"], sums.compute(), atol=1e-4)
    np.testing.assert_allclose(np.diag(result.arrays["cka"]), 1, atol=1e-9)
    meta = result.meta
    assert (meta["kernel"], meta["tokens"], meta["batch"], meta["n"]) == (kernel, tokens, 12, 24)


def test_flat_tokens_of_unlike_grids(tiny_vit, tiny_cnn, images):
    result = CKAProbe(other=Teacher(tiny_cnn, "cnn"), tokens="flat", batch=12)(tiny_vit, images())
    assert result.arrays["cka"].shape == (3, len(tiny_cnn.info.layers))
    assert np.isfinite(result.arrays["cka"]).all()


def test_the_probe_of_a_teacher_names_it(tiny_vit, tiny_cnn, images):
    spec = OmegaConf.to_container(OmegaConf.load(CONF / "cka_teacher.yaml"))["cka_teacher"]
    result = build(spec, teacher=Teacher(tiny_cnn, "resnet8"))(tiny_vit, images())
    assert (result.name, result.meta["other"], result.meta["batch"]) == ("cka_teacher", "resnet8", None)
    assert "alignment" in result.scalars
    own = build(OmegaConf.to_container(OmegaConf.load(CONF / "cka.yaml"))["cka"])
    assert own == CKAProbe()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="tokens: must be one of mean, cls, flat, got 'all'"):
        CKAProbe(tokens="all")
    with pytest.raises(ValueError, match="kernel: must be linear or rbf"):
        CKAProbe(kernel="poly")
    with pytest.raises(ValueError, match="batch: must be a whole number of at least 4, got 2"):
        CKAProbe(batch=2)


def test_a_cls_token_must_be_there(tiny_vit, tiny_cnn, images):
    cls = CKAProbe(tokens="cls")(tiny_vit, images())
    assert cls.meta["tokens"] == "cls"
    assert not np.allclose(cls.arrays["cka"], CKAProbe()(tiny_vit, images()).arrays["cka"])
    with pytest.raises(ValueError, match="no CLS token; use tokens='mean'"):
        CKAProbe(tokens="cls")(tiny_cnn, images())
    for probe in (CKAProbe(tokens="cls"), CKAProbe(tokens="cls", other=tiny_vit)):
        assert (probe.refuses(tiny_vit), "no CLS token" in probe.refuses(tiny_cnn)) == ("", True)
    assert "no CLS token" in CKAProbe(tokens="cls", other=tiny_cnn).refuses(tiny_vit)


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
    thirds = np.array([1 / 3, 2 / 3, 1.0])
    np.testing.assert_array_equal(nearest(np.arange(1, 7) / 6, thirds), [0, 0, 0, 1, 1, 2])


class Dead(CKAProbe):
    """Sees a layer that answers every image alike."""

    def samples(self, features):
        found = super().samples(features)
        return [found[0], torch.ones_like(found[1]), *found[2:]]


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_layer_that_answers_every_image_alike_is_named_and_can_be_left_out(tiny_vit, images, kernel):
    message = r"layer 1 \(.*1\) answers every image alike, so it has no CKA; leave it out by probe.cka.layers=\[0,2\]"
    with pytest.raises(ValueError, match=message):
        Dead(kernel=kernel)(tiny_vit, images())
    result = Dead(kernel=kernel, layers=[0, 2])(tiny_vit, images())
    whole = CKAProbe(kernel=kernel)(tiny_vit, images())
    np.testing.assert_allclose(result.arrays["cka"], whole.arrays["cka"][::2, ::2], atol=1e-9)
    np.testing.assert_array_equal(result.arrays["depth"], whole.arrays["depth"][::2])


def test_a_layer_of_the_other_network_that_answers_every_image_alike_is_named(tiny_vit, tiny_cnn, images):
    dead = deepcopy(tiny_cnn)
    for module in dead.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(module.weight)
    with pytest.raises(ValueError, match="cnn answers every image alike in "):
        CKAProbe(other=Teacher(dead, "cnn"), other_name="cnn")(tiny_vit, images())


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_shares_are_summed_before_the_result(tiny_vit, images, kernel):
    """As several processes do by ``reduced``; a layer that answers every image alike is named after the sum."""
    whole, kind = CKAProbe(kernel=kernel, batch=12)(tiny_vit, images(n=24)), {}
    for probe in (CKAProbe(kernel=kernel, batch=12), Dead(kernel=kernel, batch=12)):
        shares = []
        with torch.no_grad():
            for batch in images(n=24, size=12):
                shares.append(probe.observer(tiny_vit.eval()))
                shares[-1].see(batch, tiny_vit(batch.image))
        shares[0].sums.merge(shares[1].sums)
        kind[type(probe)] = shares[0]
    found = kind[CKAProbe].result()
    np.testing.assert_allclose(found.arrays["cka"], whole.arrays["cka"], rtol=1e-4)
    assert found.meta == whole.meta
    with pytest.raises(ValueError, match=r"layer 1 \(.*1\) answers every image alike"):
        kind[Dead].result()
