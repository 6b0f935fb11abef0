"""Paths as a person types them, in Hydra's grammar: what it cannot read, such as an umlaut, stands in quotes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdbias.config.conf import MANY, PATHS
from kdbias.config.overrides import key_of

NAMED = (*PATHS, "hydra.run.dir", "hydra.sweep.dir")
_KEYS = "|".join([*map(re.escape, NAMED), *MANY])
_OVERRIDE = re.compile(rf"(\+{{0,2}}(?:{_KEYS}))=(.*)", re.DOTALL)


def quoted(text: str) -> str:
    r"""Put a text in quotes as Hydra reads them.

    >>> print(quoted("it's"), quoted("C:\\"))
    'it\'s' 'C:\\'
    """
    slashed = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), text)
    return f"'{slashed}'"


def with_quotes(arguments: Sequence[str]) -> list[str]:
    """Put the paths of overrides in quotes where Hydra cannot read them without; all other words stay as they are.

    >>> with_quotes(["data.root=Meine Bilder/Kühe", "runs=[a,für b]", "data.root=data", "name=ü"])
    ["data.root='Meine Bilder/Kühe'", "runs=[a,'für b']", 'data.root=data', 'name=ü']
    """
    return [_with_quotes(word) for word in arguments]


def _with_quotes(word: str) -> str:
    found = _OVERRIDE.fullmatch(word)
    if found is None or key_of(word) is not None or re.search("['\"]", found[2]):
        return word
    key, value = found[1], found[2]
    several = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else None
    if several is None and value.startswith(("[", "{", "(")):
        return word
    if several is None:
        read = f"{key}={quoted(value)}"
    else:
        read = f"{key}=[{','.join(one if key_of(f'{key}={one}') is not None else quoted(one) for one in several)}]"
    return read if key_of(read) is not None else word
