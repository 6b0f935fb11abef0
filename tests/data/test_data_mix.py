import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from kdbias.data.mix import Mix, draw_mix, mix_images, mix_targets


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def draws(count, mixup, cutmix, probability):
    rng = np.random.default_rng(0)
    return [draw_mix(rng, 32, mixup, cutmix, probability) for _ in range(count)]


def test_mixup_is_torchvisions(images):
    share, batch = 0.3, images[1:]
    transform = v2.MixUp(num_classes=4)
    params = {"lam": share, "labels": torch.arange(4), "batch_size": 4}
    ours = mix_images(torch.cat([batch[-1:], batch]), Mix(share, None))
    torch.testing.assert_close(ours, transform.transform(batch, params), rtol=0, atol=1e-7)


def test_cutmix_takes_the_box_from_the_image_before(images):
    mixed = mix_images(images, Mix(share=1 - 6 * 8 / 32**2, box=(2, 20, 8, 28)))
    expected = images[1:].clone()
    expected[:, :, 2:8, 20:28] = images[:-1, :, 2:8, 20:28]
    assert torch.equal(mixed, expected)


def test_targets_have_the_shares():
    target = mix_targets(torch.eye(3), Mix(share=0.75, box=None))
    assert torch.equal(target, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.25, 0.75]]))


def test_probability_and_even_odds():
    drawn = draws(4_000, 0.8, 1.0, 0.5)
    mixed = [mix for mix in drawn if mix]
    assert len(mixed) / 4_000 == pytest.approx(0.5, abs=0.03)
    assert sum(mix.box is None for mix in mixed) / len(mixed) == pytest.approx(0.5, abs=0.04)


def test_mixup_shares_follow_beta():
    shares = np.array([mix.share for mix in draws(4_000, 0.8, 0.0, 1.0)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.05)


def test_cutmix_share_is_the_area_left():
    for mix in draws(500, 0.0, 1.0, 1.0):
        top, left, bottom, right = mix.box
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 32
        covered = np.ones((32, 32))
        covered[top:bottom, left:right] = 0
        assert mix.share == pytest.approx(covered.mean())


@pytest.mark.parametrize(("mixup", "cutmix", "probability"), [(0.0, 0.0, 1.0), (0.8, 1.0, 0.0)])
def test_off_is_off(mixup, cutmix, probability):
    assert draws(100, mixup, cutmix, probability) == [None] * 100


def test_mixup_alone_never_cuts():
    assert all(mix.box is None for mix in draws(200, 0.8, 0.0, 1.0))
