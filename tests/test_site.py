"""The site of the documentation: every public name has a place, and Markdown as GitHub reads it arrives there."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import dialect  # noqa: E402
import reference  # noqa: E402

ROOMS = reference.rooms(ROOT)
PAGES = reference.pages(ROOT)
SECTION = re.compile(r"^::: (\S+)\n    options:\n      heading_level: 2\n      members: \[(.*)\]", re.MULTILINE)
SHOWN = [
    f"{module}.{name}"
    for text in PAGES.values()
    for module, names in SECTION.findall(text)
    for name in names.split(", ")
]
PUBLIC = [one for modules in ROOMS.values() for one in modules if one.exported]
TARGET = re.compile(r"_target_: (kdbias\.[\w.]+)")


def test_every_room_has_a_page_or_is_inside():
    found = {
        path.stem for path in (ROOT / "kdbias").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    pages = {name.removeprefix("reference/").removesuffix(".md") for name in PAGES} - {"index"}
    assert pages == {"kdbias"} | {f"kdbias.{room}" for room in found - {"__init__"} - set(reference.INSIDE)}
    assert set(reference.INSIDE) <= found


def test_no_name_has_two_places():
    assert {"kdbias.distil", "kdbias.functional.dkd", "kdbias.losses.cskd.CSKD"} <= set(SHOWN)
    assert sorted({name for name in SHOWN if SHOWN.count(name) > 1}) == []
    assert "kdbias.functional.logits.decoupled.dkd" not in SHOWN


@pytest.mark.parametrize("one", PUBLIC, ids=lambda one: one.name)
def test_what_all_names_is_on_the_site(one):
    names = importlib.import_module(one.name).__all__
    assert names == list(one.exported)
    elsewhere = {*ROOMS, *(ROOMS["kdbias"][0].exported.values() if one.name != "kdbias" else ())}
    own = {f"{one.name}.{name}" for name, home in one.exported.items() if home not in elsewhere}
    assert own - set(SHOWN) == set()


@pytest.mark.parametrize("one", PUBLIC, ids=lambda one: one.name)
def test_what_all_names_has_a_docstring(one):
    """Read from the sources: a constant's stands below it, where Python keeps none."""
    for name, home in one.exported.items():
        if home in ROOMS:
            continue
        where, _, own = home.rpartition(".")
        path = ROOT / Path(*where.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert own in reference.module(source, ROOT).defined, f"{one.name}.{name}"


def test_what_a_yaml_names_is_on_the_site():
    yamls = [path.read_text() for path in (ROOT / "conf").rglob("*.yaml")]
    targets = {name for text in yamls for name in TARGET.findall(text)}
    assert "kdbias.losses.cskd.CSKD" in targets
    public = {name for name in targets if name.split(".")[1] not in reference.INSIDE}
    assert sorted(public - set(SHOWN)) == []


def test_the_nav_names_what_is_there():
    """Pages in docs/, pages that are made of others, and folders, of which one may come later."""
    made = {"index.md", "contributing.md", "changelog.md", "howto/", "reference/", "studies/"}
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text())
    entries = OmegaConf.to_container(OmegaConf.create(text))["nav"]
    places = [
        place
        for entry in entries
        for value in entry.values()
        for place in ([value] if isinstance(value, str) else value)
    ]
    assert [place for place in places if place not in made and not (ROOT / "docs" / place).is_file()] == []
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages - set(places) == {"log.md"}


@pytest.mark.parametrize(
    ("github", "site"),
    [
        ("Two:\n* a\n  b\n* c", "Two:\n\n* a\n    b\n* c"),
        ("1. a:\n\n   ```\n   x\n     y\n   ```\n2. b", "1. a:\n\n    ```\n    x\n      y\n    ```\n2. b"),
        ("* a\n  * b\n    c\n\nd", "* a\n    * b\n        c\n\nd"),
        ("* a\n\n  b\n\nc", "* a\n\n    b\n\nc"),
        ("```\n* a\n  b\n```", "```\n* a\n  b\n```"),
        ("a\n- b", "a\n\n- b"),
        ("in\n1987. A year", "in\n1987. A year"),
        ("10. a\n    b\n\n    c", "10. a\n    b\n\n    c"),
        ("| a |\n| - |\n\n    code", "| a |\n| - |\n\n    code"),
    ],
)
def test_lists(github, site):
    assert dialect.lists(github) == site


PLACES = {
    "README.md": "index.md",
    "docs/measures.md": "measures.md",
    "docs/howto/a.md": "howto/a.md",
    "docs/howto": "howto/index.md",
}


@pytest.mark.parametrize(
    ("page", "github", "site"),
    [
        ("README.md", "[m](docs/measures.md#x)", "[m](measures.md#x)"),
        ("README.md", "[m](docs/howto/)", "[m](howto/index.md)"),
        ("docs/howto/a.md", "[m](../measures.md), [`r`](../../README.md)", "[m](../measures.md), [`r`](../index.md)"),
        ("docs/howto/a.md", "[l](../../conf/loss/kl.yaml)", "l"),
        ("docs/measures.md", "[n](nowhere.md)", "[n](nowhere.md)"),
        ("docs/measures.md", "[h](#here), [w](https://a.b/c)", "[h](#here), [w](https://a.b/c)"),
        ("docs/measures.md", "`[m](x.md)`\n```\n[m](x.md)\n```", "`[m](x.md)`\n```\n[m](x.md)\n```"),
    ],
)
def test_links(page, github, site):
    assert dialect.links(github, page, PLACES, ROOT) == site


def test_a_link_to_a_source_file_leads_into_the_repository_where_its_address_is_known():
    found = dialect.links("[l](../conf/loss/kl.yaml#L3)", "docs/measures.md", PLACES, ROOT, "https://host/kdbias")
    assert found == "[l](https://host/kdbias/blob/main/conf/loss/kl.yaml#L3)"
