"""What a network relies on: its answers under stress sets, where cues conflict, and where one cue is alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbias import stats
from kdbias.batch import Batch
from kdbias.config.build import builder
from kdbias.data.cues import CueSource
from kdbias.models.evaluation import Precision
from kdbias.models.features import Extractor
from kdbias.models.teacher import Teacher
from kdbias.probes.agreement import unlike_classes
from kdbias.probes.base import Probe, Result
from kdbias.probes.bias_answers import OWN, ask, own_batches
from kdbias.probes.bias_reference import identity, reference_network
from kdbias.probes.bias_result import Collected
from kdbias.probes.bias_rows import REFERENCE, TEACHER, Shown
from kdbias.probes.bias_sets import Chosen, Entry, checked_strengths, chosen, made_of, wanted
from kdbias.probes.bias_shown import DrawnCues, device_of, of_own, of_split, unchanged
from kdbias.probes.versions import no_classifier
from kdbias.stress.describe import describe
from kdbias.stress.own_images import OwnImages
from kdbias.stress.split import StressedSplit

SETS: tuple[Entry, ...] = (
    *("smooth", "rotate", "scramble", "grey", "noise", "smooth_scramble", "smooth_grey", "scramble_grey"),
    *("superpixel", "texture", "shape", "conflict"),
)
"""Sets that need no weights and no further package."""
UNPAIRED = "its images are no versions of the clean ones: compare the accuracies"


@builder("probe")
@dataclass(frozen=True)
class BiasProbe(Probe):
    """Accuracy and what is kept of it under stress sets; the cue that decides; agreement with the teacher on each set.

    ``stress`` lists sets by name (of ``conf/stress``; a file's name stands for all its sets); ``{NAME: [...]}`` gives a
    set strengths of its own, ``{NAME: {...}}`` settings. ``strengths`` are those of the sets that suppress a cue; a
    corruption has its five severities, another set strength 1. ``reference`` is the run or checkpoint that mCE is
    relative to. ``stressed`` gives the sets of the split, and ``teacher`` is that of the run, if there is one.

    Scalars, each with an array ``<scalar>_interval``: ``accuracy``; for each set, at its highest strength,
    ``accuracy_<set>``, ``ratio_<set>``, ``retention_<set>``, beside a teacher ``agreement_<set>`` and ``kappa_<set>``;
    ``reliance_area_<set>`` over the strengths of a suppression; ``shape_share``, ``decided`` and
    ``share_without_guesses`` on conflict images; ``sensitivity_<cue>`` where a cue is alone, and
    ``sensitivity_chance``; on ``data=cues`` also ``reliance_<cue>``; for corruptions ``error_<set>``, ``mean_error``,
    and beside a reference ``mce`` and ``relative_mce``. Arrays, by version ``(V,)`` in the order of
    ``meta["versions"]``: ``version_<score>`` with ``_interval``, of the five scores of a set; by set
    ``right_<set>`` ``(S, n)``, -1 where the set found nothing; on conflict images ``by_shape``, ``decided`` and the
    classes of both cues; ``right``, ``target``, ``index``.

    ``meta["reasons"]`` says of every number that is NaN or missing why, ``meta["left_out"]`` of every set;
    ``meta["failed"]`` names those of them that should have been there, so the Result is not kept for later.

    Source: Geirhos et al. 2019 and 2020; Burgert et al. 2025; Kim et al. 2026; Hendrycks and Dietterich 2019.

    Raises:
        ValueError: a set, a setting or a strength is wrong, or the reference is no file.
    """

    stressed: StressedSplit
    teacher: Teacher | None = None
    stress: Sequence[Entry] = SETS
    strengths: Sequence[float] = (0.25, 0.5, 0.75, 1.0)
    reference: str | None = None
    seed: int = 0
    batch_size: int = 500
    precision: Precision = "fp32"
    name: str = "bias"

    def __post_init__(self) -> None:
        if isinstance(self.stress, str | Mapping):
            raise ValueError(f"probe.bias.stress: a list, as in [smooth,rotate], got {self.stress!r}")
        wanted(self.stress)
        checked_strengths("probe.bias.strengths", self.strengths)
        if self.reference is not None:
            identity(self.reference)

    @classmethod
    def decided_by(cls, node: Mapping[str, Any]) -> dict[str, Any]:
        """Give the node with what its names stand for: the sets and what makes them, the digest of the reference."""
        sets = {one.name: [dict(one.node), one.strengths, made_of(one)] for one in wanted(node.get("stress", SETS))}
        reference = node.get("reference")
        return {**node, "stress": sets, "reference": None if reference is None else identity(reference)}

    def refuses(self, network: Extractor) -> str:
        """Say why it is not defined for ``network``; empty if it is defined."""
        return no_classifier(network, "what it relies on")

    def __call__(self, network: Extractor, batches: Iterable[Batch]) -> Result:
        """Measure ``network``.

        Raises:
            ValueError: it has no classifier, there are no images, or none of the sets can be made of them.
        """
        if reason := self.refuses(network):
            raise ValueError(reason)
        info = self.stressed.source.info
        levels = checked_strengths("probe.bias.strengths", self.strengths)
        sets, left_out = chosen(self.stress, levels, info.size, info.channels)
        shown, failed = of_split(sets, self.stressed, self.seed)
        lack = "there is no teacher" if self.teacher is None else unlike_classes(network, self.teacher)
        found = Collected(int(network.info.classes or 0), lack)
        readers = self._readers(network, lack, corrupted=any(one.kind for one in shown))
        n = self._split(found, readers, batches, shown)
        source = self.stressed.source
        if isinstance(source, CueSource):
            self._cues(found, readers, source, n)
        for one in sets:
            if isinstance(one.stress, OwnImages):
                self._own(found, readers, one, failed)
        left_out |= failed
        if not found.rows:
            reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or "none is named"
            raise ValueError(f"probe.bias.stress: there is no set to measure on: {reasons}")
        found.close()
        meta = self._meta(found, sets, left_out, n) | {"failed": sorted(failed)}
        return Result(self.name, found.scalars, found.arrays | found.vectors(), meta)

    def _readers(self, network: Extractor, lack: str, corrupted: bool) -> dict[str, Extractor | Teacher]:
        readers: dict[str, Extractor | Teacher] = {OWN: network}
        if self.teacher is not None and not lack:
            readers[TEACHER] = self.teacher
        if self.reference is not None and corrupted:
            readers[REFERENCE] = reference_network(self.reference, network.info.classes).to(device_of(network))
        return readers

    def _split(
        self,
        found: Collected,
        readers: Mapping[str, Extractor | Teacher],
        batches: Iterable[Batch],
        shown: Sequence[Shown],
    ) -> int:
        """Take the numbers of the versions of the split's own images; give the number of images."""
        versions = [unchanged, *(one.version for one in shown)]
        ranked = [place for place, one in enumerate(shown, 1) if one.alone]
        only = {REFERENCE: {0, *(place for place, one in enumerate(shown, 1) if one.kind)}}
        answers = ask(readers, batches, versions, precision=self.precision, ranked=ranked, only=only)
        clean = answers.right()[0]
        found.put("accuracy", stats.accuracy(clean))
        found.arrays |= {"right": clean, "target": answers.target, "index": answers.index}
        found.take(shown, answers, clean, first=1)
        return len(clean)

    def _cues(
        self, found: Collected, readers: Mapping[str, Extractor | Teacher], source: CueSource, count: int
    ) -> None:
        """Take the numbers of the images whose cues the program draws."""
        drawn = DrawnCues(source, count)
        device = device_of(readers[OWN])  # type: ignore[arg-type]
        versions = [unchanged, *(one.version for one in drawn.shown)]
        ranked = [place for place, one in enumerate(drawn.shown, 1) if one.alone]
        asked = {name: reader for name, reader in readers.items() if name != REFERENCE}
        batches = drawn.batches(self.batch_size, device)
        answers = ask(asked, batches, versions, precision=self.precision, ranked=ranked)
        found.take(drawn.shown, answers, answers.right()[0], first=1)
        for cue in ("shape", "texture"):
            key = f"retention_without_{cue}"
            low, high = (float(bound) for bound in found.arrays[f"{key}_interval"])
            kept = stats.Estimate(found.scalars[key], low, high, found.reasons.get(key, ""))
            found.put(f"reliance_{cue}", stats.Estimate(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.reason))

    def _own(
        self, found: Collected, readers: Mapping[str, Extractor | Teacher], one: Chosen, failed: dict[str, str]
    ) -> None:
        """Take the numbers of a set that has images of its own."""
        try:
            images, shown = of_own(one, self.stressed, self.seed)
        except ValueError as error:
            failed[one.name] = str(error)
            return
        batches = own_batches(images, self.batch_size, device_of(readers[OWN]))  # type: ignore[arg-type]
        answers = ask(readers, batches, [unchanged], precision=self.precision)
        found.take([shown], answers, UNPAIRED, first=0)

    def _meta(self, found: Collected, sets: Sequence[Chosen], left_out: Mapping[str, str], n: int) -> dict[str, Any]:
        return {
            "n": n,
            "classes": found.classes,
            "split": self.stressed.split,
            "seed": self.seed,
            "precision": self.precision,
            "teacher": None if self.teacher is None else self.teacher.name,
            "reference": self.reference,
            "sets": {one.name: describe(one.stress) for one in sets},
            "versions": [one.about for one in found.rows],
            "left_out": dict(left_out),
            "reasons": found.reasons,
        }
