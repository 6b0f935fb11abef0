"""Renamed keys: saved files may have the old names, hashes use them, and a command line with one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbias.config.errors import ConfigError

RENAMED = {
    "pictures": "images",
    "probe_pictures": "probe_images",
    "conflict_pictures": "conflict_images",
    "attention_pictures": "attention_images",
}
"""The last part of a key: its old name and its new name."""
_BEFORE = {now: once for once, now in RENAMED.items()}


def now_named(tree: Any) -> Any:
    """Give a saved config, plain types, with the new names, both in its keys and in the overrides that composed it.

    >>> now_named({"probe_pictures": 8, "chosen": {"overrides": ["callback.knn.pictures=4"]}})
    {'probe_images': 8, 'chosen': {'overrides': ['callback.knn.images=4']}}
    """
    if isinstance(tree, dict):
        found = {RENAMED.get(key, key): now_named(value) for key, value in tree.items()}
        chosen = found.get("chosen")
        if isinstance(chosen, dict) and isinstance(chosen.get("overrides"), list):
            chosen["overrides"] = [_override(each) if isinstance(each, str) else each for each in chosen["overrides"]]
        return found
    return [now_named(item) for item in tree] if isinstance(tree, list) else tree


def once_named(tree: Any) -> Any:
    """Give a plain tree with the old names. Specs are hashed by them, so that a renamed key does not make a new run."""
    if isinstance(tree, dict):
        return {_BEFORE.get(key, key): once_named(value) for key, value in tree.items()}
    return [once_named(item) for item in tree] if isinstance(tree, list) else tree


def refuse_old_names(arguments: Sequence[str]) -> None:
    """Pass a command line whose overrides have the new names.

    Raises:
        ConfigError: an override has an old name; the message gives the new one.
    """
    old = [each for each in arguments if "=" in each and _override(each) != each]
    if old:
        lines = [f"{each.partition('=')[0]}: is called {_override(each).partition('=')[0]} now" for each in old]
        raise ConfigError("\n  ".join(["the command has a key of before:", *lines]))


def _override(text: str) -> str:
    key, equals, value = text.partition("=")
    front, dot, last = key.rpartition(".")
    bare = last.lstrip("+~")
    signs = last[: len(last) - len(bare)]
    return f"{front}{dot}{signs}{RENAMED.get(bare, bare)}{equals}{value}"
