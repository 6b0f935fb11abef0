"""Files that hold no weights, or none that can be used, each made by a function of the path."""

import gzip
import json
import pickle
import struct
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file

GOOD = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20)}


class Runs:
    def __reduce__(self):
        return (print, ("ran",))


def saved(value, **settings):
    return lambda path: torch.save(value, path, **settings)


def written(content):
    return lambda path: path.write_bytes(content)


def cut(share, **settings):
    def make(path):
        torch.save(GOOD, path, **settings)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def flipped(part):
    """One bit of the entry ``part`` of an archive."""

    def make(path):
        torch.save(GOOD, path)
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            entry = next(e for e in archive.infolist() if e.filename.endswith(part))
            stored = archive.read(entry)
        content[content.index(stored) + len(stored) // 2] ^= 1
        path.write_bytes(content)

    return make


def archive(compression=zipfile.ZIP_STORED, **entries):
    def make(path):
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, content in entries.items():
                file.writestr(name.replace("__", "/").replace("_DOT_", "."), content)

    return make


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return written(struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def script(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def cut_safetensors(path):
    save_file(GOOD, path)
    path.write_bytes(path.read_bytes()[:-100])


def claims_memory():
    """A tensor of four bytes that says it has 2**50 values."""
    return {"a": torch.zeros(1).expand(2**25, 2**25)}


def sparse():
    return {"a": torch.sparse_coo_tensor([[0], [0]], [1.0], (2**30, 2**30))}


def quantised():
    return {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}


def deep(levels):
    value = GOOD
    for _ in range(levels):
        value = {"model": value}
    return value


BAD = {
    # name: (suffix, how it is made, what the error says)
    "empty": (".pth", written(b""), "is empty"),
    "empty-safetensors": (".safetensors", written(b""), "is empty"),
    "zeros": (".ckpt", written(b"\0" * 4096), "zeros alone"),
    "lfs-pointer": (".pth", written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
    "lfs-pointer-safetensors": (".safetensors", written(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs"),
    "page": (".pth", written(b"<!DOCTYPE html><html>Not found</html>"), "web page"),
    "page-after-blanks": (".pth", written(b"\n\n  <html>"), "web page"),
    "page-safetensors": (".safetensors", written(b"<html>sign in</html>"), "web page"),
    "index-of-shards": (".safetensors", written(b'{"weight_map": {}}'), "JSON"),
    "text": (".pth", written(b"weights of my network\n"), "no file of torch.save"),
    "noise": (".pth", written(bytes(range(255, 0, -1))), "no file of torch.save"),
    "gzip": (".pth", written(gzip.compress(b"x")), "gzip"),
    "hdf5": (".pth", written(b"\x89HDF\r\n\x1a\n"), "HDF5"),
    "numpy": (".pth", lambda p: np.save(p.open("wb"), np.ones(3)), "NumPy"),
    "numpy-archive": (".pth", lambda p: np.savez(p.open("wb"), a=np.ones(3)), "archive of NumPy"),
    "image": (".pth", written(b"\x89PNG\r\n\x1a\n"), "an image"),
    "zip": (".pth", archive(readme_DOT_txt="hello"), "torch.save did not write"),
    "zip-compressed": (".pth", archive(zipfile.ZIP_DEFLATED, a__data_DOT_pkl=b"\0" * 10**6), "compressed"),
    "zip-empty": (".pth", archive(), "torch.save did not write"),
    "zip-of-noise": (".pth", archive(a__data_DOT_pkl=b"\xff" * 40, a__version="3"), "damaged"),
    "torchscript": (".pth", script, "TorchScript"),
    "archive-named-safetensors": (".safetensors", lambda p: torch.save(GOOD, p.open("wb")), "give it the suffix .pth"),
    "cut-half": (".pth", cut(0.5), "cut short or damaged"),
    "cut-end": (".pth", cut(0.99), "cut short or damaged"),
    "cut-begin": (".pth", cut(0.01), "cut short or damaged"),
    "cut-old-half": (".pth", cut(0.5, _use_new_zipfile_serialization=False), "cut short"),
    "cut-old-begin": (".pth", cut(0.1, _use_new_zipfile_serialization=False), "cut short"),
    "flipped-values": (".pth", flipped("data/0"), "CRC"),
    "flipped-pickle": (".pth", flipped("data.pkl"), "CRC"),
    "flipped-version": (".pth", flipped("/version"), "CRC"),
    "code": (".pth", saved({"a": Runs()}), "holds an object of .*print"),
    "code-old": (".pth", saved({"a": Runs()}, _use_new_zipfile_serialization=False), "holds an object of .*print"),
    "code-bare": (".pkl", written(pickle.dumps(Runs())), "cannot be read as weights"),
    "module": (".pth", saved(torch.nn.Linear(2, 2)), "holds an object of .*Linear.*state_dict"),
    "no-state-dict": (".ckpt", saved({"epoch": 3, "optimizer": [1]}), "mapping of epoch, optimizer"),
    "list": (".pth", saved([torch.ones(2)]), "it is of the type list"),
    "tensor": (".pth", saved(torch.ones(2)), "it is of the type Tensor"),
    "none": (".pth", saved(None), "it is of the type NoneType"),
    "nothing": (".pth", saved({}), "an empty mapping"),
    "numbered": (".pth", saved({0: torch.ones(2)}), "holds no state dict: '0'"),
    "mixed": (".pth", saved({**GOOD, "lr": 0.1}), "'lr' in it is of the type float"),
    "nested-too-deep": (".pth", saved(deep(8)), "holds no state dict"),
    "complex": (".pth", saved({"a": torch.ones(2, dtype=torch.complex64)}), "tensor a is of the type complex64"),
    "quantised": (".pth", lambda p: torch.save(quantised(), p), "tensor a is of the type qint8"),
    "sparse": (".pth", lambda p: torch.save(sparse(), p), "tensor a is sparse"),
    "meta": (".pth", saved({"a": torch.ones(2, device="meta")}), "without values"),
    "claims-memory": (".pth", saved(claims_memory()), "made to fill"),
    "cut-safetensors": (".safetensors", cut_safetensors, "damaged"),
    "header-too-long": (".safetensors", written(struct.pack("<Q", 2**62) + b"{}"), "damaged"),
    "header-past-the-end": (".safetensors", safetensors(b"{}", length=500), "damaged"),
    "header-not-json": (".safetensors", safetensors(b"{not json"), "damaged"),
    "header-not-text": (".safetensors", safetensors(b"{\xff\xfe}"), "damaged"),
    "offsets-past-the-end": (".safetensors", safetensors({"a": entry([4], 0, 16)}, b"\0" * 8), "damaged"),
    "offsets-of-tebibytes": (".safetensors", safetensors({"a": entry([2**40], 0, 2**42)}, b"\0" * 8), "damaged"),
    "offsets-overlap": (
        ".safetensors",
        safetensors({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, b"\0" * 24),
        "damaged",
    ),
    "offsets-backwards": (".safetensors", safetensors({"a": entry([4], 16, 0)}, b"\0" * 16), "damaged"),
    "shape-overflows": (".safetensors", safetensors({"a": entry([2**40, 2**40], 0, 16)}, b"\0" * 16), "damaged"),
    "shape-unlike-offsets": (".safetensors", safetensors({"a": entry([5], 0, 16)}, b"\0" * 16), "damaged"),
    "dtype-unknown": (".safetensors", safetensors({"a": entry([4], 0, 16, "Q9")}, b"\0" * 16), "damaged"),
    "safetensors-empty": (".safetensors", safetensors({}), "an empty mapping"),
}
