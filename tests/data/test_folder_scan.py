import os
import socket
import subprocess
from collections import Counter
from itertools import product

import pytest

from kdbias.data.folder_scan import class_folders, images_in, summary
from kdbias.data.image_file import SUFFIXES


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(folder):
    return [os.path.relpath(path, folder) for path in images_in(folder).files]


def test_images_are_listed_by_path_in_whatever_case_their_suffixes_are(tmp_path):
    expected = sorted(f"{case(f'x{suffix}')}" for suffix, case in product(SUFFIXES, (str.lower, str.upper, str.title)))
    touch(*(tmp_path / name for name in expected), tmp_path / "inner" / "0.Png")
    assert names(tmp_path) == sorted([*expected, "inner/0.Png"])
    assert not images_in(tmp_path).skipped


FOREIGN = {
    ".hidden.png": "hidden",
    "._0.png": "hidden",
    ".DS_Store": "hidden",
    ".ipynb_checkpoints/0-checkpoint.png": "hidden",
    "@eaDir/0.png": "of the system",
    "__MACOSX/0.png": "of the system",
    "Thumbs.db": "of the system",
    "desktop.ini": "of the system",
    "lost+found/0.png": "of the system",
    "0.heic": ".heic",
    "0.PNG.part": ".part",
    "README": "without suffix",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("place", [".", "deep/er"])
def test_what_is_no_image_is_skipped_and_counted(tmp_path, name, place):
    touch(tmp_path / "0.png", tmp_path / place / name)
    found = images_in(tmp_path)
    assert [os.path.basename(path) for path in found.files] == ["0.png"]
    assert found.skipped == Counter({FOREIGN[name]: 1})


def test_pipes_sockets_folders_and_links_to_nowhere_are_no_images(tmp_path):
    touch(tmp_path / "0.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            bound.bind("socket.png")
        finally:
            os.chdir(here)
        (tmp_path / "nowhere.png").symlink_to("not there.png")
        (tmp_path / "itself.png").symlink_to("itself.png")
        (tmp_path / "through.png").symlink_to("pipe.png")
        (tmp_path / "folder.png").mkdir()
        found = images_in(tmp_path)
    assert names(tmp_path) == ["0.png"]
    assert found.skipped == Counter({"not files": 5})


def test_a_loop_of_links_ends(tmp_path):
    """Four folders that link to each other: every path through them was an image of its own."""
    root = tmp_path / "class"
    touch(*(root / name / f"{name}.png" for name in "abcd"))
    for one, other in product("abcd", repeat=2):
        (root / one / f"to-{other}").symlink_to(root / other)
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "top").symlink_to(tmp_path)
    assert names(root) == [f"{name}/{name}.png" for name in "abcd"]
    assert images_in(root).skipped == Counter({"linked twice": 12, "looping links": 6})


def test_what_lies_in_a_folder_keeps_its_own_path_and_links_to_elsewhere_are_followed(tmp_path):
    folder, elsewhere = tmp_path / "class", tmp_path / "elsewhere"
    touch(
        folder / "z.png", folder / "y" / "0.png", elsewhere / "1.png", elsewhere / "deep" / "2.png", tmp_path / "3.png"
    )
    (folder / "a").symlink_to("y")
    (folder / "b").symlink_to(elsewhere)
    (folder / "c").symlink_to(elsewhere / "deep")
    (folder / "d.png").symlink_to("z.png")
    (folder / "e.png").symlink_to(tmp_path / "3.png")
    (elsewhere / "back").symlink_to(folder)
    assert names(folder) == ["b/1.png", "b/deep/2.png", "e.png", "y/0.png", "z.png"]
    assert images_in(folder).skipped == Counter({"linked twice": 4})


def test_hard_links_are_files_of_their_own(tmp_path):
    touch(tmp_path / "0.png")
    os.link(tmp_path / "0.png", tmp_path / "1.png")
    assert names(tmp_path) == ["0.png", "1.png"]


def test_classes_are_the_folders_and_links_to_folders(tmp_path):
    touch(tmp_path / "all" / "b" / "0.png", tmp_path / "all" / ".cache" / "0.png", tmp_path / "all" / "loose.png")
    touch(tmp_path / "elsewhere" / "0.png")
    (tmp_path / "all" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "all" / "around").symlink_to(tmp_path)
    found, skipped = class_folders(tmp_path / "all")
    assert found == {name: [tmp_path / "all" / name] for name in "ab"}
    assert skipped == Counter({"hidden": 1, "looping links": 1, "outside of the classes": 1})


def test_the_summary_names_the_most_frequent_kinds_first_and_no_more_than_six():
    assert summary(60, Counter({"hidden": 4, ".heic": 8})) == "60 images, 12 skipped: 8 .heic, 4 hidden"
    many = Counter({f".{letter}": 1 for letter in "abcdefgh"})
    assert summary(1, many) == "1 image, 8 skipped: 1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 2 other kinds"


def test_folders_a_thousand_deep_are_listed(tmp_path):
    home = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1_100):
            os.mkdir("d")
            os.chdir("d")
        (tmp_path / "a.png").write_bytes(b"")
        os.chdir(home)
        assert names(tmp_path) == ["a.png"]
    finally:
        os.chdir(home)
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


STEERS = "a\x1b[2Jb"


def test_what_steers_a_terminal_is_not_shown_and_names_no_class(tmp_path):
    touch(tmp_path / "good" / f"x.{STEERS}")
    assert [*class_folders(tmp_path)[0]] == ["good"]
    assert summary(0, images_in(tmp_path / "good").skipped) == "0 images, 1 skipped: 1 .a?[2jb"
    for name in (STEERS, "a\nb", os.fsdecode(b"a\xff"), "a\u202eb"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=r"class folder .*\?.*cannot be shown: rename it"):
            class_folders(tmp_path)
        (tmp_path / name).rmdir()
    (tmp_path / "क्\u200dष\xa0ü").mkdir()
    assert len(class_folders(tmp_path)[0]) == 2
