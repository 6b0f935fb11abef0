"""What a study's yaml must say: every key has its kind, so that a mistake is named before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kdbias.analysis.claim_check import hypothesis_problems
from kdbias.checks.early import positive
from kdbias.checks.early_arguments import argument_problems
from kdbias.checks.words import options, word_problems
from kdbias.config.conf import conf_dir, is_folder_name
from kdbias.config.errors import ConfigError, Problem
from kdbias.config.overrides import key_of
from kdbias.config.quotes import with_quotes
from kdbias.config.spec import Tree
from kdbias.data.seeds import SEEDS, is_seed

KEYS = ("name", "question", "about", "seeds", "common", "overrides", "runs", "hypotheses", "images", "probes", "lanes")
COUNTS = {
    "lanes": "one for each core, at least two",
    "images": "all",
    "conflict_images": "all",
    "attention_images": "all",
}
"""Whole numbers of a study, and what null stands for."""
OWN = ("conflict_images", "attention_images")  # of single studies, which their runs and probes name
WEIGHTS = "_weights"  # the end of such a key that names a file, as cnn_weights
RUN = ("experiment", "overrides", "control")
DECIDED = ("experiment", "seed", "sweep", "resume", "study", "hydra")
"""What a study decides for each of its runs, so that no word of theirs may."""


def require_study(node: Any) -> None:
    """Pass a study without mistakes.

    Raises:
        ConfigError: it has some; the message gives each one line.
    """
    if not isinstance(node, Mapping):
        raise ConfigError("study: name one: study=demo; `python train.py --help study` says what each asks")
    lines = [str(problem) for problem in _problems(node)]
    if lines:
        raise ConfigError("\n  ".join(lines if len(lines) == 1 else ["the study has mistakes:", *lines]))


def require_own_name(node: Any, file: str | None = None) -> None:
    """Pass a study whose ``name`` is that of its yaml.

    A copied yaml that keeps the name of the first would write over the record and the page of that one.

    Args:
        node: The study.
        file: The option of ``study=NAME``; None takes that of the running program, if it has one.

    Raises:
        ConfigError: it has another name.
    """
    if file is None and HydraConfig.initialized():
        file = HydraConfig.get().runtime.choices.get("study")
    name = node.get("name") if isinstance(node, Mapping) else None
    stem = PurePosixPath(file).stem if file else None
    if is_folder_name(name) and stem not in (None, name):
        raise ConfigError(f"study.name: must be {stem}, as its yaml is called, got {name}: correct it there")


def _problems(node: Tree) -> Iterator[Problem]:
    weights = [key for key in map(str, node) if key.removesuffix(WEIGHTS) not in (key, "") and _read(node[key], node)]
    for key in sorted({*map(str, node)} - {*KEYS, *OWN, *weights}):
        yield Problem(f"study.{key}", f"nothing reads it: a study has {', '.join(KEYS)}, and may have NAME{WEIGHTS}")
    if not is_folder_name(node.get("name")):
        yield Problem("study.name", "must be the name of a folder, that of the yaml")
    for key in ("question", "about"):
        if not isinstance(node.get(key), str | None):
            yield Problem(f"study.{key}", f"must be a text, got {node[key]!r}")
    seeds = node.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(map(is_seed, seeds)) or len(set(seeds)) < len(seeds):
        yield Problem("study.seeds", f"must be a list of different seeds, each {SEEDS}, got {seeds!r}")
    for key in ("common", "overrides"):
        yield from _word_problems(f"study.{key}", node.get(key))
    for key in weights:
        if not isinstance(node[key], str):
            yield Problem(
                f"study.{key}", f"must be a file, got {node[key]!r}: leave it out to have the weights downloaded"
            )
    for key, null in COUNTS.items():
        if node.get(key) is not None and not positive(node[key]):
            yield Problem(
                f"study.{key}", f"must be a whole number of at least 1, or null for {null}, got {node[key]!r}"
            )
    yield from _probe_problems(node.get("probes"))
    runs = node.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        yield Problem("study.runs", "must name the runs: GROUP: {experiment: NAME, overrides: [...]}")
        return
    for group, one in runs.items():
        yield from _run_problems(f"study.runs.{group}", group, one, list(runs))
    claims = node.get("hypotheses")
    if not isinstance(claims, Mapping | None):
        yield Problem("study.hypotheses", f"must be NAME: {{says: ..., measure: ...}} for each, got {claims!r}")
        return
    for name, one in (claims or {}).items():
        yield from hypothesis_problems(f"study.hypotheses.{name}", one, list(runs), len(claims or {}))


def _read(file: Any, node: Tree) -> bool:
    """Whether a run of a study reads ``file``, which a setting of its own names; what is no text is refused later."""
    return not isinstance(file, str) or file in str([node.get(part) for part in ("common", "overrides", "runs")])


def _word_problems(key: str, words: Any) -> Iterator[Problem]:
    """Problems of a list of overrides, each a text as on a command line."""
    if not isinstance(words, list | None):
        yield Problem(key, f"must be a list of overrides, such as [epochs=12,data.train=1000], got {words!r}")
        return
    for place, word in enumerate(words or []):
        here = f"{key}[{place}]"
        if not isinstance(word, str):
            yield Problem(here, f"must be an override in one text, such as epochs=12, got {word!r}")
            continue
        (word,) = with_quotes([word])  # a path may have come from study.NAME_weights
        found = word_problems([word], "train")
        yield from (Problem(here, str(one)) for one in found)
        if not found and (key_of(word) or "").split(".")[0].split("/")[0] in DECIDED:
            yield Problem(here, f"{word}: a study decides this for each run, by study.runs and study.seeds")


def _run_problems(key: str, group: Any, one: Any, groups: list[Any]) -> Iterator[Problem]:
    if not isinstance(group, str) or not group.strip():
        yield Problem(key, f"the name of a group must be a text, got {group!r}: write it in quotes")
    if not isinstance(one, Mapping) or one.get("experiment") not in options("experiment"):
        named = one.get("experiment") if isinstance(one, Mapping) else one
        yield Problem(f"{key}.experiment", f"there is no experiment {named!r}: `python train.py --help` lists them")
        return
    if unknown := set(map(str, one)) - set(RUN):
        yield Problem(key, f"nothing reads {', '.join(sorted(unknown))}: a run has {', '.join(RUN)}")
    if one.get("control") not in (None, *groups):
        listed = ", ".join(map(str, groups))
        yield Problem(f"{key}.control", f"must be one of the runs, got {one['control']!r}: {listed}")
    yield from _word_problems(f"{key}.overrides", one.get("overrides"))


def _probe_problems(probes: Any) -> Iterator[Problem]:
    """Problems of the probes' settings, which stand in place of those in their yamls."""
    if not isinstance(probes, Mapping | None):
        yield Problem("study.probes", f"must be PROBE: {{setting: value}} for each, got {probes!r}")
        return
    for name, settings in (probes or {}).items():
        key = f"study.probes.{name}"
        if name not in options("probe"):
            yield Problem(key, f"there is no probe {name!r}: {', '.join(options('probe'))}")
            continue
        if not isinstance(settings, Mapping | None):
            yield Problem(key, f"must be settings of the probe, such as {{images: 500}}, or {{}}, got {settings!r}")
            continue
        own = _shipped(str(name))
        has = [str(one) for one in own if one != "_target_"]
        for one in sorted(map(str, (settings or {}).keys() - set(has))):
            near = get_close_matches(one, has, 1)
            meant = f"did you mean {near[0]}? " if near else ""
            yield Problem(f"{key}.{one}", f"there is no such setting: {meant}it has {', '.join(has)}")
        yield from argument_problems({**own, **(settings or {})}, key)


@cache
def _shipped(name: str) -> Mapping[str, Any]:
    """The settings of a probe in its yaml."""
    found: Any = OmegaConf.to_container(OmegaConf.load(Path(conf_dir(), "probe", f"{name}.yaml")), resolve=False)
    return dict(found[name])
