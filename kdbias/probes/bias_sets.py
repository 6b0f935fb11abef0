"""The stress sets of ``probe=bias``: names become sets with strengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain
from kdbias.stress.chain import Chain
from kdbias.stress.corruption import SEVERITIES, Corruption
from kdbias.stress.describe import describe, made_by
from kdbias.stress.grey import Grey
from kdbias.stress.noise import Noise
from kdbias.stress.own_images import OwnImages
from kdbias.stress.rotate import Rotate
from kdbias.stress.scramble import Scramble
from kdbias.stress.smooth import Smooth
from kdbias.stress.stress_set import StressSet

Entry = str | Mapping[str, Any]
"""A name, or ``{NAME: [strength, ...]}``, or ``{NAME: {setting: value, ...}}`` (``strengths`` may be one of these)."""
KEY = "probe.bias.stress"
SUPPRESSING = (Smooth, Scramble, Rotate, Grey, Noise, Chain)
"""The sets that take a cue away and nothing else into its place."""


@dataclass(frozen=True)
class Wanted:
    """One set to measure: its node and its strengths (None: those of its kind).

    ``shipped`` says that the node is that of ``conf/stress``, unchanged.
    """

    name: str
    node: Mapping[str, Any]
    strengths: tuple[float, ...] | None
    shipped: bool


@dataclass(frozen=True)
class Chosen:
    """A set with its strengths, ascending."""

    name: str
    stress: StressSet | OwnImages
    strengths: tuple[float, ...]

    @property
    def suppresses(self) -> bool:
        """Whether it takes a cue away and nothing else."""
        return isinstance(self.stress, SUPPRESSING)


def wanted(entries: Sequence[Entry]) -> list[Wanted]:
    """Resolve entries: names of sets, or of files in ``conf/stress`` that hold several, with what is set for each.

    Raises:
        ValueError: an entry names no set, a set is named twice, or a strength is not in (0, 1].
    """
    found = [one for entry in entries for one in _resolved(entry)]
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{KEY}: {twice[0]} is named twice: give the second a name and a _target_ of its own")
    return found


def _resolved(entry: Entry) -> Iterator[Wanted]:
    if isinstance(entry, str):
        yield from (Wanted(name, node, None, shipped=True) for name, node in _named(entry).items())
    elif isinstance(entry, Mapping):
        for name, given in entry.items():
            yield from _set(str(name), given)
    else:
        raise ValueError(f"{KEY}: an entry is a name, or {{NAME: [strength, ...]}}, got {entry!r}")


def _set(name: str, given: Any) -> Iterator[Wanted]:
    settings = dict(given) if isinstance(given, Mapping) else {"strengths": given}
    strengths = settings.pop("strengths", None)
    levels = None if strengths is None else checked_strengths(f"{KEY}.{name}", strengths)
    if "_target_" in settings:
        yield Wanted(name, settings, levels, shipped=False)
        return
    for own, node in _named(name).items():
        yield Wanted(own, {**node, **settings}, levels, shipped=not settings)


def checked_strengths(key: str, given: Any) -> tuple[float, ...]:
    """Give strengths ascending, each once.

    Raises:
        ValueError: there are none, or one is not a number in (0, 1].
    """
    numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not numbers or any(type(one) not in (int, float) or not 0 < one <= 1 for one in numbers):
        raise ValueError(f"{key}: strengths are numbers above 0, up to 1 (clean images come anyway), got {given!r}")
    return tuple(sorted({float(one) for one in numbers}))


def chosen(
    entries: Sequence[Entry], strengths: tuple[float, ...], size: int, channels: int
) -> tuple[list[Chosen], dict[str, str]]:
    """Build the sets for images of this kind; give them, and by name why others are left out.

    ``strengths`` are those of the sets that suppress a cue. A corruption has its five severities, any other set
    strength 1. A set as it ships is left out if it lacks a file or a package; one with settings of its own must build.

    Raises:
        ValueError: as ``wanted``, or a setting is wrong.
    """
    found: list[Chosen] = []
    left_out: dict[str, str] = {}
    for one in wanted(entries):
        try:
            stress: StressSet | OwnImages = build(one.node, group="stress")
        except (ValueError, ImportError) as error:
            if not one.shipped:
                raise ValueError(f"probe.bias.stress: {one.name}: {error}") from error
            left_out[one.name] = str(error)
            continue
        reason = stress.refuses(size, channels) if isinstance(stress, StressSet) else ""
        if reason:
            left_out[one.name] = reason
        else:
            found.append(Chosen(one.name, stress, one.strengths or _usual(stress, strengths)))
    return found, left_out


def made_of(one: Wanted) -> dict[str, str]:
    """Give what besides its node decides the images of a set: code and packages, or files; or why it cannot be built.

    So a Result without a set is another one than that with the set, once what lacks is there.
    """
    try:
        stress: StressSet | OwnImages = build(one.node, group="stress")
        if isinstance(stress, OwnImages):
            fingerprint = getattr(stress, "fingerprint", None)  # as of a data set whose files may change
            return {} if fingerprint is None else {"files": fingerprint()}
        return made_by(describe(stress))
    except (ValueError, TypeError, ImportError, OSError) as error:
        return {"lacks": str(error)}


def _usual(stress: StressSet | OwnImages, strengths: tuple[float, ...]) -> tuple[float, ...]:
    if isinstance(stress, Corruption):
        return tuple((severity + 1) / SEVERITIES for severity in range(SEVERITIES))
    return strengths if isinstance(stress, SUPPRESSING) else (1.0,)


def _named(name: str) -> dict[str, dict[str, Any]]:
    """The sets in the file ``name`` of ``conf/stress``, or the one set of that name."""
    files = _shipped()
    if name in files:
        return files[name]
    every = {own: node for sets in files.values() for own, node in sets.items()}
    if name in every:
        return {name: every[name]}
    known = sorted({*files, *every})
    near = get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"{KEY}: there is no set {name!r}: {meant}there are {', '.join(known)}")


@cache
def _shipped() -> dict[str, dict[str, dict[str, Any]]]:
    """The sets of each file in ``conf/stress``."""
    return {
        path.stem: plain(OmegaConf.load(path))  # type: ignore[arg-type]
        for path in sorted(Path(conf_dir(), "stress").glob("*.yaml"))
    }
