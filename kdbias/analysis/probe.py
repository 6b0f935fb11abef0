"""``python analyze.py task=probe``: any probes on any networks, with their tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from matplotlib.figure import Figure

from kdbias.analysis.collect import gathered, save_figures
from kdbias.analysis.probe_configs import selected
from kdbias.analysis.results import Measured, by_label, marked, unique
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree
from kdbias.probes.base import Result
from kdbias.report.table import Column, Table, show


def probe(tree: Tree) -> None:
    """Run each selected probe on each network for which it is defined; save Results, draw figures, print scalars.

    Raises:
        ConfigError: a probe measured none of the networks; what the others measured is written before.
    """
    nodes = selected(tree)
    networks = gathered(tree, nodes)
    measured = list(dict.fromkeys(name for network in networks for name in network.results))
    for name in measured:
        show(scalar_table(name, networks))
        for line in reasons(name, networks):
            print(line)
        save_figures(draw(name, by_label(networks, name)), Path(tree["out"]))
    empty = [] if tree.get("from_results") is not None else [name for name in nodes if name not in measured]
    if empty:
        rest = f", or choose what is defined for them: probe=[{','.join(measured)}]" if measured else ""
        raise ConfigError(f"probe: {', '.join(empty)} measured none of the networks, for the reasons above{rest}")


def scalar_table(name: str, networks: Sequence[Measured]) -> Table:
    """Give the scalars of one probe: a row for each scalar, a column for each network."""
    labels = unique(networks)
    results = {labels[network.name]: network.results[name] for network in networks if name in network.results}
    keys = list(dict.fromkeys(key for result in results.values() for key in result.scalars))
    rows = [[key, *(result.scalars.get(key, "-") for result in results.values())] for key in keys]
    return Table(name, [Column("measure"), *(Column(label) for label in results)], rows)


def reasons(name: str, networks: Sequence[Measured]) -> list[str]:
    """Say why numbers of one probe are NaN or missing, and which parts were left out: a line for each reason."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for network in networks:
        meta = network.results[name].meta if name in network.results else {}
        for kind in ("reasons", "left_out"):
            for key, reason in meta.get(kind, {}).items():
                said.setdefault((network.name, kind, reason), []).append(key)
    what = {"reasons": "no number or no interval for", "left_out": "left out"}
    return [f"{name}, {label}: {what[kind]} {', '.join(keys)}: {why}" for (label, kind, why), keys in said.items()]


def draw(name: str, results: Mapping[str, Sequence[Result]]) -> dict[str, Figure]:
    """Give the figures of one probe by file name, as ``figures`` in ``kdbias.report.<probe>`` draws them.

    ``<probe>`` is the probe's own name, even if the config gives it another. The name may come from a file that
    somebody sent, so it leads only to the probes of this package. A probe without such a module has no figures.
    """
    given = {label: found[0] if len(found) == 1 else found for label, found in results.items()}
    if not given:
        return {}
    own = str(next(iter(results.values()))[0].meta.get("probe", name))
    module = f"kdbias.report.{own}"
    known = own.isidentifier() and Path(conf_dir(), "probe", f"{own}.yaml").is_file()
    function = getattr(import_module(module), "figures", None) if known and find_spec(module) is not None else None
    figures: dict[str, Figure] = function(given, **marked(given)) if function is not None else {}
    return {name + label.removeprefix(own): figure for label, figure in figures.items()}
