"""``python analyze.py task=forensics``: several runs side by side."""

from __future__ import annotations

from pathlib import Path

from kdbias.analysis.collect import gathered, save_figures
from kdbias.analysis.probe_configs import wanted
from kdbias.analysis.results import by_label, marked
from kdbias.checks.check import ConfigError
from kdbias.config.spec import Tree
from kdbias.files import write_text
from kdbias.report import forensics as report
from kdbias.report.table import show, upright

PROBES = ("attention", "cka", "hessian")


def forensics(tree: Tree) -> None:
    """Probe the runs, the control and the untrained network, draw them side by side and write the table.

    The Results go to ``out``. ``from_results`` draws and writes the same from there again.

    Raises:
        ConfigError: no probe measured any of the networks.
    """
    networks = gathered(tree, wanted(tree, PROBES))
    attention, cka, hessian = (by_label(networks, probe) for probe in PROBES)
    if not (attention or cka or hessian):
        raise ConfigError("runs: no probe measured any of them: see the reasons above")
    folder = Path(tree["out"])
    save_figures(report.figures(attention, cka, hessian, **marked({**attention, **cka, **hessian})), folder)
    table = report.table(attention, cka, hessian)
    write_text(folder / "forensics.md", table.markdown())
    write_text(folder / "forensics.csv", table.csv())
    show(upright(table))
    print(folder / "forensics.md")
