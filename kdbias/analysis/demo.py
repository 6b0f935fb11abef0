"""``python analyze.py task=demo``: from nothing to the page of a study, by default ``study=demo`` with one seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose

from kdbias.analysis import study as studies
from kdbias.analysis.report import report
from kdbias.analysis.study_train import train
from kdbias.config.spec import Tree, plain

SEEDS = [0]  # without a study on the command line


def demo(tree: Tree) -> None:
    """Train what is missing of the study, measure it and write its page, whose path is printed last.

    With the same runs and the same page as ``train.py -m study=NAME`` and ``task=report study=NAME``.

    Raises:
        ConfigError: the study has mistakes.
        SystemExit: a run failed (status 1), or Ctrl-C was pressed (status 130).
    """
    node = tree.get("study") or plain(compose("analyze", ["study=demo", f"study.seeds={SEEDS}"]).study)
    found = studies.plan(node, [], Path(str(tree["paths"]["runs"])).absolute(), list(named(node)))
    studies.save(found)
    train(found, again="the same command")
    report({**tree, "study": node})


def named(node: Tree) -> Iterator[str]:
    """Give the words beyond the study's name with which ``train.py`` trains the same runs."""

    def written(value: Any) -> str:
        return str(value).replace(" ", "")

    yield f"study.seeds={written(node.get('seeds'))}"
    if node.get("overrides"):
        yield f"study.overrides={written([str(word) for word in node['overrides']])}"
