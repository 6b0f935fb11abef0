"""Overrides as Hydra's own grammar reads them: the key of an override, and the split of several in one text."""

from __future__ import annotations

import re
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


@cache
def key_of(override: str) -> str | None:
    """Give the key or group of an override, without signs and package; None if the text is no override.

    >>> key_of("+teacher.data={a: [1, 2]}"), key_of("~loss"), key_of("teacher@other=none"), key_of("text='unclosed")
    ('teacher.data', 'loss', 'teacher', None)
    """
    try:
        return OverridesParser.create().parse_override(override).key_or_group or None
    except HydraException:
        return None


def sets(override: str, *keys: str) -> bool:
    """Whether an override changes one of these keys, or a key below one."""
    found = key_of(override)
    return found is not None and any(found == one or found.startswith((f"{one}.", f"{one}/")) for one in keys)


def separate(joined: str) -> list[str]:
    """Split overrides that commas join; a comma in quotes, in brackets or after a backslash is part of a value.

    Text that cannot be read stays one piece, so that the pieces joined by commas are always ``joined``.

    >>> separate("loss=[ce,kl],text='a,b=c',~teacher")
    ['loss=[ce,kl]', "text='a,b=c'", '~teacher']
    """
    pieces: list[str] = []
    parts: list[str] = []
    for part in joined.split(","):
        parts.append(part)
        piece = ",".join(parts)
        if not _escapes(piece) and key_of(piece) is not None:
            pieces.append(piece)
            parts = []
    return pieces + [",".join(parts)] * bool(parts and joined)


def _escapes(piece: str) -> bool:
    """Whether the comma after a piece is escaped: an odd number of backslashes ends it."""
    return len(re.findall(r"\\*$", piece)[0]) % 2 == 1
