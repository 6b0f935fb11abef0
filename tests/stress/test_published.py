"""The earlier report's variants of the stress sets, by preset=as_published."""

import numpy as np
import pytest
from config_base import composed
from sets import pixels, small

from kdbias.analysis.stress_configs import selected
from kdbias.checks.check import ConfigError
from kdbias.config.spec import plain
from kdbias.config.stress_names import shipped
from kdbias.stress.enlarged import Enlarged
from kdbias.stress.loading import load
from kdbias.stress.scramble import Scramble
from kdbias.stress.stress_set import generator

BUILT = ["noise", "scramble", "superpixel"]


def chosen(*words):
    tree = plain(composed(["task=build_stress", "data=cues", "preset=as_published", *words], "analyze"))
    return selected(tree, small(3))


def test_there_are_five():
    assert sorted(shipped("as_published")) == sorted([*BUILT, "shape", "texture"])


@pytest.mark.parametrize("name", BUILT)
def test_a_variant_builds_on_three_images_and_differs_from_ours(name, tmp_path):
    stress, source = chosen(f"stress=[{name}]")[name], small(3)
    clean, target = source.split("test")
    found = load(stress, source, root=tmp_path, name=name)
    assert found.image.shape == clean.shape
    assert found.target.tolist() == target.tolist()
    assert (found.image != clean).any((1, 2, 3)).all()
    ours = load(shipped()[name], source, root=tmp_path, name=name)
    assert (found.image != ours.image).any()
    again = composed([f"stress=[as_published/{name}]", "data=cues"], "analyze")
    assert selected(plain(again), source) == {name: stress}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("shape", "stress.shape.engine: fcn needs the weights of FCN-ResNet-101, which are not here: choose edges"),
        ("texture", "stress.texture.engine: gatys needs the weights of VGG-19, which are not here: choose spectral"),
        ("grey", "preset: as_published: there is none of grey, only of noise, scramble, shape, superpixel, texture"),
        ("noise stress.noise.sigma=2", "stress.noise: the variant of preset=as_published has its own settings"),
    ],
)
def test_what_needs_weights_or_has_no_variant_is_refused(words, says):
    name, *settings = words.split()
    with pytest.raises(ConfigError, match="^" + says.replace(".", r"\.")):
        chosen(f"stress=[{name}]", *settings)


def test_an_enlarged_image_is_changed_at_its_size_and_reduced():
    image = pixels(1)[0][0]
    stress = Enlarged({"_target_": "kdbias.stress.scramble.Scramble", "grid": 8}, size=64)
    found = stress(image, 0, 1.0, generator(stress, 0, 0))
    flat = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8), 4, 0), 4, 1)[..., None]
    doubled = Enlarged(Scramble(8), size=32)(flat, 0, 1.0, generator(stress, 0, 0))
    np.testing.assert_array_equal(np.sort(doubled, axis=None), np.sort(flat, axis=None))
    assert found.shape == image.shape
    assert not stress.aligned
    assert "do not divide" in Enlarged(Scramble(7), size=32).refuses(28, 3)
    assert Enlarged(Scramble(7), size=28).refuses(32, 3) == ""
    with pytest.raises(ValueError, match="images of its own"):
        Enlarged({"_target_": "kdbias.stress.folder.Folder", "root": "/"})
