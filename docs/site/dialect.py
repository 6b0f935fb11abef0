"""From the Markdown of GitHub to that of the site: lists, and links that lead out of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

FENCE = re.compile(r" *(```|~~~)")
ITEM = re.compile(r"( *)([*+-]|\d+[.)])( +)\S")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def lists(text: str) -> str:
    """Indent what belongs to an item by four spaces a level, and put an empty line before a list.

    GitHub indents to the text of the item (two spaces after ``* ``, three after ``1. ``), and a list may follow its
    sentence at once. Python-Markdown takes neither.
    """
    columns: list[int] = []  # where the text of each open item begins
    shift, fenced, before = 0, False, ""
    lines = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        fence = FENCE.match(line)
        item = None if fenced else ITEM.match(line)
        if line.strip() and not fenced:
            inside = bool(columns)
            while columns and indent < columns[-1] and (item or fence or not before.strip()):
                columns.pop()
            shift = 4 * len(columns) - (indent if item else columns[-1] if columns else 0)
            if item:
                if before.strip() and not inside and item[2] in "*+-1.1)":
                    lines.append("")
                columns.append(len(item[0]) - 1)
        fenced ^= bool(fence)
        lines.append(" " * max(indent + shift, 0) + line.lstrip() if line.strip() else line)
        before = line
    return "\n".join(lines)


def links(text: str, page: str, places: Mapping[str, str], root: Path, repository: str | None = None) -> str:
    """Point the links of ``page``, a path in the repository, at the site.

    ``places`` has the paths on the site of paths in the repository. Another file below ``root``, such as a source
    file, becomes a link into the ``repository``, or plain text where none is known. Code stays as it is, and so does
    a link that leads nowhere, for mkdocs to complain about.
    """
    code = [found.span() for found in CODE.finditer(text)]
    here = posixpath.dirname(places[page])

    def moved(found: re.Match[str]) -> str:
        image, label, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target or not path or any(start <= found.start() < end for start, end in code):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        if path in places:
            return f"{image}[{label}]({posixpath.relpath(places[path], here or '.')}{hash_}{anchor})"
        if not (root / path).exists():
            return found[0]
        return f"[{label}]({repository}/blob/main/{path}{hash_}{anchor})" if repository else label

    return LINK.sub(moved, text)
