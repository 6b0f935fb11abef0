"""``--help``: the settings of a command with the comments of its yaml, the options of each group, and the tasks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill

from kdbias.config.conf import conf_dir
from kdbias.config.overrides import key_of

WIDTH = 100
SENTENCE_END = re.compile(r"(?<=[.?!])(?<! al\.)\s+(?=[A-Z0-9(])")
ASKS = ("--help", "-h")


def asked(arguments: Sequence[str]) -> bool:
    """Whether a command asks for help."""
    return any(word in ASKS for word in arguments)


def page(config: str, arguments: Sequence[str] = ()) -> str:
    """Give the help of ``conf/<config>.yaml``, or of the groups and options that the command names.

    ``--help model`` gives each option of the group with its meaning; ``--help model=deit_tiny`` gives the settings of
    ``deit_tiny`` with their comments.
    """
    lines = Path(conf_dir(), f"{config}.yaml").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("# ") for line in lines[: _first(lines, "defaults:")]]
    blocks = ["\n".join(head)]
    if config == "analyze":
        blocks.append("\n".join(["Tasks (task=NAME):", *_tasks()]))
    begin, end = _first(lines, "defaults:") + 1, _first(lines, "")
    blocks.append("\n".join(["Groups (GROUP=OPTION, or GROUP=[OPTION,...]):", *_groups(lines[begin:end])]))
    blocks.append("\n".join(["Settings (KEY=VALUE) and their defaults:", *_settings(lines[end + 1 :])]))
    blocks.append(
        f"`python {config}.py --help GROUP` says what each option is, `--help GROUP=OPTION` shows its settings.\n"
        "`--cfg job` prints the config that a command composes, `--hydra-help` the options of Hydra."
    )
    named = [word for word in arguments if not word.startswith("-")]
    groups = [_meanings(word) for word in named if ".." not in word and Path(conf_dir(), word).is_dir()]
    chosen = [_file(path) for word in named if (path := _option(word)) is not None]
    return "\n\n".join(groups + chosen or blocks)


def _first(lines: Sequence[str], wanted: str) -> int:
    return next(i for i, line in enumerate(lines) if line.strip() == wanted)


def _tasks() -> Iterator[str]:
    """Each task with the first sentence of its module, read without importing it."""
    home = Path(__file__).resolve().parents[1] / "analysis"
    for path in sorted(home.glob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name, colon, text = said.partition("\n")[0].partition(": ")
        if colon and f"task={path.stem}" in name:
            yield f"  {path.stem:<10} {text}"


def _groups(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        entry, _, comment = line.strip().removeprefix("- ").partition(" #")
        group, _, chosen = entry.partition(": ")
        home = Path(conf_dir(), group)
        if group == "_self_" or not home.is_dir():
            continue
        names = [name for name, _ in _options(group) if "/" not in name or group == "experiment"]
        yield _filled(f"{group}: {chosen}{'  #' + comment if comment else ''}", "  ")
        yield _filled(", ".join(names), "      ")


def _filled(text: str, indent: str, rest: str = "      ") -> str:
    """A text over several lines, broken at blanks alone, so that names stay whole."""
    return fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _settings(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[: _first(lines, "hydra:")]:
        entry, _, comment = line.partition(" #")
        if entry.strip():
            yield f"  {entry.strip():<28} #{comment}" if comment else f"  {entry.strip()}"


def _options(group: str) -> list[tuple[str, Path]]:
    """The options of a group and their files."""
    home = Path(conf_dir(), group)
    return sorted((path.relative_to(home).with_suffix("").as_posix(), path) for path in home.rglob("*.yaml"))


def _meanings(group: str) -> str:
    """Each option of a group with the first sentence of the comments of its file, or else with the command there."""
    options = [(name, _meaning(path.read_text(encoding="utf-8").splitlines())) for name, path in _options(group)]
    width = max((len(name) for name, _ in options), default=0)
    rest = " " * (width + 4)
    lines = [_filled(f"{name:<{width}}  {meaning}".rstrip(), "  ", rest) for name, meaning in options]
    return "\n".join([f"{group}=OPTION:", *lines])


def _meaning(lines: Sequence[str]) -> str:
    """The first sentence of the first comments in a row that are no commands, or else the first command."""
    blocks = [list(block) for of_comments, block in groupby(lines, lambda line: line.startswith("# ")) if of_comments]
    said = [[line.removeprefix("# ") for line in block if "@package" not in line] for block in blocks]
    meant = [[line for line in block if not line.startswith(("python ", "srun "))] for block in said]
    first = next(filter(None, meant), None) or next(filter(None, said), [""])[:1]
    return SENTENCE_END.split(" ".join(first), maxsplit=1)[0]


def _option(word: str) -> Path | None:
    name = word.partition("=")[2]
    path = Path(conf_dir(), key_of(word) or "", f"{name}.yaml") if name else None
    return path if path is not None and ".." not in path.parts and path.is_file() else None


def _file(path: Path) -> str:
    return f"{path.relative_to(conf_dir()).as_posix()}:\n{path.read_text(encoding='utf-8').rstrip()}"
