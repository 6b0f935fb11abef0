"""Cue-conflict images for a page, with the answers of the networks that its first hypothesis on cues compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kdbias.analysis.results import Measured
from kdbias.analysis.study_node import Hypothesis
from kdbias.config.build import build
from kdbias.data.cues import CueSource
from kdbias.probes.base import Result
from kdbias.report.cue_examples import cue_examples
from kdbias.report.page import Example
from kdbias.report.study_results import unlike

PROBE = "cues"
COUNT = 6  # images on a page


def examples(
    claims: Sequence[Hypothesis], networks: Sequence[Measured], teachers: Mapping[str, Mapping[str, Result]]
) -> list[Example]:
    """Give the images with what each network goes by; none if no hypothesis on cues has its networks.

    ``teachers`` are the Results of each group's teacher. Of several seeds the first is shown.
    """
    claim = next((one for one in claims if one.measure.probe == PROBE), None)
    groups = [] if claim is None else [*claim.than, *claim.of]
    found = {label: one for one in reversed(networks) if PROBE in one.results and (label := one.label) in groups}
    if not groups or set(groups) - found.keys():
        return []
    source = build(found[groups[0]].about["source"], group="data")
    if not isinstance(source, CueSource):
        return []
    taught = [teachers[label][PROBE] for label in groups if PROBE in teachers.get(label, {})]
    answered = {unlike("teacher", groups): taught[-1]} if taught else {}
    answered |= {label: found[label].results[PROBE] for label in groups}
    images = source.variant("conflict", COUNT)
    if not all(np.array_equal(one.arrays["shape"][:COUNT], images.shape.numpy()) for one in answered.values()):
        return []  # the probe was given images of its own
    shapes, textures = zip(*(name.split(", ") for name in source.info.names), strict=True)
    return cue_examples(images.image.permute(0, 2, 3, 1).numpy(), answered, shapes, textures)
