"""What the earlier report published of the transfer of bias, for the methods of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdbias.analysis.results import Measured

ON = "kdbias.data.cifar.cifar10"
DIRECTIONS = {"cnn_to_vit": ("vit", "cnn"), "vit_to_cnn": ("cnn", "vit")}  # families of the student and the teacher


def published(networks: Sequence[Measured]) -> tuple[dict[str, Mapping[str, float]], str]:
    """Give the published ratios by the label of a method and by set, and how they came about.

    A run has one if its experiment is that method, with a student and a teacher of the families of its direction, on
    CIFAR-10 and with its teacher as it is.
    """
    known = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))["bias_transfer"]
    found: dict[str, Mapping[str, float]] = {
        one.label: dict(zip(known["sets"], known["ratio"][one.about["experiment"]], strict=True))
        for one in networks
        if one.role in ("network", "control")
        and one.about["experiment"] in known["ratio"]
        and not one.about.get("control")
        and one.about["source"].get("_target_") == ON
        and _in_direction(one)
    }
    return found, str(known["setting"])


def _in_direction(one: Measured) -> bool:
    """Whether student and teacher, where there is one, are of the families that the experiment's name says."""
    student, teacher = DIRECTIONS["_".join(str(one.about["experiment"]).split("_")[:3])]
    own, taught_by = one.about["families"] or (None, None)
    return own == student and (one.about["teacher"] is None or taught_by == teacher)
