"""A study of two groups and one teacher, whose runs are files that a test writes."""

import json
from pathlib import Path

import numpy as np

from kdbias.analysis import study as studies
from kdbias.analysis.study import Study, StudyRun
from kdbias.probes.base import Result
from kdbias.runs.parallel import Run

GAIN = {
    "says": "It gains.",
    "measure": "test/accuracy",
    "of": "student",
    "than": "control",
    "direction": "higher",
    "smallest": 0.05,
    "sd": 0.02,
}
NODE = {
    "name": "toy",
    "question": "Does it gain?",
    "seeds": [0, 1, 2],
    "runs": {"student": {"experiment": "demo_kl"}, "control": {"experiment": "demo_control"}},
    "hypotheses": {"gain": GAIN},
}


def toy(root: Path, node: dict = NODE) -> Study:
    """A started study whose runs are not there yet."""
    teacher = Run("teacher small", (), root / "teachers" / "small", "key-teacher", 3)
    found = [
        StudyRun(
            group, seed, Run(f"{group}, seed {seed}", (), root / "studies" / "runs" / f"{group}-{seed}", key, 4), of
        )
        for seed in node["seeds"]
        for group, of in (("student", teacher), ("control", None))
        for key in [f"key-{group}-{seed}"]
    ]
    study = Study(node, ("trainer=smoke",), tuple(found), root / "studies" / node["name"])
    studies.save(study)
    return study


def finished(one: Run, accuracy: float, seed: int = 0) -> None:
    """Write what a finished run leaves."""
    right = np.random.default_rng([seed, len(one.label)]).random(400) < accuracy
    Result("test", {"accuracy": float(right.mean())}, {"right": right}, {"n": 400, "classes": 10}).save(
        one.folder / "probes"
    )
    environment = {"git": "abcdef0123456", "dirty": False, "cpu": "a CPU", "threads": 1, "torch": "2", "kdbias": "0"}
    facts = {
        "spec_hash": one.key,
        "test": {"accuracy": float(right.mean())},
        "teacher": "small" if "student" in one.label else None,
        "parameters": 1234,
        "epochs": one.epochs,
        "seconds": 12.0,
        "images_per_second": 99.0,
        "peak_memory": {"gib": 0.5, "of": "process"},
        "environment": environment,
    }
    (one.folder / "result.json").write_text(json.dumps(facts))


def trained(study: Study) -> None:
    for one in study.runs:
        finished(one.run, 0.9 if one.group == "student" else 0.3, one.seed)
