"""Downloads that cannot succeed: data sets and pretrained weights that are not there, and a host that does not answer.

The host is asked for nothing but an answer. Whatever it answers, the download itself decides; only a connection that
cannot be made is a problem here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from kdbias.config.errors import Problem
from kdbias.runs import run_folder

PATIENCE = 5.0  # seconds for a host to answer


@dataclass(frozen=True)
class Published:
    """A published set: its folder below ``data.root``, files without which it is not there, and where it comes from.

    ``archive`` is the file in ``data.root`` that is unpacked where a download is allowed.
    """

    folder: str
    files: tuple[str, ...]
    hosts: tuple[str, ...]
    archive: str = ""


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SETS = {
    "kdbias.data.cifar.cifar10": Published(
        *("cifar-10-batches-py", ("data_batch_1", "test_batch"), ("https://www.cs.toronto.edu",)),
        "cifar-10-python.tar.gz",
    ),
    "kdbias.data.cifar.cifar100": Published(
        *("cifar-100-python", ("train", "test"), ("https://www.cs.toronto.edu",)), "cifar-100-python.tar.gz"
    ),
    "kdbias.data.mnist.mnist": Published(
        "MNIST/raw", _IDX, ("https://ossci-datasets.s3.amazonaws.com", "http://yann.lecun.com")
    ),
    "kdbias.data.mnist.fashion_mnist": Published(
        "FashionMNIST/raw", _IDX, ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",)
    ),
}
HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def data_problems(tree: Mapping[str, Any], key: str = "data") -> Iterator[Problem]:
    """Give the problem of a published data set that is not in ``data.root`` and cannot be downloaded."""
    node = tree.get("data")
    known = SETS.get(str(node.get("_target_"))) if isinstance(node, Mapping) else None
    if known is None or not isinstance(node, Mapping) or not isinstance(node.get("root"), str):
        return
    folder = Path(node["root"]) / known.folder
    if any((folder / name).exists() or (folder / f"{name}.gz").exists() for name in known.files):
        return  # whether it is whole is seen when it is read
    if node.get("download") is True and known.archive and (Path(node["root"]) / known.archive).is_file():
        return
    if node.get("download") is not True:
        why = "data.download is false"
    else:
        reasons = [silent(host) for host in known.hosts]
        if not all(reasons):
            return
        why = f"it cannot be downloaded ({reasons[0]})"
    yield Problem(
        key,
        f"no data set at {folder.absolute()}: {why}. Put it there, or point data.root (or the environment variable "
        f"KDBIAS_DATA) at a folder that holds {known.folder}, or take data=cues, which needs no download",
    )


def pretrained_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Give the problem of networks that must begin from timm's weights, which are neither here nor to be had.

    A teacher that was trained before needs them no more, so where there are teachers of its name nothing is said.
    """
    teacher = tree.get("teacher")
    teacher = teacher if isinstance(teacher, Mapping) else {}
    places = [("model", tree.get("model"), "model.weights", "model.pretrained")]
    used = teacher.get("name") is not None and tree.get("control") is None  # a control may not use it
    if used and teacher.get("weights") is None and not _trained(tree, teacher):
        own = teacher.get("recipe") is None
        places.append(
            (
                "teacher.model",
                teacher.get("model"),
                "teacher.weights" if own else "teacher.model.weights",
                "teacher.pretrained" if "pretrained" in teacher else "teacher.model.pretrained",
            )
        )
    for place, node, instead, switch in places:
        if not isinstance(node, Mapping) or node.get("pretrained") is not True or node.get("weights") is not None:
            continue
        name = node.get("name")
        if not isinstance(name, str) or cached(name) or not (reason := silent(HUB)):
            continue
        yield Problem(
            f"{place}.pretrained",
            f"the weights of {name} are not in the cache and cannot be downloaded ({reason}): download "
            f"model.safetensors of {HUB}/timm/{name} elsewhere and give it as {instead}=PATH, or do without "
            f"({switch}=false)",
        )


def cached(name: str) -> bool:
    """Whether there may be weights of a timm network in one of the caches: of the hub, or of torch for other hosts."""
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface"), "hub")
    torch = Path(os.environ.get("TORCH_HOME", "~/.cache/torch"), "hub", "checkpoints")
    base = name.partition(".")[0]
    found = Path(hub).expanduser().glob(f"models--*--{base}*")
    return any(found) or any(torch.expanduser().glob(f"*{base}*"))


@cache
def silent(host: str) -> str:
    """Say why no connection to a host can be made; empty if it answers anything. It is asked once a process."""
    try:
        urlopen(Request(host, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return ""
    except URLError as error:
        return "" if isinstance(error.reason, ssl.SSLError) else f"{host}: {error.reason}"
    except OSError as error:  # a connection that breaks off
        return f"{host}: {error}"
    return ""


def _trained(tree: Mapping[str, Any], teacher: Mapping[str, Any]) -> bool:
    paths = tree.get("paths")
    folder = paths.get("teachers") if isinstance(paths, Mapping) else None
    return isinstance(folder, str) and any(map(run_folder.is_whole, Path(folder).glob(f"{teacher['name']}-*")))
