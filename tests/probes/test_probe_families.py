"""What holds for every probe that is defined for CNNs and vision transformers alike."""

import numpy as np
import pytest
import torch
from toy_networks import one_convolution

from kdbias.batch import Batch, DataInfo
from kdbias.models.deit import vit
from kdbias.models.resnet_cifar import small_cnn
from kdbias.probes.feature_maps import FeatureMapsProbe
from kdbias.probes.frequency import FrequencyProbe
from kdbias.probes.gradcam import GradCAMProbe
from kdbias.probes.receptive_field import ReceptiveFieldProbe
from kdbias.probes.shift import ShiftProbe
from kdbias.probes.shuffle import ShuffleProbe

PROBES = {
    "shuffle": ShuffleProbe(grids=(2, 4)),
    "shift": ShiftProbe(shifts=(1, 5)),
    "frequency": FrequencyProbe(cutoffs=(0.25, 1.0)),
    "receptive_field": ReceptiveFieldProbe(images=20, batch_size=7),
    "gradcam": GradCAMProbe(images=20, shown=3, batch_size=7),
    "features": FeatureMapsProbe(images=20, shown=3, batch_size=7),
}
NEED_ANSWERS = ("shuffle", "shift", "frequency", "gradcam")


def state(network):
    return (
        [module.training for module in network.modules()],
        [getattr(module, "fused_attn", None) for module in network.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()],
        [parameter.requires_grad for parameter in network.parameters()],
        [parameter.grad for parameter in network.parameters()],
        [value.sum().item() for value in network.state_dict().values()],
    )


def same(a, b, tolerance=0.0):
    assert (a.name, a.meta) == (b.name, b.meta)
    assert a.arrays.keys() == b.arrays.keys()
    assert a.scalars == pytest.approx(b.scalars, rel=tolerance, abs=tolerance, nan_ok=True)
    for key, array in a.arrays.items():
        np.testing.assert_allclose(array, b.arrays[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("family", ["tiny_cnn", "tiny_vit"])
@pytest.mark.parametrize("name", PROBES)
def test_leaves_nothing_behind_and_gives_the_same_again(name, family, request, images, tmp_path):
    network, probe = request.getfixturevalue(family), PROBES[name]
    before = state(network)
    result = probe(network, images())
    assert state(network) == before
    assert result.name == name
    assert result.meta["n"] == (24 if name in ("shuffle", "shift", "frequency") else 20)
    assert all(type(value) is float for value in result.scalars.values())
    result.save(tmp_path)
    same(type(result).load(tmp_path, name), result)
    network.requires_grad_(False)
    with torch.no_grad():
        same(probe(network, images()), result)
    same(probe(network, images(size=5)), result, 1e-3)  # sums in another order
    network.compile(backend="eager")
    same(probe(network, images()), result)


@pytest.mark.parametrize("build", [vit, small_cnn])
def test_grey_images(build):
    info = DataInfo(1, 28, 10, tuple("abcdefghij"), 100, (0.13,), (0.3,))
    torch.manual_seed(0)
    options = {"width": 16, "depth": 2, "heads": 2, "patch": 7} if build is vit else {"widths": (4, 8)}
    network = build(info, **options)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(6, 1, 28, 28, generator=generator)
    batch = Batch(image, torch.arange(6), torch.arange(6), image)
    for name, probe in PROBES.items():
        result = probe(network, [batch])
        assert result.meta["n"] == 6
        if name in ("gradcam", "features"):
            assert result.arrays["image"].shape == (3, 28, 28, 1)


@pytest.mark.parametrize("name", PROBES)
def test_a_network_without_classifier(name, images):
    network, probe = one_convolution(classes=0), PROBES[name]
    if name not in NEED_ANSWERS:
        assert probe(network, images()).name == name
        return
    reason = probe.refuses(network)
    assert "no classifier" in reason
    assert probe.refuses(one_convolution()) == ""
    with pytest.raises(ValueError) as error:
        probe(network, images())
    assert str(error.value) == reason


@pytest.mark.parametrize("name", PROBES)
def test_no_images(name):
    with pytest.raises(ValueError, match="no images"):
        PROBES[name](one_convolution(), [])


@pytest.mark.parametrize(
    ("probe", "settings", "key"),
    [
        (ShuffleProbe, {"grids": [0, 2]}, "grids"),
        (ShiftProbe, {"shifts": [-1]}, "shifts"),
        (ShiftProbe, {"padding": "zeros"}, "padding"),
        (FrequencyProbe, {"cutoffs": [0.5, 1.5]}, "cutoffs"),
        (FrequencyProbe, {"window": "box"}, "window"),
        (ReceptiveFieldProbe, {"share": 1.0}, "share"),
        (ReceptiveFieldProbe, {"draws": 0}, "draws"),
        (GradCAMProbe, {"target": "best"}, "target"),
        (FeatureMapsProbe, {"shown": 0}, "shown"),
    ],
)
def test_bad_settings_name_their_key(probe, settings, key):
    with pytest.raises(ValueError, match=f"^{key}: must "):
        probe(**settings)
