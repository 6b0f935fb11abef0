"""What lies damaged on the disk: a chunk is named in one line and made again, a whole set is refused with a remedy."""

import json
import shutil

import numpy as np
import plain
import pytest

from kdbias.stress import build, chunks


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 16)
    monkeypatch.setattr(build, "CHUNK", 16)


@pytest.fixture
def ended(tmp_path, short):
    """The chunks of a build that was ended before the whole was written, and the images of a whole one."""
    root = tmp_path / "ended"

    def end(done, of):
        if done == of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain.store(root, end)
    return root, plain.store(tmp_path / "whole").image


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[3000] ^= 8
    path.write_bytes(content)


def saved(**arrays):
    def change(path):
        with np.load(path) as found:
            kept = dict(found)
        np.savez(path, **{name: make(kept) for name, make in arrays.items()})

    return change


NOTES = {"notes": lambda kept: kept["notes"]}
CHANGES = {
    "cut": (cut, "cut short or damaged"),
    "flipped": (flipped, "cut short or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "cut short or damaged"),
    "fewer images": (saved(images=lambda kept: kept["images"][:-1], **NOTES), "and must be"),
    "smaller images": (saved(images=lambda kept: kept["images"][:, ::2, ::2], **NOTES), "and must be"),
    "floats": (saved(images=lambda kept: kept["images"].astype(np.float16), **NOTES), "bytes of arrays"),
    "signed": (saved(images=lambda kept: kept["images"].view(np.int8), **NOTES), "int8 (16, 32, 32, 3), and must be"),
    "no notes": (saved(images=lambda kept: kept["images"]), "lacks notes"),
    "objects": (saved(images=lambda kept: np.array([{}] * 16, object), **NOTES), "holds objects"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_chunk_is_named_in_a_line_and_made_again(ended, change, capsys):
    root, whole = ended
    (path,) = root.glob("*/parts/16.npz")
    spoil, reason = CHANGES[change]
    spoil(path)
    calls = []
    found = plain.store(root, lambda done, of: calls.append(done))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(path))
    assert reason in line
    assert line.endswith("this part of the set is made again")
    assert calls == [64]
    assert found.image.equal(whole)


def test_a_folder_in_the_place_of_a_chunk_and_links_out_of_the_set_are_refused(ended, tmp_path):
    root, _ = ended
    (path,) = root.glob("*/parts/16.npz")
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"16\.npz is no file: remove it"):
        plain.store(root)
    outside = shutil.move(path.parent, tmp_path / "outside")
    path.parent.symlink_to(outside)
    with pytest.raises(ValueError, match="parts is a link"):
        plain.store(root)
    kept = shutil.move(path.parents[1], tmp_path / "kept")
    path.parents[1].symlink_to(kept)
    with pytest.raises(ValueError, match="is a link"):
        plain.store(root)


def manifest(change):
    def spoil(folder):
        path = folder / "manifest.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return spoil


def array(name, change):
    """Change an array, and the digest of its file with it, as somebody does who means harm."""

    def spoil(folder):
        path = folder / name
        change(path)
        manifest(lambda found: found["sha256"].update({name: build.files.digest(path)}))(folder)

    return spoil


def claims(path):
    head = str({"descr": "|u1", "fortran_order": False, "shape": (2**50,)}).encode().ljust(118) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)


WHOLE = {
    "no json": (lambda folder: (folder / "manifest.json").write_text("{"), "cut short or damaged"),
    "deep": (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "cut short or damaged"),
    "a list": (lambda folder: (folder / "manifest.json").write_text("[]"), "is no manifest"),
    "no digests": (manifest(lambda found: found.pop("sha256")), "is no manifest"),
    "without one digest": (manifest(lambda found: found["sha256"].pop("labels.npz")), "labels.npz is not what"),
    "another file's digest": (manifest(lambda found: found.update(sha256={"../x": "0"})), "images.npy is not what"),
    "another seed": (manifest(lambda found: found.update(seed=1)), "of another set: its seed"),
    "gone": (lambda folder: (folder / "labels.npz").unlink(), "labels.npz is not there"),
    "a claim": (array("images.npy", claims), "claims 1,125,899,906,842,624 bytes"),
    "other labels": (array("labels.npz", saved(target=lambda kept: kept["target"][:3], **NOTES)), "target is int64"),
    "huge": (array("labels.npz", lambda path: path.write_bytes(b"0" * 9_000)), "is not what was written"),
}


@pytest.mark.parametrize("change", WHOLE)
def test_a_damaged_set_is_refused_with_the_file_and_the_remedy(tmp_path, change):
    plain.store(tmp_path)
    (folder,) = tmp_path.iterdir()
    spoil, reason = WHOLE[change]
    spoil(folder)
    with pytest.raises(ValueError) as raised:
        plain.store(tmp_path)
    assert reason in str(raised.value)
    assert str(raised.value).endswith(f"remove the folder {folder} to build the set again")
