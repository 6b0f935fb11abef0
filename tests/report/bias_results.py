"""Made-up Results of ``probe=bias`` whose truth is known, and groups of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdbias import stats
from kdbias.probes.base import Result
from kdbias.report.group import Group

SETS = ("grey", "rotate", "noise", "texture")
CLASSES = 10
SCORES = ("accuracy", "ratio", "retention")


def answers(shares: Mapping[str, float], seed: int, n: int = 2000) -> dict[str, np.ndarray]:
    """Right answers by set; the share of each set is met to one image."""
    rng = np.random.default_rng(seed)
    return {name: rng.permutation(n) < round(share * n) for name, share in shares.items()}


def result(shares: Mapping[str, float], seed: int = 0) -> Result:
    """The Result of a network that is right in these shares of the images."""
    right = answers(shares, seed)
    clean = right.pop("clean")
    found = {
        name: {
            "accuracy": stats.accuracy(one),
            "ratio": stats.ratio(one, clean, CLASSES),
            "retention": stats.retention(one, clean, CLASSES),
        }
        for name, one in right.items()
    }
    arrays = {f"right_{name}": one[None].astype(np.int8) for name, one in right.items()}
    return written(found, stats.accuracy(clean), {"right": clean, **arrays})


def known(retained: Mapping[str, float]) -> Result:
    """A Result with these retentions exactly, without the answers to single images."""
    found = {
        name: {score: stats.Estimate(value, value - 0.01, value + 0.01) for score in SCORES}
        for name, value in retained.items()
    }
    return written(found, stats.Estimate(0.8, 0.78, 0.82), {})


def written(
    found: Mapping[str, Mapping[str, stats.Estimate]], clean: stats.Estimate, arrays: Mapping[str, np.ndarray]
) -> Result:
    scalars, own, reasons = {"accuracy": clean.value}, {"accuracy_interval": np.array([clean.low, clean.high])}, {}
    for score in SCORES:
        each = {name: of[score] for name, of in found.items()}
        scalars |= {f"{score}_{name}": one.value for name, one in each.items()}
        reasons |= {f"{score}_{name}": one.reason for name, one in each.items() if one.reason}
        own[f"version_{score}"] = np.array([one.value for one in each.values()])
        own[f"version_{score}_interval"] = np.array([[one.low, one.high] for one in each.values()])
    versions = [{"set": name, "strength": 1.0, "n": 2000, "suppresses": True, "kind": ""} for name in found]
    meta = {"n": 2000, "classes": CLASSES, "versions": versions, "reasons": reasons, "left_out": {}, "teacher": None}
    return Result("bias", scalars, {**own, **arrays}, meta)


def group(label: str, results: Sequence[Result], control: str | None = None, teacher: str | None = None) -> Group:
    """A group with these Results for seeds 0, 1, ..."""
    facts = {seed: {"teacher": teacher} for seed in range(len(results))}
    return Group(label, len(results), facts, {"bias": dict(enumerate(results))}, control)
