"""Malformed files of every kind that the package reads: each is refused by an error that is meant, or changes nothing.

A trial is lost if a reader raises something else (a traceback without a remedy), or accepts a file whose content it
should have told from a good one. What no reader can tell (another digit in a number, another letter in a name) is
counted apart, as "accepted, changed".
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from good_data import data_readers
from good_files import Reader, readers
from kills import same
from tally import Clock, Tally

REFUSED = (ValueError, FileNotFoundError)
"""What all readers document: ``ConfigError`` and ``WeightsError`` are ValueErrors."""
VALUES: list[Any] = [
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\u202e${a}", "\ud800", [], [1], {},
    {"a": []},
]  # fmt: skip
SUMMED = (".ckpt", ".npz")
"""Archives with checksums: no change of their content may be accepted."""


def malformed(folder: Path, clock: Clock, seed: int = 0, rounds: int = 1) -> list[Tally]:
    """Read every mutation of every kind of file."""
    draw = random.Random(seed)
    found = []
    for reader in [*readers(), *data_readers()]:
        tally = Tally(f"malformed: {reader.name}")
        began = time.monotonic()
        place = folder / "malformed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        path = reader.make(place)
        good, expected = path.read_bytes(), reader.read(path)
        for what, content in mutations(good, path.suffix, draw, reader.least * rounds):
            if clock.left() < 0:
                break
            _put(path, content)
            tally.count(what, *_tried(reader, path, expected, what))
        tally.seconds = time.monotonic() - began
        found.append(tally)
    return found


def _tried(reader: Reader, path: Path, expected: Any, what: str) -> tuple[str | None, str]:
    """Read a malformed file; give what is wrong, and how it ended."""
    try:
        with redirect_stdout(io.StringIO()):  # what a reader says of a damaged file
            got = reader.read(path)
    except REFUSED as error:
        lines = str(error).strip().splitlines()
        return (None if lines and len(lines[0]) > 5 else f"an error that says nothing: {error!r}"), "refused"
    except OSError as error:  # a folder in the place of a file
        return (None if error.filename else repr(error)), "the file cannot be opened"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:160]}", "traceback"
    if got is None or (isinstance(got, dict | list) and not got):
        return None, "taken as not there"
    if same(expected, got):
        return None, "accepted, the same content"
    if path.suffix in SUMMED:
        return "accepted with another content", "accepted, changed"
    return _unsound(got), "accepted, changed"


def _unsound(got: Any) -> str | None:
    """Say what is of the wrong type in what a reader gave; None if nothing is."""
    from kdbias.probes.base import Result
    from kdbias.runs.progress import Progress

    if isinstance(got, Result):
        plain = isinstance(got.name, str) and isinstance(got.meta, dict)
        plain = plain and all(type(value) is float for value in got.scalars.values())
        return None if plain else "accepted: a Result with another type of value"
    if isinstance(got, Progress):
        sound = type(got.done) is int and type(got.epochs) is int and isinstance(got.accuracy, float | int | None)
        return None if sound and type(got.accuracy) is not bool else f"accepted: {got}"
    return None


def mutations(good: bytes, suffix: str, draw: random.Random, least: int) -> Iterator[tuple[str, bytes | str]]:
    """Give malformed contents by what was done; a text says what stands in the place of the file."""
    yield from (("empty", b""), ("zeros", b"\0" * len(good)), ("noise", draw.randbytes(200)), ("folder", "folder"))
    yield from (("link to nothing", "link"), ("page", b"<html>not found</html>"), ("blanks", b" \n" * 9))
    yield from (("twice", good + good), ("text", "ä€😀\u202e".encode()), ("utf-16", "a: 1".encode("utf-16")))
    yield "mark", b"\xef\xbb\xbf" + good
    count = 11
    if suffix == ".json":
        for what, text in json_mutations(json.loads(good)):
            yield what, text.encode("utf-8", "surrogatepass")
            count += 1
    if suffix in (".yaml", ".csv"):
        for what, content in text_mutations(good.decode(), suffix, draw):
            yield what, content
            count += 1
    while count < least or count < 25:
        at, kind = draw.randrange(len(good)), draw.choice(["cut", "flip", "flip", "drop", "repeat", "swap"])
        end = min(len(good), at + draw.randrange(1, 64))
        if kind == "cut":
            yield f"cut at {at}", good[:at]
        elif kind == "flip":
            changed = bytearray(good)
            changed[at] ^= 1 << draw.randrange(8)
            yield f"bit of byte {at}", bytes(changed)
        elif kind == "drop":
            yield f"without {at} to {end}", good[:at] + good[end:]
        elif kind == "repeat":
            yield f"{at} to {end} twice", good[:end] + good[at:]
        else:
            yield f"{at} to {end} random", good[:at] + draw.randbytes(end - at) + good[end:]
        count += 1


def json_mutations(tree: Any) -> Iterator[tuple[str, str]]:
    """Put every strange value in every place (of each list its first), drop every key, and break the grammar."""
    for number, place in enumerate(_places(tree)):
        for value in (VALUES[number % len(VALUES) :] + VALUES[: number % len(VALUES)])[:3]:
            changed = copy.deepcopy(tree)
            node = changed
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
            yield f"{'.'.join(map(str, place))} = {str(value)[:20]!r}", json.dumps(changed)
        changed = copy.deepcopy(tree)
        node = changed
        for key in place[:-1]:
            node = node[key]
        del node[place[-1]]
        yield f"without {'.'.join(map(str, place))}", json.dumps(changed)
    text = json.dumps(tree)
    yield "keys twice", text[:-1] + ", " + text[1:]
    yield "deep", "[" * 100_000
    yield "deep in a key", '{"a":' * 5_000 + "1" + "}" * 5_000
    yield from (("a list", "[1]"), ("a number", "3"), ("null", "null"), ("a text", '"x"'), ("comma", text[:-1] + ",}"))


def text_mutations(good: str, suffix: str, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Change lines of a text: drop, double, indent, strange values."""
    lines = good.splitlines()
    for number in range(len(lines)):
        at = draw.randrange(len(lines))
        value = str(draw.choice(VALUES))[:400].encode("utf-8", "replace").decode()
        kept = [*lines]
        if number % 4 == 0:
            del kept[at]
        elif number % 4 == 1:
            kept.insert(at, kept[at])
        elif suffix == ".csv":
            cells = kept[at].split(",")
            cells[draw.randrange(len(cells))] = value
            kept[at] = ",".join(cells)
        else:
            kept[at] = f"{kept[at].split(':')[0]}: {value}"
        yield f"line {at} changed ({number % 4}, {value[:12]!r})", "\n".join(kept).encode()


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _put(path: Path, content: bytes | str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content == "link":
        os.symlink(path.parent / "nothing", path)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
