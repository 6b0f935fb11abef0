"""The documentation names only what is there, and its commands compose and pass the check."""

import re
import shlex
from itertools import product
from pathlib import Path

import pytest
import torch
from config_base import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from kdbias.analysis import tasks
from kdbias.checks.check import check

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
README = PAGES[0].read_text()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`((?:kdbias|conf|tests|docs|benchmarks)/[\w./-]+)`")
COMMAND = re.compile(r"python (train|analyze)\.py (.+)")
UNCHECKED = {"experiment", "seed", "epochs", "trainer", "resume"}  # every experiment has a test of its own
EXAMPLES = re.compile(r"(add-a-.*|run-a-study)\.md$")  # a how-to names the files that its reader will write


def commands() -> list[tuple[str, str]]:
    """Every ``python train.py`` and ``python analyze.py`` in a block of the README: program and arguments."""
    lines = [line for block in BLOCK.findall(README) for line in block.splitlines()]
    return [found.groups() for line in lines if (found := COMMAND.search(line))]


def jobs(arguments: str) -> list[list[str]]:
    """The overrides of a command, or of the first and the last job of a sweep."""
    words = shlex.split(arguments, comments=True)
    overrides = [word for word in words if not word.startswith(("-", "hydra."))]
    if "-m" not in words:
        return [overrides]
    pairs = [tuple(override.split("=")) for override in overrides]
    for name in [values for key, values in pairs if key == "+sweep"]:
        swept = OmegaConf.load(ROOT / "conf" / "sweep" / f"{name}.yaml").hydra.sweeper.params
        pairs += [(str(key), str(values)) for key, values in swept.items()]
    every = [list(job) for job in product(*(values_of(f"{key}={values}") for key, values in pairs))]
    return [every[0], every[-1]]


def values_of(override: str) -> list[str]:
    """One override for each value that is swept."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def test_commands_are_found():
    found = [f"{program} {arguments}" for program, arguments in commands()]
    assert any(text.startswith("train experiment=exp1_resnet_kl") for text in found)
    assert any(text.startswith("train -m ") for text in found)
    assert any(text.startswith("analyze task=probe") for text in found)


@pytest.mark.parametrize(("program", "arguments"), commands())
def test_a_command_of_the_readme_composes_and_passes_the_check(program, arguments, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # some commands are for a machine with GPUs
    for overrides in jobs(arguments):
        cfg = composed(overrides, program)
        if program == "analyze":
            assert cfg.task in tasks.TASKS
        elif {override.split("=")[0] for override in overrides} - UNCHECKED:
            assert [problem for problem in check(cfg) if "there is no file" not in problem] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = [link.split("#")[0] for link in LINK.findall(BLOCK.sub("", page.read_text())) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [p for p in PAGES if not EXAMPLES.search(p.name)], ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page):
    assert [path for path in NAMED.findall(page.read_text()) if not (ROOT / path).exists()] == []


def test_the_map_names_only_what_is_there():
    (block,) = [block for block in BLOCK.findall(README) if block.startswith("train.py, ")]
    paths = [path.strip() for line in block.splitlines() for path in re.split(r" {2,}", line)[0].split(",")]
    assert {"conf/", "kdbias/train.py", "kdbias/models/", "tests/"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_has_every_option_that_it_names():
    """The experiments of its table, and ``group=option`` in running text."""
    cells = re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([\w/]+)`", cell)}
    home = ROOT / "conf" / "experiment"
    assert {"exp1_resnet_kl", "cnn_to_vit/lm"} <= named
    assert named == {path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml")}
    for group, option in re.findall(r"`(experiment|teacher|data|model|loss|optim|trainer)=(\w+)`", README):
        assert (ROOT / "conf" / group / f"{option}.yaml").exists(), f"{group}={option}"
    for task in re.findall(r"task=(\w+)", README):
        assert task in tasks.TASKS


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "study").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_list_of_studies_says_what_each_asks(path):
    page = (ROOT / "docs" / "studies" / "index.md").read_text()
    (section,) = [part for part in page.split("\n## ") if part.startswith(f"{path.stem}\n")]
    study = OmegaConf.load(path)
    said = " ".join(section.split())
    assert study.question in said
    assert all(f"`{group}`" in said for group in study.runs)
    assert f"seeds {', '.join(map(str, study.seeds))}" in said
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    within = {"equal": "within ±"}
    assert rows == [
        [f"`{name}`", one.says, f"`{one.measure}`", f"{within.get(one.direction, '')}{one.smallest}", str(one.seeds)]
        for name, one in study.hypotheses.items()
    ]
    first = path.read_text().splitlines()[0].removeprefix("# ")
    assert first in said
    page = path.with_suffix(".html").name
    assert f"`{page}`" in said
    assert (ROOT / "docs" / "studies" / page).exists() == (f"({page})" in said)  # linked once it is there
