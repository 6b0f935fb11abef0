"""The words of a command that make a study of its yaml: where the two differ, in Hydra's grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra import compose

from kdbias.config.quotes import quoted
from kdbias.config.spec import Tree, plain

BARE = re.compile(r"[A-Za-z_][\w./-]*")
WORDS = ("null", "true", "false", "inf", "nan")  # which Hydra reads as values, in any case


def shipped(name: str, *words: str) -> Tree:
    """Give a study as its yaml and these words make it; inside Hydra's initialisation."""
    found: Tree = plain(compose("analyze", [f"study={name}", *words]).study)
    return found


def changes(before: Tree, after: Tree, key: str = "study") -> Iterator[str]:
    """Give the words that make ``after`` of ``before``.

    >>> three = {"seeds": [0, 1], "lanes": None, "runs": {"a": 1, "b": 2}}
    >>> list(changes(three, {"seeds": [0], "lanes": 2, "runs": {"a": 1}}))
    ['study.seeds=[0]', 'study.lanes=2', '~study.runs.b']
    >>> list(changes({"common": []}, {"common": ["epochs=2"], "probes": {"cka": {}}}))
    ["study.common=['epochs=2']", '+study.probes={cka:{}}']
    """
    for name in [*before, *(name for name in after if name not in before)]:
        place = f"{key}.{name}"
        if name not in after:
            yield f"~{place}"
        elif name not in before:
            yield f"+{place}={written(after[name])}"
        elif isinstance(before[name], Mapping) and isinstance(after[name], Mapping):
            yield from changes(before[name], after[name], place)
        elif before[name] != after[name]:
            yield f"{place}={written(after[name])}"


def written(value: Any) -> str:
    """Write a plain value in Hydra's grammar.

    >>> print(written({"of": ["a", "b - c"], "sd": 0.5, "all": None}))
    {of:[a,'b - c'],sd:0.5,all:null}
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return value if BARE.fullmatch(value) and value.lower() not in WORDS else quoted(value)
    return json.dumps(value)
