"""Folders of images: splits, labels, both loaders, and the same pixels as torchvision and predict read."""

import os

import numpy as np
import PIL
import pytest
import torch
from folders import CLASSES, fill, save, source
from loading import assert_same
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.image_file import fit, open_image
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers


def test_images_are_resized_and_cut_as_torchvision_does(root):
    images, labels = source(root).split("test")
    assert images.shape == (18, 3, 16, 16)
    files = [root / os.fsdecode(file) for file in source(root).images("test")[0].files]
    assert [CLASSES[label] for label in labels] == [file.parent.name for file in files]
    assert sorted(files) == sorted(path for path in (root / "test").glob("*/*"))
    for path, image in zip(files, images, strict=True):
        resized = F.resize(Image.open(path).convert("RGB"), [16], InterpolationMode.BICUBIC)  # no alpha, no EXIF
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


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise("RGB").save(path, exif=exif)


def noise(mode):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)).convert(mode)


def half_transparent(path):
    image = noise("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)


UNLIKE = {  # what training and ``task=predict`` read in two ways, or one of them not at all
    "turned.jpg": turned,
    "turned.png": turned,
    "transparent.png": half_transparent,
    "transparent.webp": half_transparent,
    "palette.png": lambda path: noise("P").save(path, transparency=3),
    "deep.png": lambda path: Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 60).save(path),
    "ink.jpg": lambda path: noise("CMYK").save(path),
    "a.WebP": lambda path: noise("RGB").save(path),
    "a.bmp": lambda path: noise("RGB").save(path),
    "a.tif": lambda path: noise("RGB").save(path),
    "a.gif": lambda path: noise("RGB").save(path),
    "a.ppm": lambda path: noise("RGB").save(path),
}


@pytest.mark.parametrize("channels", [1, 3])
def test_training_reads_an_image_as_predict_reads_it(tmp_path, channels):
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        for name, write in UNLIKE.items():
            write(tmp_path / split / "a" / name)
    found = source(tmp_path, mean=[0.5] * channels, std=[0.2] * channels)
    assert found.info.train == len(UNLIKE) - 4
    images = found.images("test")[0]
    assert sorted(os.path.basename(os.fsdecode(file)) for file in images.files) == sorted(UNLIKE)
    for position, file in enumerate(images.files):
        assert torch.equal(images[position], fit(open_image(tmp_path / os.fsdecode(file)), found.info)), file


def test_a_fingerprint_is_of_the_reader_too(root, monkeypatch):
    """What is kept of images that another reader read must not be taken for what this one reads."""
    before = source(root).fingerprint("test")
    monkeypatch.setattr(PIL, "__version__", "0")
    assert source(root).fingerprint("test") != before


def test_the_fingerprint_of_a_split_tells_another_order(root):
    """Image i of the test split is another one, so what was made of the old order does not fit."""
    one, other = source(root), source(root, split_seed=1)
    assert one.images("test")[0].files.tolist() != other.images("test")[0].files.tolist()
    assert one.fingerprint("test") != other.fingerprint("test")


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
