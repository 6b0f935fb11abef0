import pytest
import torch
from torch.nn import functional as F

from kdbias.functional.adversarial import pgd

EPSILON = 8 / 255


@pytest.fixture
def linear():
    """A linear network of four classes, and images away from the bounds."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 48, generator=generator, requires_grad=True)
    image = 0.2 + 0.6 * torch.rand(6, 3, 4, 4, generator=generator)
    return weight, image, torch.tensor([0, 1, 2, 3, 0, 1])


def test_fgsm_of_a_linear_network_is_exact(linear):
    weight, image, target = linear
    logits = image.flatten(1) @ weight.T
    slope = (logits.softmax(1) - F.one_hot(target, 4)) @ weight
    expected = image + EPSILON * slope.sign().view_as(image)
    found = pgd(lambda x: x.flatten(1) @ weight.T, image, target, epsilon=EPSILON, steps=1)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-7)


def test_pgd_of_two_linear_classes_ends_in_the_corner(linear):
    weight, image, target = linear
    pair = weight[:2]
    side = torch.where(target % 2 == 0, 1.0, -1.0)[:, None] * (pair[1] - pair[0])
    found = pgd(lambda x: x.flatten(1) @ pair.T, image, target % 2, epsilon=EPSILON, steps=10)
    torch.testing.assert_close(found, image + EPSILON * side.sign().view_as(image).detach(), rtol=0, atol=1e-7)


def test_more_steps_never_leave_the_ball_nor_the_bounds_and_start_at_the_image(linear):
    weight, image, target = linear
    image = (image - 0.2) / 0.6
    found = pgd(lambda x: torch.tanh(4 * x.flatten(1) @ weight.T), image, target, epsilon=0.3, steps=7)
    assert (found - image).abs().max() <= 0.3 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    again = pgd(lambda x: torch.tanh(4 * x.flatten(1) @ weight.T), image, target, epsilon=0.3, steps=7)
    assert torch.equal(found, again)
    torch.testing.assert_close(pgd(lambda x: x.flatten(1) @ weight.T, image, target, epsilon=0.0), image)


def test_no_gradient_is_left_and_none_is_needed_around(linear):
    weight, image, target = linear
    with torch.no_grad():
        found = pgd(lambda x: x.flatten(1) @ weight.T, image, target, epsilon=EPSILON, steps=2)
    assert weight.grad is None
    assert image.grad is None
    assert not found.requires_grad
    assert not torch.equal(found, image)


def test_each_image_is_attacked_alone(linear):
    weight, image, target = linear

    def scores(x):
        return torch.tanh(x.flatten(1) @ weight.T)

    whole = pgd(scores, image, target, epsilon=EPSILON)
    one = pgd(scores, image[2:3], target[2:3], epsilon=EPSILON)
    torch.testing.assert_close(whole[2:3], one)


def test_no_step_is_refused(linear):
    weight, image, target = linear
    with pytest.raises(ValueError, match="steps >= 1"):
        pgd(lambda x: x.flatten(1) @ weight.T, image, target, epsilon=EPSILON, steps=0)
