"""``python analyze.py task=demo``: from nothing to the page of a study, by default ``study=demo`` with one seed."""

from __future__ import annotations

from pathlib import Path

from kdbias.analysis import study as studies
from kdbias.analysis.report import report
from kdbias.analysis.study import Study
from kdbias.analysis.study_check import require_own_name, require_study
from kdbias.analysis.study_train import train
from kdbias.analysis.study_words import changes, shipped
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree

NAME, SEEDS = "demo", [0]  # without a study on the command line


def demo(tree: Tree) -> None:
    """Train what is missing of the study, measure it and write its page, whose path is printed last.

    With the same runs and the same page as ``train.py -m study=NAME`` and ``task=report study=NAME``. Where no study is
    named, and one of more seeds with these runs was started before, the page stays that one's, with all that is done.

    Raises:
        ConfigError: the study has mistakes.
        SystemExit: a run failed (status 1), or Ctrl-C was pressed (status 130).
    """
    named = tree.get("study")
    node = named or shipped(NAME, f"study.seeds={SEEDS}")
    require_study(node)
    require_own_name(node)
    root = Path(str(tree["paths"]["runs"])).absolute()
    found = studies.plan(node, [], root, list(changes(shipped(node["name"]), node)))
    larger = None if named else started(found)
    if larger is None:
        studies.save(found)
    else:
        seeds = ", ".join(map(str, larger.node["seeds"]))
        print(f"study {found.name} was started with seeds {seeds}: its page shows all that are done", flush=True)
    train(found, again="the same command")
    report({**tree, "study": node})


def started(found: Study) -> Study | None:
    """Give the study that was started in the same folder if all runs of ``found`` are among its own; else None."""
    try:
        before = studies.load(found.folder)
    except ConfigError:  # a damaged record is written anew
        return None
    own = {(one.group, one.run.folder, one.run.key) for one in found.runs}
    known = {(one.group, one.run.folder, one.run.key) for one in before.runs} if before is not None else set()
    return before if own < known else None
