import os

import numpy as np
import pytest
import torch
from loading import assert_same
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.image_folder import image_folder, read_image
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers

SIZES = [(40, 30), (20, 50), (16, 16), (9, 12)]
CLASSES = ("cat", "dog", "emu")


def save(path, number):
    """An image of its own size, mode and format, told from others by its colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[number % 4]
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(("RGB", "L", "P", "RGBA")[number % 4] if path.suffix == ".png" else "RGB")
    image.save(path)


def fill(root, splits, each=6):
    number = 0
    for split in splits:
        for name in CLASSES:
            for i in range(each):
                save(root / split / name / f"{i}{('.png', '.jpg', '.JPEG')[i % 3]}", number)
                number += 1
    return root


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path, ("train", "test"))


def source(root, **settings):
    return image_folder(root=str(root), **({"size": 16, "val": 4} | settings))


def test_images_are_resized_and_cut_as_torchvision_does(root):
    images, labels = source(root).split("test")
    assert images.shape == (18, 3, 16, 16)
    files = [root / os.fsdecode(file) for file in source(root).images("test")[0].files]
    assert [CLASSES[label] for label in labels] == [file.parent.name for file in files]
    assert sorted(files) == sorted(path for path in (root / "test").glob("*/*"))
    for path, image in zip(files, images, strict=True):
        resized = F.resize(Image.open(path).convert("RGB"), [16], InterpolationMode.BICUBIC)
        assert torch.equal(image, F.pil_to_tensor(F.center_crop(resized, [16])))


def test_the_first_test_images_are_a_sample_of_all_classes(root):
    first, again = (source(root).split("test")[1] for _ in range(2))
    assert torch.equal(first, again)
    assert first.bincount().tolist() == [6, 6, 6]
    assert len(first[:6].unique()) > 1
    assert not torch.equal(first, source(root, split_seed=1).split("test")[1])


def test_the_description_is_that_of_the_folders(root):
    info = source(root).info
    assert (info.channels, info.size, info.classes, info.names, info.train) == (3, 16, 3, CLASSES, 14)
    assert info.mean == (0.485, 0.456, 0.406)
    grey = source(root, mean=[0.5], std=[0.2], size=8)
    assert grey.info.channels == 1
    assert grey.split("val")[0].shape == (4, 1, 8, 8)


def test_a_lone_val_folder_is_the_test_set_and_validation_a_fixed_part_of_train(root):
    (root / "test").rename(root / "val")
    found = source(root)
    train, val = (set(found.images(name)[0].files.tolist()) for name in ("train", "val"))
    assert (len(train), len(val), len(train & val)) == (14, 4, 0)
    assert all(file.startswith(b"train/") for file in train | val)
    assert all(file.startswith(b"val/") for file in found.images("test")[0].files.tolist())
    assert set(source(root, limit=5).images("val")[0].files.tolist()) == val
    assert len(source(root, limit=5).images("train")[1]) == 5
    assert set(source(root, split_seed=1).images("val")[0].files.tolist()) != val


def test_val_and_test_folders_are_what_they_say(root):
    fill(root, ("val",), each=2)
    found = source(root)
    assert {name: len(found.images(name)[1]) for name in ("train", "val", "test")} == {
        "train": 18, "val": 6, "test": 18,
    }  # fmt: skip
    assert all(file.startswith(b"val/") for file in found.images("val")[0].files.tolist())


def test_labels_belong_to_their_images(root):
    for name in ("train", "val", "test"):
        images, labels = source(root).images(name)
        assert [CLASSES[label] for label in labels] == [file.decode().split("/")[1] for file in images.files]


def test_folders_within_a_class_count_and_other_files_do_not(root):
    save(root / "train" / "dog" / "puppies" / "0.png", 1)
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    assert source(root).info.train == 15


def feed(root, loader):
    return ImageData(
        source(root), Augment(crop=2, view="photometric"), batch_size=6, eval_batch_size=5, seed=0, loader=loader
    )


def test_both_loaders_give_the_same_batches(root):
    ours, theirs = feed(root, Workers(num_workers=1)), feed(root, Resident())
    for name in ("train", "val", "test"):
        batches = list(getattr(ours, f"{name}_dataloader")())
        assert len(batches) == {"train": 2, "val": 1, "test": 4}[name]
        for one, other in zip(batches, getattr(theirs, f"{name}_dataloader")(), strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("loader", [Resident(), Workers(num_workers=0)])
def test_probes_decode_what_they_look_at_and_no_more(root, loader):
    files = source(root).images("test")[0].files.tolist()
    for file in files[7:]:
        (root / file.decode()).write_bytes(b"no image")
    data = feed(root, loader)
    assert [len(batch.index) for batch in data.batches("test", limit=7)] == [5, 2]
    assert data.count("test") == 18


@pytest.mark.parametrize("loader", [Resident(), Workers(num_workers=0), Workers(num_workers=1)])
def test_a_image_that_cannot_be_read_is_named(root, loader):
    path = root / "test" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"data.root: {path} cannot be read as an image"):
        list(feed(root, loader).test_dataloader())


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
        (empty_class, "the class test/emu has no image (.jpg, .jpeg, .png)"),
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
        ({"size": 0}, "data.size=0"),
        ({"mean": [0.5]}, "data.mean and data.std must have three values each"),
        ({"mean": [0.5], "std": [0.0]}, "data.mean and data.std must be of images in"),
        ({"mean": [123.7], "std": [0.2]}, "divide values"),
        ({"val": 18}, "data.val=18 must lie in 0..17"),
    ],
)
def test_a_value_out_of_range_is_named(root, settings, message):
    with pytest.raises(ValueError, match=message):
        _ = source(root, **settings).info


def test_images_of_more_than_8_bits_are_refused_by_name(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(path)
    with pytest.raises(ValueError, match=r"deep.png has more than 8 bits a channel \(I;16\)"):
        read_image(path, 3, 8)


def test_the_fingerprint_of_a_split_tells_changed_files(root):
    first = {split: source(root).fingerprint(split) for split in ("train", "test")}
    assert first == {split: source(root).fingerprint(split) for split in ("train", "test")}
    assert first["train"] != first["test"]
    seen = {first["test"]}
    changed = root / "test" / "cat" / "0.png"
    for change in (
        lambda: os.utime(changed, ns=(0, 1_000_000_001)),  # rewritten in its length
        lambda: changed.write_bytes(changed.read_bytes() + b"0"),
        lambda: os.rename(changed, changed.with_name("9.png")),
        lambda: [save(root / split / "ant" / "0.png", 0) for split in ("train", "test")],
    ):
        change()
        assert source(root).fingerprint("test") not in seen
        seen.add(source(root).fingerprint("test"))
    assert source(root).fingerprint("train") != first["train"]
