"""Runs probes on networks: known Results come from the cache, the others from as few passes as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from kdbias.analysis import stress_configs
from kdbias.analysis.networks import Subject
from kdbias.analysis.passes import ImageBatches, Shown
from kdbias.analysis.probe_configs import Nodes
from kdbias.analysis.results import Measured, measured_of
from kdbias.checks.check import ConfigError
from kdbias.config.build import build, target
from kdbias.config.spec import Tree
from kdbias.models.features import Extractor
from kdbias.probes.base import Probe, Result, refused
from kdbias.probes.cache import Cache, describe, files_of, key_of
from kdbias.probes.observe import PassProbe, observe
from kdbias.probes.reasons import REASONS
from kdbias.stress.split import StressedSplit


def measure(tree: Tree, nodes: Nodes, found: Sequence[Subject], folder: Path) -> list[Measured]:
    """Run every probe on every network for which it is defined; each Result is saved under ``folder`` at once.

    Results in the cache are reused, and a network is not loaded if the cache has all of its Results. Probes that read
    only unchanged images share one pass. For each probe that is left out, a line states the reason.

    Raises:
        ConfigError: a probe refuses its settings, or fails on a network.
    """
    cache = Cache(Path(tree["paths"]["runs"]) / "cache") if tree.get("cache", True) else None
    done: list[Measured] = []
    with Shown(len(found) * len(nodes)) as shown:
        for subject in found:
            work = measured(tree, nodes, subject, cache, folder, shown)
            for line in work.left_out:
                shown.say(line)
            done.append(work.measured)
    return [one for one in done if one.results]


def measured(tree: Tree, nodes: Nodes, subject: Subject, cache: Cache | None, folder: Path, shown: Shown) -> Work:
    """Run every probe on one network; the Results, and the lines of what was left out, are in what it gives.

    Raises:
        ConfigError: a probe refuses its settings, or fails on the network.
    """
    work = Work(tree, subject, cache, folder)
    work.look_up(nodes)
    shown.step(subject.name, list(work.measured.results), "cached")
    for names in work.parts():
        work.run(names, shown)
        shown.step(subject.name, names)
    shown.skip(len(work.left_out))
    return work


@dataclass
class Work:
    """The probes of one network: those in the cache, those to be run, and those that are not defined for it."""

    tree: Tree
    subject: Subject
    cache: Cache | None
    folder: Path
    left_out: list[str] = field(default_factory=list)
    probes: dict[str, Probe] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured = measured_of(self.subject, self.tree["split"])
        self.network: Extractor | None = None

    def look_up(self, nodes: Nodes) -> None:
        """Take the Results that the cache has, and prepare the other probes."""
        for name, node in nodes.items():
            takes = signature(target(node, "probe")).parameters
            needs = "teacher" in takes and takes["teacher"].default is Parameter.empty and "teacher" not in node
            if needs and self.subject.teacher is None:
                self.left_out.append(f"{name}: {self.subject.name} is left out, {self.subject.lack}")
                continue
            self.about[name] = self._describe(node)
            known = self.cache.load(key_of(self.about[name]), name) if self.cache is not None else None
            if known is not None and known.refused:
                self._refuse(name, known.refused)
            elif known is not None:
                self._take(name, known)
            else:
                self._prepare(name, node)

    def parts(self) -> Iterator[list[str]]:
        """Give the probes to run, in groups that share a pass."""
        passes: dict[str, list[str]] = {}
        for name, probe in self.probes.items():
            if isinstance(probe, PassProbe):
                passes.setdefault(probe.precision, []).append(name)
        yield from passes.values()
        yield from ([name] for name, probe in self.probes.items() if not isinstance(probe, PassProbe))

    def run(self, names: Sequence[str], shown: Shown) -> None:
        """Measure the network by probes that share a pass."""
        network, probes = self._network(), {name: self.probes[name] for name in names}
        images = ImageBatches(self.tree, self.subject, network, shown, f"{self.subject.name}: {', '.join(names)}")
        try:
            shared = {name: probe for name, probe in probes.items() if isinstance(probe, PassProbe)}
            results = observe(network, images, shared)
            results |= {name: probe(network, images) for name, probe in probes.items() if name not in shared}
        except REASONS as error:
            raise ConfigError(f"probe.{'+'.join(names)}: on {self.subject.name}: {error}") from error
        for name, found in results.items():
            # the report finds the figures by the probe's own name, whatever the config calls it
            result = replace(found, name=name, meta=found.meta | {"probe": found.name})
            if not result.meta.get("failed"):  # a part that could not be made is tried again
                self._keep(name, result)
            self._take(name, result)

    def _prepare(self, name: str, node: dict[str, Any]) -> None:
        """Build a probe; if it is not defined for the network, keep that reason in the cache too."""
        try:
            probe = ready(node, self.subject, self.tree)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"probe.{name}: {error}") from error
        if reason := probe.refuses(self._network()):
            self._keep(name, refused(name, reason))
            self._refuse(name, reason)
        else:
            self.probes[name] = probe

    def _network(self) -> Extractor:
        if self.network is None:
            self.network = self.subject.load().reading(layers="all")
        return self.network

    def _describe(self, node: dict[str, Any]) -> dict[str, Any]:
        tree, subject, split = self.tree, self.subject, self.tree["split"]
        source = {key: value for key, value in subject.source.items() if key != "download"}
        images = {"data": source, "split": split, "images": tree["images"], "batch": tree["eval_batch_size"]}
        takes = signature(target(node, "probe")).parameters
        learns = "data" in takes and takes["data"].default is Parameter.empty  # a default: class names alone
        splits = (split, "train") if learns else (split,)
        if files := files_of(subject.data.source, splits):
            images["files"] = files
        used = "teacher" in takes and subject.teacher is not None
        given = {"teacher": subject.teacher.identity} if used and subject.teacher is not None else {}
        return describe(node, subject.weights, images, given, subject.spec.get("model"))

    def _keep(self, name: str, result: Result) -> None:
        if self.cache is not None:
            about = {"network": self.subject.name, **self.about[name]}
            self.cache.save(key_of(self.about[name]), result, about)

    def _take(self, name: str, result: Result) -> None:
        result.save(self.folder / self.measured.folder)
        self.measured.results[name] = result

    def _refuse(self, name: str, reason: str) -> None:
        self.left_out.append(f"{name}: {self.subject.name} is left out, {reason}")


def ready(node: dict[str, Any], subject: Subject, tree: Tree) -> Probe:
    """Build a probe with those of ``source``, ``data``, ``stressed`` and ``teacher`` that it takes as arguments.

    Values in the config node take precedence.
    """
    source = subject.data.source
    stressed = StressedSplit(source, tree["split"], tree["images"], stress_configs.cache(tree))
    given: dict[str, Any] = {"source": source, "data": subject.data, "stressed": stressed}
    takes = signature(target(node, "probe")).parameters
    if "teacher" in takes and subject.teacher is not None:
        given["teacher"] = subject.teacher.teacher
    probe: Probe = build(
        node, group="probe", **{key: value for key, value in given.items() if key in takes and key not in node}
    )
    return probe
