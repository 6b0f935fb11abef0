"""What `make docs` adds to docs/: README and changelog, the API reference, the list of howtos; and links that work."""

from __future__ import annotations

import re
import tomllib
import zlib
from pathlib import Path
from typing import Any

from dialect import links, lists
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import pages, rooms, shown

ROOT = Path(__file__).resolve().parents[2]
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}

log = get_plugin_logger("docs/site")


def on_config(config: MkDocsConfig) -> None:
    """Take the address of the repository from pyproject.toml; without one, links to source files are plain text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.repo_url = project.get("urls", {}).get("Repository")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, and put the pages of a folder where the nav names the folder."""
    texts = {place: (ROOT / name).read_text(encoding="utf-8") for name, place in FROM_ROOT.items()}
    texts |= pages(ROOT)
    texts["howto/index.md"] = howtos(Path(config.docs_dir) / "howto")
    for place, text in texts.items():
        files.append(File.generated(config, place, content=text))
    config.nav = opened(config.nav or [], [file.src_uri for file in files.documentation_pages()])
    return files


def howtos(folder: Path) -> str:
    """Give the page that lists the howtos: title and first sentence of each."""
    rows = []
    for path in sorted(folder.glob("*.md")):
        title, first = path.read_text(encoding="utf-8").removeprefix("# ").split("\n\n")[:2]
        sentence = re.split(r"[.:](?: |$)", " ".join(first.split()))[0]
        rows.append(f"* [{title.strip()}]({path.name}): {sentence}.")
    return "\n".join(["# Howtos", "", *rows, ""])


def opened(nav: list[Any], places: list[str]) -> list[Any]:
    """Put the pages of a folder, ``index.md`` first, for a name in ``nav`` that ends in /; nothing for no pages."""
    result = []
    for entry in nav:
        for title, place in entry.items() if isinstance(entry, dict) else []:
            if isinstance(place, str) and place.endswith("/"):
                inside = [p.removesuffix(".md") for p in places if p.startswith(place)]
                inside = [f"{p}.md" for p in sorted(inside, key=lambda p: (p != f"{place}index", p))]
                entry = {title: inside} if inside else None
        result += [entry] if entry else []
    return result


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Read GitHub's lists, and point links at the site. A page alone in its tab needs no column of pages beside it."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    places = {f"docs/{file.src_uri}": file.src_uri for file in files if file.inclusion.is_included()}
    places |= FROM_ROOT
    indexes = [(path, place) for path, place in places.items() if path.endswith("/index.md")]
    places |= {path.removesuffix("/index.md"): place for path, place in indexes}
    source = {place: name for name, place in FROM_ROOT.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return lists(links(markdown, source, places, ROOT, config.repo_url))


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of public names that the site has not, which ``--strict`` takes for an error."""
    there = _inventory(Path(config.site_dir) / "objects.inv")
    wanted = {f"{module}.{name}" for module, names in shown(rooms(ROOT)).items() for name in names}
    for name in sorted(wanted - there):
        log.warning("%s is public and not on the site", name)


def _inventory(path: Path) -> set[str]:
    """Give the names in an inventory of Sphinx's format: four lines, then the rest compressed."""
    body = path.read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(body).decode().splitlines()}
