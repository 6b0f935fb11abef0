"""The pages of the API reference, made from the sources: no list of names is kept by hand, and nothing is imported."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

INSIDE = ("analysis", "api", "checks", "cli", "files", "finish", "interrupted", "runs", "train")
"""Rooms behind the commands and behind the names of `kdbias`: nothing in them is for import."""

INTRO = """# API reference

What can be imported, by room. Settings in `conf/` name the same classes and functions by `_target_`.

| room | what it has |
| --- | --- |
"""

Rooms = dict[str, list["Module"]]


@dataclass(frozen=True)
class Module:
    """What a source file says of itself.

    Attributes:
        name: its dotted name.
        summary: the first line of its docstring, or "".
        exported: the names of its ``__all__``, and the dotted name where each is defined.
        defined: the public names with a docstring that it defines.
    """

    name: str
    summary: str
    exported: dict[str, str]
    defined: list[str]


def module(path: Path, root: Path) -> Module:
    """Read one source file of the package, whose folder lies in ``root``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    homes = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    exported = {public: homes.get(public, f"{name}.{public}") for public in _all(tree)}
    return Module(name, (ast.get_docstring(tree) or "").split("\n")[0], exported, _defined(tree))


def _all(tree: ast.Module) -> list[str]:
    """Give the names in ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def _defined(tree: ast.Module) -> list[str]:
    """Give the public functions, classes and constants with a docstring."""
    names = []
    for node, after in pairwise([*tree.body, ast.Pass()]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_text(after):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names += [target.id] if isinstance(target, ast.Name) else []
    return [name for name in names if not name.startswith("_")]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def rooms(root: Path) -> Rooms:
    """Give the modules of the package itself and of each public room, by the room's dotted name."""
    package = root / "kdbias"
    found = {"kdbias": [module(package / "__init__.py", root)]}
    for path in sorted(package.iterdir()):
        if path.stem in INSIDE or path.name.startswith("_"):
            continue
        if path.suffix == ".py":
            found[f"kdbias.{path.stem}"] = [module(path, root)]
        elif (path / "__init__.py").exists():
            found[f"kdbias.{path.name}"] = [module(file, root) for file in sorted(path.rglob("*.py"))]
    return found


def shown(found: Rooms) -> dict[str, list[str]]:
    """Give the names that the section of each module shows: each name once, where a reader imports it from.

    A name of an ``__all__`` stands there, the nearest to the top first, and not where it is defined.
    """
    modules = [one for room in found.values() for one in room]
    public: dict[str, str] = {}
    for one in modules:
        for name, home in one.exported.items():
            public.setdefault(home, f"{one.name}.{name}")
    return {
        one.name: [
            name
            for name, home in {**one.exported, **{n: f"{one.name}.{n}" for n in one.defined}}.items()
            if home not in found and public.get(home, f"{one.name}.{name}") == f"{one.name}.{name}"
        ]
        for one in modules
    }


def pages(root: Path) -> dict[str, str]:
    """Give the Markdown of each page of the reference by its place in docs/, such as ``reference/kdbias.stats.md``."""
    found = rooms(root)
    names = shown(found)
    about = _map((root / "README.md").read_text(encoding="utf-8"))
    texts, rows = {}, []
    for room, modules in found.items():
        texts[f"reference/{room}.md"] = _page(room, modules, names, about.get(room, ""))
        rows.append(f"| [`{room}`]({room}.md) | {about.get(room) or modules[0].summary} |\n")
    texts["reference/index.md"] = INTRO + "".join(rows)
    return texts


def _map(readme: str) -> dict[str, str]:
    """Give what the map of the README says of each room."""
    lines = re.findall(r"^kdbias/(\w+)(?:/|\.py) +(\S.*)$", readme, re.MULTILINE)
    return {f"kdbias.{room}": f"{text[:1].upper()}{text[1:]}" for room, text in lines}


def _page(room: str, modules: list[Module], names: dict[str, list[str]], about: str) -> str:
    head, *rest = modules
    parts = [f"# {room}", f"{about}." if about and not head.summary else ""]
    parts.append(_directive(head.name, names[head.name], heading=False))
    for one in rest:
        if names[one.name]:
            parts.append(_directive(one.name, names[one.name], heading=True))
    return "\n\n".join(part for part in parts if part) + "\n"


def _directive(name: str, members: list[str], *, heading: bool) -> str:
    options = ["heading_level: 2", f"members: [{', '.join(members)}]"]
    options += ["show_root_full_path: true"] if heading else ["show_root_heading: false", "show_root_toc_entry: false"]
    return "\n".join([f"::: {name}", "    options:", *[f"      {option}" for option in options]])
