"""Folders of images that cannot be used are refused with the key and the remedy."""

import pytest
from folders import save, source
from PIL import Image

from kdbias.data.image_folder import read_image


def empty_class(root):
    for path in (root / "test" / "emu").iterdir():
        path.unlink()


def no_train(root):
    (root / "train").rename(root / "training")


def no_test(root):
    (root / "test").rename(root / "other")


def no_class(root):
    (root / "train").rename(root / "other")
    (root / "train").mkdir()


def unknown_class(root):
    save(root / "test" / "yak" / "0.png", 0)


def missing_class(root):
    (root / "test" / "dog").rename(root / "dog")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_class, "the class test/emu has no image (.png, .jpg, .jpeg, "),
        (missing_class, "the class test/dog has no image"),
        (no_train, "has no folder train: it must hold train/ and val/ or test/"),
        (no_test, "has no images to test with: it must hold train/ and val/ or test/"),
        (no_class, "there is no class in train"),
        (unknown_class, "test has the class yak, which train does not have"),
    ],
)
def test_a_folder_that_does_not_fit_is_told(root, change, message):
    change(root)
    with pytest.raises(ValueError) as found:
        _ = source(root).info
    assert str(found.value).startswith(f"data.root={root}")
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size: must be a whole number of at least 1, got 0"),
        ({"mean": [0.5]}, "data.mean and data.std must have three values each"),
        ({"mean": [0.5], "std": [0.0]}, "data.mean and data.std must be of images in"),
        ({"mean": [123.7], "std": [0.2]}, "divide values"),
        ({"val": 18}, "data.val=18 must lie in 0..17"),
    ],
)
def test_a_value_out_of_range_is_named(root, settings, message):
    with pytest.raises(ValueError, match=message):
        _ = source(root, **settings).info


def test_an_image_that_training_refuses_is_named_with_the_key(tmp_path):
    path = tmp_path / "thin.png"
    Image.new("RGB", (3000, 1)).save(path)
    with pytest.raises(ValueError, match=rf"data\.root: {path} cannot be read as an image .*: cut it to a part"):
        read_image(path, 3, 224)
