"""A saved config is data: plain values are read, within bounds, and nothing that YAML or OmegaConf could do beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

LARGEST = 1_000_000  # bytes; a config of this package has about 10,000
DEEPEST = 30  # nested mappings and lists


def read_saved(path: Path) -> dict[str, Any]:
    """Give the mapping in a YAML file: str, int, float, bool, None, list and dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is larger than ``LARGEST`` or nested deeper than ``DEEPEST``, is cut short, holds no mapping, or
            has aliases (a few of them make gigabytes out of bytes), tags, or an interpolation ``${...}`` (which could
            read the environment).
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} is no saved config: it has {size:,} bytes, and at most {LARGEST:,} are read")
    try:
        text = path.read_text(encoding="utf-8")
        _require_plain(path, text)
        content: Any = OmegaConf.to_container(OmegaConf.create(text))
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is cut short or damaged ({reason}): restore it, or begin the run anew") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} is no saved config: it must hold a mapping")
    return {str(key): value for key, value in content.items()}


def _require_plain(path: Path, text: str) -> None:
    """Refuse what is more than values, event by event, before anything of it is made."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError(f"{path} is no saved config: it has aliases")
        if depth == 0 and isinstance(event, yaml.ScalarEvent):
            raise ValueError(f"{path} is no saved config: it must hold a mapping")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ValueError(f"{path} is no saved config: {event.value[:60]!r} is an interpolation")
        if getattr(event, "tag", None):
            raise ValueError(f"{path} is no saved config: it has the tag {event.tag}")
        if depth > DEEPEST:
            raise ValueError(f"{path} is no saved config: it is nested deeper than {DEEPEST}")
