import os
import unicodedata

import numpy as np
import PIL
import pytest
import torch
from loading import assert_same
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.image_file import fit, open_image
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


def test_folders_within_a_class_count_and_other_files_do_not(root):
    save(root / "train" / "dog" / "puppies" / "0.png", 1)
    (root / "train" / "dog" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    with pytest.warns(UserWarning, match=rf"data.root={root}: 37 images, 2 skipped: 1 \.txt, 1 hidden$"):
        assert source(root).info.train == 15


def test_nothing_is_said_where_nothing_is_skipped(root, recwarn):
    assert source(root).info.train == 14
    assert not recwarn.list


def test_every_entry_that_is_skipped_is_counted_in_one_line(root):
    """What Jupyter, macOS, a Synology, Windows and an archiver leave behind, at every level."""
    for folder in (root / "train", root / "train" / "dog", root / "test" / "emu"):
        for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            save(folder / name / "0.png", 1)
        for name in ("._0.png", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"no image")
    (root / "train" / "loose.png").write_bytes(b"in no class")
    (root / "train" / "dog" / "0.heic").write_bytes(b"of another format")
    os.mkfifo(root / "train" / "dog" / "pipe.png")
    said = "36 images, 21 skipped: 9 hidden, 9 of the system, 1 .heic, 1 not files, 1 outside of the classes"
    with pytest.warns(UserWarning, match=f"{said}$") as found:
        info = source(root).info
    assert len(found) == 1
    assert (info.names, info.train) == (CLASSES, 14)
    with pytest.warns(UserWarning, match=said):
        assert len(source(root).split("test")[0]) == 18


def test_the_spellings_of_a_class_in_unicode_are_one_class(tmp_path):
    """macOS writes the accent as a character of its own; an archive packed there brings such folders anywhere."""
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for number, place in enumerate((f"train/{apart}", f"train/{composed}", "train/f", f"test/{composed}", "test/f")):
        save(tmp_path / place / f"{number}.png", number)
    found = source(tmp_path, val=0)
    assert found.info.names == ("f", composed)
    assert found.images("train")[1].bincount().tolist() == [1, 2]
    assert found.images("test")[1].bincount().tolist() == [1, 1]
    for name in ("train", "test"):
        assert len(found.split(name)[0]) == len(found.images(name)[1])


def test_a_link_to_the_folders_around_it_is_no_class(root):
    (root / "train" / "all").symlink_to(root / "train")
    with pytest.warns(UserWarning, match="1 looping links"):
        assert source(root).info.names == CLASSES


def test_no_image_is_on_both_sides_of_the_split_by_a_link(root):
    (root / "train" / "dog" / "again").symlink_to(root / "train" / "dog")
    (root / "train" / "dog" / "up").symlink_to("..")
    (root / "train" / "dog" / "copy.png").symlink_to("0.png")
    with pytest.warns(UserWarning, match="36 images, 3 skipped: 2 looping links, 1 linked twice"):
        _ = (found := source(root)).info
    files = [file for name in ("train", "val") for file in found.images(name)[0].files]
    real = {os.path.realpath(root / os.fsdecode(file)) for file in files}
    assert len(files) == len(real) == 18


def test_what_was_skipped_is_said_of_a_class_without_images(root):
    for path in (root / "test" / "emu").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(ValueError, match=r"the class test/emu has no image .*; 0 images, 6 skipped: 6 \.heic: give it"):
        _ = source(root).info


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


def test_an_image_that_training_refuses_is_named_with_the_key(tmp_path):
    path = tmp_path / "thin.png"
    Image.new("RGB", (3000, 1)).save(path)
    with pytest.raises(ValueError, match=rf"data\.root: {path} cannot be read as an image .*: cut it to a part"):
        read_image(path, 3, 224)


def test_a_fingerprint_is_of_the_reader_too(root, monkeypatch):
    """What is kept of images that another reader read must not be taken for what this one reads."""
    before = source(root).fingerprint("test")
    monkeypatch.setattr(PIL, "__version__", "0")
    assert source(root).fingerprint("test") != before


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
