"""What a folder of images leaves out: it is counted in one line, and no image is in two splits."""

import os
import unicodedata

import pytest
from folders import CLASSES, save, source


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
