"""A study of made-up Results: a teacher that goes by shape, students that take it over, controls that do not."""

import numpy as np

from kdbias.probes.base import Result
from kdbias.report.cue_examples import cue_examples
from kdbias.report.group import Group
from kdbias.report.judged import Judged
from kdbias.report.page import Code
from kdbias.report.study_results import StudyResults
from kdbias.stats import difference, family

N = 500
SHAPES, TEXTURES = ([f"{cue} {number}" for number in range(10)] for cue in ("shape", "texture"))
FACTS = {"teacher": "demo_shape", "parameters": 209_000, "epochs": 12, "seconds": 90.0, "images_per_second": 400.0}
ABOUT = "Here the *teacher* trains the *student*.\n\nImages are made on the spot."


def cues(share: float, seed: int) -> Result:
    rng = np.random.default_rng([seed, int(1000 * share)])
    decided = rng.random(N) < 0.9
    by_shape = decided & (rng.random(N) < share)
    shape, texture = np.arange(N) % 10, (np.arange(N) + 3) % 10
    answer = np.where(by_shape, shape, np.where(decided, texture, (shape + 1) % 10))
    alone = {cue: rng.random(N) < level for cue, level in (("shape", share), ("texture", 1 - share))}
    scalars = {"shape_share": float(by_shape.sum() / decided.sum()), "decided": float(decided.mean())}
    scalars |= {f"accuracy_{cue}": float(values.mean()) for cue, values in alone.items()}
    arrays = {"decided": decided, "by_shape": by_shape, "shape": shape, "texture": texture, "answer": answer}
    return Result("cues", scalars, arrays | {f"right_{cue}": values for cue, values in alone.items()}, {"n": N})


def test(accuracy: float, seed: int) -> Result:
    right = np.random.default_rng([seed, int(1000 * accuracy)]).random(N) < accuracy
    return Result("test", {"accuracy": float(right.mean())}, {"right": right}, {"n": N, "classes": 10})


def attention(distance: float) -> Result:
    arrays = {
        "distance": np.full((6, 4), distance),
        "entropy": np.full((6, 4), 4.0),
        "uniform_distance": np.asarray(4.136),
        "uniform_entropy": np.asarray(4.159),
    }
    return Result("attention", {"distance": distance}, arrays, {"n": 100, "grid": [8, 8]})


def group(label: str, accuracy: float, share: float, distance: float, seeds: int) -> Group:
    tests = {seed: test(accuracy + 0.01 * seed, seed) for seed in range(seeds)}
    facts = {seed: {**FACTS, "test": {"accuracy": one.scalars["accuracy"]}} for seed, one in tests.items()}
    results = {
        "test": tests,
        "cues": {seed: cues(share + 0.01 * seed, seed) for seed in range(seeds)},
        "attention": {seed: attention(distance + 0.01 * seed) for seed in range(seeds)},
    }
    return Group(label, seeds, facts, results, control=None if label == "control" else "control")


def judge(name: str, says: str, key: str, direction: str, groups: list[Group], seeds: int) -> Judged:
    ours, theirs = ([one.results["cues"][seed].scalars[key] for seed in range(seeds)] for one in groups)
    found = difference(ours, theirs, smallest=0.2)
    could = 0.1 if seeds > 1 else None
    compared = "student against control"
    return Judged(name, says, f"cues/{key}", compared, direction, 0.2, 5, seeds, found, could, percent=True)


def study(student: float = 0.6, seeds: int = 3, teacher: float = 0.98) -> StudyResults:
    """Give a page of one question; ``student`` and ``teacher`` are shape shares."""
    groups = [group("student", 0.55, student, 3.4, seeds), group("control", 0.75, 0.2, 3.1, seeds)]
    claims = [
        ("inherits", "The student decides for the shape more often than the control.", "shape_share", "higher"),
        ("texture_alone", "With texture alone it is right less often.", "accuracy_texture", "lower"),
    ]
    found = [judge(*claim, groups, seeds) for claim in claims]
    corrected = family([one.difference for one in found])
    judged = [Judged(**{**vars(one), "difference": each}) for one, each in zip(found, corrected, strict=True)]
    taught = {"cues": cues(teacher, 7), "accuracy": test(0.9, 7)}
    answered = {"teacher": taught["cues"], **{one.label: one.results["cues"][0] for one in reversed(groups)}}
    shown = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    epochs = np.array([0.0, 1.0, 2.0])
    curve = {"epoch": epochs, "val/accuracy": 0.3 + 0.1 * epochs, "train/loss": 2 - 0.5 * epochs}
    beside = {name: {"teacher demo_shape": result} for name, result in taught.items()}
    return StudyResults(
        title="Does the student take over the preference?",
        question="",
        groups=groups,
        judged=judged,
        beside=beside | {"attention": {"untrained": attention(4.1)}},
        teachers={"student": taught},
        how=["Made up.", Code("python analyze.py task=demo")],
        about=ABOUT,
        metrics={"student": [curve] * seeds, "control": [curve] * seeds, "teacher demo_shape": [curve]},
        examples=cue_examples(shown, answered, SHAPES, TEXTURES),
    )
