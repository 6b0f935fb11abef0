"""Files of arrays from strangers: what is whole is read, what lies is refused before memory is taken."""

import contextlib
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from kdbias.data.arrays import read_arrays


def write(path: Path, shape: tuple[int, ...], data: bytes, dtype: str = "<f8") -> Path:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", header.getvalue() + data)
    return path


def test_whole_arrays_come_back(tmp_path):
    kept = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array([True, False]),
        "c": np.asarray(4.136),
        "d": np.zeros((0, 3)),
    }
    np.savez_compressed(tmp_path / "x.npz", **kept)
    found = read_arrays(tmp_path / "x.npz")
    assert found.keys() == kept.keys()
    for name, value in kept.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


@pytest.mark.parametrize(
    ("shape", "data", "reason"),
    [
        ((2**40,), b"\0" * 8, "claims 8,796,093,022,208 bytes and has 8"),
        ((2**31, 2**31), b"", "and has 0"),
        ((3,), b"\0" * 8, "claims 24 bytes and has 8"),
        ((1,), b"\0" * 16, "claims 8 bytes and has 16"),
        ((-1,), b"\0" * 8, "claims -8 bytes"),
    ],
)
def test_a_header_that_lies_takes_no_memory(tmp_path, shape, data, reason):
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        read_arrays(write(tmp_path / "x.npz", shape, data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_zip_that_unpacks_to_more_than_is_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "x.npz", (1_000_000,), b"\0" * 8_000_000)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("kdbias.data.arrays.LARGEST", 7_000_000)
    with pytest.raises(ValueError, match="claims 8,000,128 bytes of arrays, and at most 7,000,000 are read"):
        read_arrays(path)


def test_damage_is_told(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(1000.0))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[4000] ^= 1
    for content in (whole[:-100], whole[:50], bytes(flipped), b"", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cut short or damaged"):
            read_arrays(path)
    np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds objects"):
        read_arrays(path)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")


def test_no_cut_and_no_changed_byte_raises_anything_else(tmp_path):
    """Whoever reads a Result of a stranger handles two kinds of errors, and needs no other."""
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(50.0), b=np.eye(3))
    whole = (tmp_path / "x.npz").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(600):
        found = bytearray(whole[: rng.integers(len(whole) + 1)] if rng.random() < 0.3 else whole)
        for place in rng.integers(max(len(found), 1), size=3 * bool(found)):
            found[place] = rng.integers(256)
        (tmp_path / "y.npz").write_bytes(bytes(found))
        with contextlib.suppress(ValueError):
            read_arrays(tmp_path / "y.npz")


def test_a_header_that_is_no_literal_is_refused(tmp_path):
    for text in ("(" * 5_000, "{'descr': f(), ", "\0", "{'descr': [('a', 3)], 'fortran_order': 0, 'shape': ()}"):
        header = text.encode() + b"\n"
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
            file.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        with pytest.raises(ValueError):
            read_arrays(tmp_path / "x.npz")
