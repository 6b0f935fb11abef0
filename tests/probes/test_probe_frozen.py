"""k-NN and the linear probe, on networks and data of known features."""

from dataclasses import dataclass, replace

import pytest
import torch
from omegaconf import OmegaConf

from kdbias.batch import Batch
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.models.features import Extractor
from kdbias.probes.frozen import read_features
from kdbias.probes.knn import KNNProbe
from kdbias.probes.linear_probe import LinearProbe

PROBES = {"knn": KNNProbe, "linear": LinearProbe}


class Means(Extractor):
    """A network whose penultimate features are the mean colours of an image, and its tokens nothing."""

    def forward(self, image):
        features = super().forward(image)
        tokens = torch.ones(len(image), 4, 2)
        return replace(features, pooled=image.mean((2, 3)) - 0.5, tokens=(tokens,))


@dataclass
class Colours:
    """Images of one colour for each class, some of them of a wrong class in the test split."""

    info: object
    wrong: int = 0

    def batches(self, split, device="cpu", batch_size=None, limit=None):
        generator = torch.Generator().manual_seed(len(split))
        target = torch.arange(60)[:limit] % 3
        image = 0.5 + 0.2 * (torch.eye(3)[target] - 1 / 3)[:, :, None, None].expand(-1, -1, 32, 32)
        image = image + 0.01 * torch.randn(len(image), 3, 1, 1, generator=generator)
        if split == "test":
            target = torch.where(torch.arange(60) < self.wrong, (target + 1) % 3, target)
        for rows in torch.arange(len(target)).split(batch_size or 25):
            yield Batch(image[rows].to(device), target[rows], rows, image[rows])


@pytest.fixture
def colours(tiny_info):
    return Colours(replace(tiny_info, classes=3), wrong=12)


@pytest.fixture
def means(tiny_cnn):
    return Means(tiny_cnn.network, mean=[0.5] * 3, std=[0.5] * 3, size=32)


@pytest.mark.parametrize("name", PROBES)
def test_separable_features_are_right_but_for_wrong_labels(name, colours, means):
    result = PROBES[name](colours)(means, colours.batches("test"))
    assert result.name == name
    assert result.scalars[name] == pytest.approx(48 / 60)
    assert result.arrays["right"].tolist() == [False] * 12 + [True] * 48
    assert result.arrays["index"].tolist() == list(range(60))
    assert (result.meta["n"], result.meta["bank"]) == (60, 60)


@pytest.mark.parametrize("name", PROBES)
def test_features_that_say_nothing_are_at_chance(name, colours, means):
    result = PROBES[name](colours, bank=30, features="tokens")(means, colours.batches("val"))
    assert result.scalars[name] == pytest.approx(1 / 3)
    assert result.meta["bank"] == 30


@pytest.mark.parametrize("name", PROBES)
def test_the_network_is_left_as_it_was_and_the_result_is_the_same_twice(name, colours, tiny_vit):
    state = {key: value.clone() for key, value in tiny_vit.state_dict().items()}
    modes = [module.training for module in tiny_vit.modules()]
    first, second = (PROBES[name](colours)(tiny_vit, colours.batches("test")) for _ in range(2))
    assert first.scalars == second.scalars
    assert [module.training for module in tiny_vit.modules()] == modes
    assert all(torch.equal(state[key], value) for key, value in tiny_vit.state_dict().items())
    assert not any(module._forward_hooks for module in tiny_vit.modules())


def test_the_linear_probe_learns_what_neighbours_do_not_see(tiny_info, means):
    """One feature of three tells the class, and is the smallest by far."""

    class Faint(Colours):
        def batches(self, split, device="cpu", batch_size=None, limit=None):
            generator = torch.Generator().manual_seed(len(split))
            target = torch.arange(200) % 2
            noise = torch.randn(200, 3, 1, 1, generator=generator)
            sign = (target * 2.0 - 1)[:, None, None, None] * torch.tensor([0.0, 0.0, 0.02]).view(1, 3, 1, 1)
            image = (0.5 + noise * torch.tensor([0.2, 0.2, 0.002]).view(1, 3, 1, 1) + sign).expand(-1, -1, 8, 8)
            yield Batch(image, target, torch.arange(200), image)

    data = Faint(replace(tiny_info, classes=2))
    assert LinearProbe(data)(means, data.batches("test")).scalars["linear"] == 1.0
    assert KNNProbe(data, k=5)(means, data.batches("test")).scalars["knn"] < 0.95


def test_features_of_a_network_that_diverged_are_refused(tiny_vit, images):
    with torch.no_grad():
        next(tiny_vit.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite: its training diverged"):
        read_features(tiny_vit, images(), "pooled", "fp32")


def test_features_are_the_penultimate_ones_or_the_mean_token(tiny_vit, images):
    batches = images(n=6, size=4)
    tiny_vit.eval()
    with torch.no_grad():
        whole = tiny_vit(torch.cat([batch.image for batch in batches]))
    for read, expected in (("pooled", whole.pooled), ("tokens", whole.tokens[-1].mean(1))):
        features, target, index = read_features(tiny_vit, batches, read, "fp32")
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
        assert index.tolist() == list(range(6))
        assert torch.equal(target, torch.cat([batch.target for batch in batches]))


@pytest.mark.parametrize("name", PROBES)
def test_the_config_builds_the_probe(name, colours):
    node = OmegaConf.to_container(OmegaConf.load(f"{conf_dir()}/probe/{name}.yaml"))[name]
    assert build(node, data=colours) == PROBES[name](colours)


@pytest.mark.parametrize("name", PROBES)
def test_bad_settings_are_refused(name, colours):
    with pytest.raises(ValueError, match="bank: must be a whole number of at least 1"):
        PROBES[name](colours, bank=0)
    with pytest.raises(ValueError, match="features: must be pooled or tokens"):
        PROBES[name](colours, features="cls")


@pytest.mark.parametrize("name", PROBES)
def test_the_bank_is_of_training_images_alone(name, tiny_info, means):
    """Of the split under test a bank would hold the very images that are classified."""

    class Asked(Colours):
        def batches(self, split, *args, **kwargs):
            splits.append(split)
            return super().batches(split, *args, **kwargs)

    splits, data = [], Asked(replace(tiny_info, classes=3))
    images = list(Colours(data.info).batches("test"))
    PROBES[name](data)(means, images)
    assert splits == ["train"]


def test_features_are_standardised_by_the_training_images_alone(tiny_info, means):
    """Images of one class: by their own mean and deviation they would be noise around 0."""
    data = Colours(replace(tiny_info, classes=3))
    one = [Batch(*(part[batch.target == 0] for part in batch)) for batch in data.batches("test")]
    assert LinearProbe(data)(means, one).scalars["linear"] == 1
