"""Results that were computed before, under a key made of everything that decides them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import timm
import torch

from kdbias.config.build import target
from kdbias.data.base import Source
from kdbias.files import sync_folder, write_text
from kdbias.probes.base import Result
from kdbias.probes.code import builders_in, code_digest

FORMAT = 1  # of the entries; entries of another format are not read
GIVEN = ("source", "data", "teacher", "stressed")  # what a probe gets besides its settings
BROKEN = (OSError, ValueError)  # what ``Result.load`` raises


@dataclass(frozen=True)
class Cache:
    """Results under ``folder``, each in a folder named by its key.

    An entry appears complete or not at all, so several processes can read and write at once. A broken entry is
    reported and counts as missing.
    """

    folder: Path

    def load(self, key: str, name: str) -> Result | None:
        """Give the Result of ``key`` as ``name``; None if there is none that can be read."""
        place = self.folder / key
        if not place.is_dir():
            return None
        try:
            found = Result.load(place, "result")
        except BROKEN as error:
            print(f"{place} is broken ({type(error).__name__}): {name} is computed again")
            return None
        return Result(name, found.scalars, found.arrays, found.meta)

    def save(self, key: str, result: Result, about: Mapping[str, Any]) -> None:
        """Keep ``result`` under ``key``; ``about``, what decided it, goes to ``key.json`` beside it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
        try:
            Result("result", result.scalars, result.arrays, result.meta).save(own)
            write_text(own / "key.json", json.dumps(about, indent=1, default=str) + "\n")
            own.chmod(0o755)
            self._place(own, self.folder / key)
            sync_folder(self.folder)
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _place(self, own: Path, place: Path) -> None:
        """Rename a folder to its place; a folder there is broken, or another process wrote the same Result sooner."""
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix=".", dir=self.folder)) / "old"
            try:
                place.rename(old)
            except FileNotFoundError:
                pass  # another process has removed it
            finally:
                shutil.rmtree(old.parent, ignore_errors=True)
        try:
            own.rename(place)
        except OSError:
            if not place.is_dir():
                raise


def describe(
    node: Mapping[str, Any],
    weights: str,
    images: Mapping[str, Any],
    given: Mapping[str, str],
    model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give everything that decides a Result, as plain types.

    ``node`` is the probe's config; the defaults of its arguments are added. If it names what lies elsewhere, such as a
    stress set, the probe's own ``decided_by(node)`` gives it with what the name stands for. ``weights`` identifies the
    network's weights, ``images`` the images, and ``given`` what else the probe gets (a teacher). ``model`` is the
    network's config, if ``weights`` does not contain it. The code behind every builder in these counts too.
    """
    parameters = {
        name: parameter.default
        for name, parameter in signature(target(node, "probe")).parameters.items()
        if name not in GIVEN and parameter.default is not Parameter.empty
    }
    decided_by = getattr(target(node, "probe"), "decided_by", dict)
    probe = {**parameters, **decided_by(node)}
    code = {
        "format": FORMAT,
        "kdbias": _version(),
        "code": code_digest(builders_in(node, probe, weights, images, given, model)),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    return {"probe": probe, "weights": weights, "images": dict(images), "given": dict(given), "made by": code}


def files_of(source: Source, splits: Iterable[str]) -> dict[str, str]:
    """Give the fingerprint of the files of each split; empty for a source whose files do not change.

    Folders of images can be edited, so their sources have a ``fingerprint``. The published sets are archives that are
    read unchanged, and generated images have no files.
    """
    fingerprint = getattr(source, "fingerprint", None)
    return {split: fingerprint(split) for split in dict.fromkeys(splits)} if fingerprint is not None else {}


def key_of(description: Mapping[str, Any]) -> str:
    """Give 32 hex digits that stand for a description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def _version() -> str:
    try:
        return version("kdbias")
    except PackageNotFoundError:
        return "unknown"
