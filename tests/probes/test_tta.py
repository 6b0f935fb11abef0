from types import SimpleNamespace

import pytest
import torch

from kdbias.probes.tta import View, averaged, views


def network(scores):
    return lambda image: SimpleNamespace(logits=scores(image))


@pytest.fixture
def image():
    return torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(0))


def test_a_view_moves_and_reflects():
    row = torch.tensor([[0.0, 1, 2, 3, 4]]).view(1, 1, 1, 5).expand(1, 1, 3, 5)
    assert View(right=2)(row)[0, 0, 0].tolist() == [2, 1, 0, 1, 2]
    assert View(right=-2)(row)[0, 0, 0].tolist() == [2, 3, 4, 3, 2]
    assert View(flip=True)(row)[0, 0, 0].tolist() == [4, 3, 2, 1, 0]
    assert View(flip=True, right=1)(row)[0, 0, 0].tolist() == [3, 4, 3, 2, 1]
    column = row.transpose(2, 3)
    assert View(down=2)(column)[0, 0, :, 0].tolist() == [2, 1, 0, 1, 2]
    assert View(down=-2)(column)[0, 0, :, 0].tolist() == [2, 3, 4, 3, 2]


def test_there_are_ten_views_five_without_mirrors_and_the_image_is_the_first():
    assert len(set(views())) == 10
    assert len(views(flip=False)) == 5
    assert views(shift=0) == (View(), View(flip=True))
    assert views()[0] == View()
    with pytest.raises(ValueError, match="shift=-1"):
        views(shift=-1)


def test_nothing_changes_for_a_network_that_does_not_tell_mirrored_images_apart(image):
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    blind = network(lambda x: x.mean((1, 3)) @ weight)
    torch.testing.assert_close(
        averaged(blind, image, views(shift=0)), blind(image).logits.softmax(1), rtol=1e-6, atol=1e-7
    )


def test_probabilities_are_averaged_not_logits(image):
    left = network(lambda x: torch.stack([100 * x[:, 0, 0, 0], 100 * x[:, 0, 0, -1]], 1))
    image = torch.zeros(1, 1, 4, 4)
    image[..., 0] = 1
    found = averaged(left, image, views(shift=0))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(averaged(left, image, views(shift=0)[:1]), torch.tensor([[1.0, 0.0]]))


def test_what_is_refused(image):
    with pytest.raises(ValueError, match="no classifier"):
        averaged(network(lambda x: None), image, views())
    with pytest.raises(ValueError, match="at least one view"):
        averaged(network(lambda x: x), image, ())
