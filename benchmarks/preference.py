"""Which losses carry a teacher's preference for shape, and how much of it; which controls leave it behind.

    python benchmarks/preference.py --out FOLDER
    python benchmarks/preference.py --out FOLDER --students cnn --seeds 0 1 2 --methods kl token random

A teacher that goes by shape (a CNN trained where only shape tells the class) teaches a student on images in which
shape and texture are right equally often, by each loss of the package and under each control. The index is
(student - control) / (teacher - control) of the cue-conflict shape share, over seeds: 0 is the student without teacher,
1 the teacher; beside it the index of the shares without what guesses explain. Every run is a ``train.py`` of its own
under ``FOLDER/runs``; what is done is not done again, so that the command can be killed and repeated. Writes
``FOLDER/preference-<student>.{md,csv}`` and prints one JSON line; ``preference_figure.py`` draws the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from hydra import initialize_config_dir
from preference_kinds import Shares, kinds_table, parse_kinds, require_kinds
from preference_methods import (
    AUGMENT,
    COMMON,
    DEEPER,
    IMAGES,
    LABELS,
    METHODS,
    ONLY,
    OWN_VIEWS,
    STUDENTS,
    VIT_TEACHER,
)
from scipy.stats import binomtest
from torch import Tensor

from kdbias import cli
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.data.cues import CLASSES
from kdbias.functional.cue import share_without_guesses
from kdbias.models.checkpoint import load_student
from kdbias.probes.base import Result
from kdbias.probes.cues import Cue, CueProbe, CueVariants
from kdbias.report.table import Column, Table, percent
from kdbias.runs import parallel, run_folder
from kdbias.runs.board import board
from kdbias.runs.parallel import Run, planned
from kdbias.runs.result import environment
from kdbias.runs.sweep import quoted
from kdbias.stats import Estimate, above_chance, difference, seed_mean, transfer_index
from kdbias.stats.retained import CHANCE_P

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """What all runs share: images to train on, epochs of each student, and of the teacher."""

    images: int
    epochs: dict[str, int]
    teacher_images: int
    teacher_epochs: int


class Planner:
    """Composes the runs of the table; inside ``initialize_config_dir``."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.folder, self.setting = folder, setting
        self.paths = [f"paths.runs={quoted(str(folder))}"]

    def teacher(self, shape: float, texture: float, name: str, kind: str = "cnn") -> Run:
        """Give the run of a teacher with the given reliabilities of shape and texture in training."""
        data = [f"data.shape_reliability={shape}", f"data.texture_reliability={texture}", "data.seed=1000", "seed=1000"]
        size = [f"data.train={self.setting.teacher_images}", f"epochs={self.setting.teacher_epochs}", "batch_size=64"]
        if kind == "vit":  # it needs more images to learn as much
            size = [
                f"data.train={2 * self.setting.teacher_images}",
                f"epochs={2 * self.setting.teacher_epochs}",
                size[2],
            ]
        overrides = [*IMAGES, *AUGMENT, *data, *size, *COMMON, *STUDENTS[kind], LABELS, *self.paths]
        return planned(name, overrides, self.folder / "runs")[0]

    def control(self, student: str, seed: int) -> Run:
        """Give the run of a student without teacher."""
        return self._student(f"{student}-control", student, seed, ["loss=[ce]"])

    def student(self, student: str, method: str, seed: int, teacher: Run, copy: Run) -> Run:
        """Give the run of a student by a method; ``copy`` is the student without teacher that teaches in ``self``."""
        extra = list(METHODS[method])
        if method != "no_teacher_dist":
            extra += VIT_TEACHER if method == "capd" else ["teacher=demo_shape"]
            extra.append(f"teacher.weights={quoted(str(teacher.folder / run_folder.BEST))}")
        extra += DEEPER.get((student, method), [])
        if "control=self" in extra:
            extra.append(f"control.weights={quoted(str(copy.folder / run_folder.BEST))}")
        return self._student(f"{student}-{method}", student, seed, extra)

    def _student(self, label: str, student: str, seed: int, extra: list[str]) -> Run:
        size = [f"data.train={self.setting.images}", f"epochs={self.setting.epochs[student]}", "batch_size=64"]
        if any(override.startswith("loss=[ce") for override in extra):
            extra = [*extra, LABELS]
        views = ["augment=none"] if f"method={OWN_VIEWS[0]}" in extra else AUGMENT
        overrides = [f"seed={seed}", *IMAGES, *views, *size, *COMMON, *STUDENTS[student], *extra, *self.paths]
        return planned(f"{label}-{seed}", overrides, self.folder / "runs")[0]


class Conflicts:
    """Images whose cues are known, the same for all runs and drawn once."""

    @staticmethod
    @cache
    def variant(name: Cue | Literal["conflict"], n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give ``n`` images and the classes of shape and texture."""
        source: CueVariants = build({"_target_": "kdbias.data.cues.cues", "preset": "demo", "seed": 99})
        return source.variant(name, n)


def measured(run: Run, images: int) -> dict[str, float]:
    """Give test accuracy and the cue probe's scalars of a run, probed once on so many images.

    ``chance_p`` and ``decided_p`` are the probabilities that guesses alone give such an accuracy, and so many decisions
    for either cue.
    """
    folder = run.folder / "probes"
    if not (folder / "cues.json").is_file() or Result.load(folder, "cues").meta["n"] != images:
        CueProbe(Conflicts(), images=images)(load_student(run.folder / run_folder.BEST)).save(folder)
    tested, cues, result = (
        Result.load(folder, "test"),
        Result.load(folder, "cues"),
        run_folder.result(run.folder, run.key),
    )
    assert result is not None
    decided_p = binomtest(int(cues.arrays["decided"].sum()), images, 2 / CLASSES, "greater").pvalue
    chance_p = above_chance(tested.arrays["right"], CLASSES)
    scores = {"accuracy": tested.scalars["accuracy"], "chance_p": chance_p, "decided_p": float(decided_p)}
    return {**cues.scalars, **scores, "seconds": result["seconds"]}


def index(found: list[dict[str, float]], control: list[dict[str, float]], teacher: dict[str, float]) -> list[Estimate]:
    """Give the transfer index of the shape share over seeds, and that of the share without guesses.

    Refused where a student, with or without teacher, only guesses.
    """
    for of, seeds in {"": found, "of the students without teacher ": control}.items():
        if any(run["chance_p"] >= CHANCE_P for run in seeds):
            reason = f"accuracy of a seed {of}is not above chance: its decisions are guesses, and no preference"
            return [Estimate.refuse(reason)] * 2
    plain = transfer_index(
        [run["shape_share"] for run in found], [run["shape_share"] for run in control], teacher["shape_share"]
    )
    if any(run["decided_p"] >= CHANCE_P for run in [*found, *control]):
        return [plain, Estimate.refuse("a seed decides for either cue no more often than by guesses")]
    return [plain, transfer_index([certain(run) for run in found], [certain(run) for run in control], certain(teacher))]


def certain(run: dict[str, float]) -> float:
    """Give the shape share without what guesses explain."""
    return share_without_guesses(run["shape_share"], run["decided"], CLASSES)


def table(
    student: str,
    scores: dict[str, list[dict[str, float]]],
    teacher: dict[str, float],
    teachers: dict[str, dict[str, float]] | None = None,
) -> Table:
    """Give one row a method: accuracy and shape share beside the control's, decided images and index.

    ``teachers`` are those of methods that have another teacher than the rest.
    """

    def of(method: str, key: str) -> list[float]:
        return [run[key] for run in scores[method]]

    def mean(values: list[float]) -> Estimate:
        return seed_mean(values, within=(0, 1))

    control = of("control", "accuracy"), of("control", "shape_share")
    teachers = teachers or {}
    rows: list[list[Any]] = []
    for method in scores:
        accuracy, share = of(method, "accuracy"), of(method, "shape_share")
        row = [method, mean(accuracy), judged(accuracy, control[0]), mean(share), judged(share, control[1])]
        rows.append(
            [
                *row,
                mean(of(method, "decided")),
                *index(scores[method], scores["control"], teachers.get(method, teacher)),
            ]
        )
    rows[0] = ["no teacher", rows[0][1], "-", rows[0][3], "-", rows[0][5], "0", "0"]
    named = {"the teacher": teacher, **{f"the teacher of {method}": one for method, one in teachers.items()}}
    for name, one in named.items():
        rows.append([name, one["accuracy"], "-", one["shape_share"], "-", one["decided"], "1", "1"])
    columns = [Column("method"), percent("accuracy"), percent("accuracy − control"), Column("shape share")]
    columns += [Column("share − control"), percent("decided"), Column("index", digits=2)]
    columns += [Column("index without guesses", digits=2)]
    note = (
        f"Intervals: 95 %, Student's (of an index Fieller's) over the {len(control[0])} seeds, paired by seed. All "
        "seeds have the same training images and the same teacher: what others would change is not in them."
    )
    return Table(f"{student} student, {len(control[0])} seeds", columns, rows, note)


def shares(found: list[dict[str, float]]) -> Shares:
    """Give the shape share of each seed, and that without what guesses explain."""
    guessed = any(run["decided_p"] >= CHANCE_P for run in found)
    return Shares([run["shape_share"] for run in found], None if guessed else [certain(run) for run in found])


def judged(a: list[float], b: list[float]) -> Any:
    return difference(a, b) if len(a) > 1 else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and of the tables")
    parser.add_argument("--students", nargs="+", choices=list(STUDENTS), default=list(STUDENTS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=5000, help="to train on")
    parser.add_argument("--epochs-cnn", type=int, default=8)
    parser.add_argument("--epochs-vit", type=int, default=12)
    parser.add_argument("--teacher-images", type=int, default=5000)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--conflict", type=int, default=4000, help="conflict images")
    parser.add_argument("--kinds", nargs=2, type=parse_kinds, metavar="NAME=ROW,ROW", help="compare two kinds of rows")
    parser.add_argument("--lanes", type=int, default=None, help="runs side by side, one thread each")
    args = parser.parse_args()
    if args.kinds:  # before hours of training
        for student in args.students:
            rows = ["control", *(method for method in args.methods if ONLY.get(method, student) == student)]
            require_kinds(dict(args.kinds), rows)
    folder: Path = args.out.absolute()
    epochs = {"cnn": args.epochs_cnn, "vit": args.epochs_vit}
    setting = Setting(args.images, epochs, args.teacher_images, args.teacher_epochs)
    sys.argv[0] = str(ROOT / "train.py")
    os.environ.setdefault("KDBIAS_ALLOCATOR", "0")
    cli.register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        plan = Planner(folder, setting)
        teacher = plan.teacher(1.0, 0.0, "teacher")
        teachers = {"capd": plan.teacher(1.0, 0.0, "teacher-vit", "vit")} if "capd" in args.methods else {}
        train([teacher, *teachers.values()], args.lanes)
        shown: dict[str, Any] = {}
        for student in args.students:
            controls = {seed: plan.control(student, seed) for seed in args.seeds}
            copies = {seed: plan.control(student, seed + 1000) for seed in args.seeds if "self" in args.methods}
            train([*controls.values(), *copies.values()], args.lanes)
            students = {
                method: [
                    plan.student(student, method, s, teachers.get(method, teacher), copies.get(s, controls[s]))
                    for s in args.seeds
                ]
                for method in args.methods
                if ONLY.get(method, student) == student
            }
            train([run for seed in zip(*students.values(), strict=True) for run in seed], args.lanes)
            scores = {"control": [measured(run, args.conflict) for run in controls.values()]}
            scores |= {method: [measured(run, args.conflict) for run in found] for method, found in students.items()}
            other = {method: measured(one, args.conflict) for method, one in teachers.items() if method in scores}
            made = table(student, scores, measured(teacher, args.conflict), other)
            (folder / f"preference-{student}.md").write_text(made.markdown())
            (folder / f"preference-{student}.csv").write_text(made.csv())
            print(made.markdown(), file=sys.stderr)
            if args.kinds:
                beside = kinds_table(student, {name: shares(found) for name, found in scores.items()}, dict(args.kinds))
                (folder / f"preference-kinds-{student}.md").write_text(beside.markdown())
                (folder / f"preference-kinds-{student}.csv").write_text(beside.csv())
                print(beside.markdown(), file=sys.stderr)
            shown[student] = scores
    print(json.dumps({"benchmark": "preference", "scores": shown, "environment": environment()}))


def train(wanted: list[Run], side_by_side: int | None) -> None:
    with board("preference", sum(run.epochs for run in wanted)) as seen:
        parallel.train(wanted, lanes=parallel.lanes(side_by_side), board=seen)


if __name__ == "__main__":
    main()
