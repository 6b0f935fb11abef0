"""Read a saved config as data: only plain values within bounds, no other feature of YAML or OmegaConf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdbias.config.conf import conf_dir, is_option
from kdbias.config.errors import ConfigError

# The largest config of this package has 7,600 bytes, 750 events and texts of 60 characters; these are 13 times more.
LARGEST = 256_000  # bytes
MOST = 10_000  # events of YAML: texts, and the beginning and the end of lists and mappings; half a second
LONGEST = 4_000  # characters of one text; Python reads integers of at most 4,300 digits
DEEPEST = 30  # nested mappings and lists


def read_saved(path: Path) -> dict[str, Any]:
    """Give the mapping in a YAML file: str, int, float, bool, None, list and dict.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is larger than ``LARGEST``, has more than ``MOST`` entries or a text longer than ``LONGEST``, is
            nested deeper than ``DEEPEST``, is cut short, holds no mapping, or has aliases (a few of them make
            gigabytes out of bytes), tags, or an interpolation ``${...}`` (which could read the environment).
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    size = path.stat().st_size
    if size > LARGEST:
        raise ConfigError(f"{path} is no saved config: it has {size:,} bytes, and at most {LARGEST:,} are read")
    try:
        text = path.read_text(encoding="utf-8")
        _require_plain(path, text)
        content: Any = OmegaConf.to_container(OmegaConf.create(text))
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, OmegaConfBaseException) as error:  # numbers that Python refuses
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is cut short or damaged ({reason}): restore it, or begin the run anew") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path} is no saved config: it must hold a mapping")
    return {str(key): value for key, value in content.items()}


def _require_plain(path: Path, text: str) -> None:
    """Refuse anything but plain values, event by event, before any object is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if count > MOST:
            raise ConfigError(f"{path} is no saved config: it has more than {MOST:,} entries")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
            raise ConfigError(f"{path} is no saved config: a text in it is longer than {LONGEST:,} characters")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(f"{path} is no saved config: it has aliases")
        if depth == 0 and isinstance(event, yaml.ScalarEvent):
            raise ConfigError(f"{path} is no saved config: it must hold a mapping")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ConfigError(f"{path} is no saved config: {event.value[:60]!r} is an interpolation")
        if getattr(event, "tag", None):
            raise ConfigError(f"{path} is no saved config: it has the tag {event.tag}")
        if depth > DEEPEST:
            raise ConfigError(f"{path} is no saved config: it is nested deeper than {DEEPEST}")


def require_known_choices(tree: Mapping[str, Any], path: Path) -> None:
    """Pass a saved config whose option names are plain names: the config that trains a teacher is composed from them.

    Raises:
        ConfigError: an option name is a path, which could lead to somebody else's yaml; or an override sets a key of
            Hydra; or the choices are no mapping.
    """
    if not isinstance(tree.get("chosen", {}), Mapping):
        raise ConfigError(f"{path} is no saved config: chosen is no mapping")
    chosen, teacher, control = (_mapping(tree, key) for key in ("chosen", "teacher", "control"))
    named = {f"chosen.{key}": chosen.get(key) for key in ("data", "trainer")}
    named |= {f"teacher.{key}": teacher.get(key) for key in ("name", "recipe")}
    named |= {f"control.{key}": control.get(key) for key in ("vit", "cnn")}
    named |= {f"control.graded.{key}": key for key in _mapping(control, "graded")}
    for key, value in named.items():
        if value is not None and not is_option(value):
            raise ConfigError(f"{path} is no saved config: {key} is {value!r}, which names no option")
    overrides = chosen.get("overrides") or []
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise ConfigError(f"{path} is no saved config: chosen.overrides is no list of texts")
    for word in overrides:
        _require_own(word, path)


def _require_own(word: str, path: Path) -> None:
    """Pass an override that sets no key of Hydra and chooses options by their names."""
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise ConfigError(f"{path} is no saved config: {word!r} is no override") from error
    group = str(parsed.key_or_group)
    if group.split(".")[0].split("/")[0] == "hydra" or "@" in word.split("=")[0]:
        raise ConfigError(f"{path} is no saved config: {word!r} sets something of Hydra's")
    if Path(conf_dir(), group).is_dir() and ".." not in group:
        value: Any = parsed.value()
        values = value if isinstance(value, list) else [value]
        if not all(one is None or is_option(one) for one in values):
            raise ConfigError(f"{path} is no saved config: {word!r} names no option of {group}")


def _mapping(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    node = tree.get(key)
    return node if isinstance(node, Mapping) else {}
