"""Does every cross-architecture method teach? Small students on CIFAR-10, beside students without a teacher.

    python benchmarks/learning.py --out FOLDER --data FOLDER --weights FILE

Each row is an experiment of ``cnn_to_vit`` or ``vit_to_cnn`` at a small width, on a part of CIFAR-10: the recipe, the
images and the seeds of a direction are the same for all its rows. The CNN teacher is a CIFAR ResNet-20 with the weights
``--weights``; the ViT teacher is a small one, trained first on the same images. Every run is a ``train.py`` of its own
under ``FOLDER/runs``; what is done is not done again, so that the command can be killed and repeated. Writes
``FOLDER/learning.{md,csv}`` and prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir

from kdbias import cli
from kdbias.config.conf import conf_dir
from kdbias.report.table import Cell, Column, Table, percent
from kdbias.runs import parallel, run_folder
from kdbias.runs.board import board
from kdbias.runs.parallel import Run, planned
from kdbias.runs.result import environment
from kdbias.runs.sweep import quoted
from kdbias.stats import difference, seed_mean

ROOT = Path(__file__).resolve().parents[1]
COMMON = ["trainer=cpu", "trainer.precision=32-true", "callback=[checkpoint]", "logger=[csv]", "data.val=1000"]
VIT = ["model=vit", "model.conv_stem=deep", "model.width=64", "model.heads=4"]
VIT_TEACHER = [
    *("teacher=vit_small_cifar", "teacher.model.width=64", "teacher.model.depth=6", "teacher.model.heads=4"),
    *("teacher.model.mlp_ratio=2.0", "teacher.model.drop_path=0.0", "teacher.model.conv_stem=deep"),
]
ADAMW = ["batch_size=64", "optim=default", "optim.optimizer.lr=1.5e-3"]
DIRECTIONS: dict[str, dict[str, list[str]]] = {
    "cnn_to_vit": {
        "independent": [],
        "lm": [],
        "crd": ["loss.crd.negatives=2048"],
        "vlfkd": [],
        "independent_dist": ["loss.ce.dist=true", "model.distilled=true"],
        "cskd": ["model.distilled=true", "model.inference=dense"],
    },
    "vit_to_cnn": {
        "independent": [],
        "lm": [],
        "crd": ["loss.crd.negatives=2048"],
        "capd": [],
        "sskd": ["module.head.epochs=10"],
    },
}
CONTROLS = {"cskd": "independent_dist"}


class Planner:
    """Composes the runs; inside ``initialize_config_dir``."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder: Path = args.out.absolute()
        root = quoted(str(args.data.absolute()))
        data = ["data=cifar10", f"data.root={root}", "data.download=false", f"data.limit={args.images}"]
        self.common = [*COMMON, *data, f"paths.runs={quoted(str(self.folder))}"]
        self.weights, self.epochs, self.teacher_epochs = args.weights.absolute(), args.epochs, args.teacher_epochs

    def vit_teacher(self) -> Run:
        """Give the run of the ViT that teaches CNNs."""
        extra = ["experiment=cnn_to_vit/independent", "augment=light", "seed=1000", f"epochs={self.teacher_epochs}"]
        return planned("teacher-vit", [*extra, *self.common, *VIT, *ADAMW], self.folder / "runs")[0]

    def student(self, direction: str, row: str, seed: int, vit_teacher: Run) -> Run:
        """Give the run of one row."""
        extra = [f"experiment={direction}/{row.removesuffix('_dist')}", f"seed={seed}", f"epochs={self.epochs}"]
        extra += [*self.common, *ADAMW, *DIRECTIONS[direction][row]]
        if direction == "cnn_to_vit":
            extra += [*VIT, "augment=light"]
            teacher = ["teacher=resnet20", f"teacher.weights={quoted(str(self.weights))}"]
        else:
            extra += ["model=small_cnn", f"augment={'none' if row == 'sskd' else 'light'}"]
            teacher = [*VIT_TEACHER, f"teacher.weights={quoted(str(vit_teacher.folder / run_folder.BEST))}"]
        extra += [] if row.startswith("independent") else teacher
        return planned(f"{direction}-{row}-{seed}", extra, self.folder / "runs")[0]


def table(direction: str, found: dict[str, list[dict[str, Any]]], note: str) -> Table:
    """Give a line for each row: accuracy, difference from its control, share of its accuracy, and cost."""
    rows: list[list[Cell]] = []
    for row, results in found.items():
        scores = [result["test"]["accuracy"] for result in results]
        control = [result["test"]["accuracy"] for result in found[CONTROLS.get(row, "independent")]]
        alone = row.startswith("independent") or len(scores) < 2
        by_seed = ", ".join(f"{100 * one:.1f}" for one in scores)
        share = min(one / other for one, other in zip(scores, control, strict=True))
        seconds = sum(result["seconds"] for result in results) / len(results)
        rows.append(
            [
                row,
                by_seed,
                seed_mean(scores, within=(0, 1)),
                "-" if alone else difference(scores, control),
                share,
                seconds,
            ]
        )
    columns = [Column("method"), Column("by seed", unit="%"), percent("test accuracy"), percent("method − control")]
    return Table(
        direction, [*columns, Column("least share of the control's", digits=2), Column("s a run", digits=0)], rows, note
    )


def train(wanted: list[Run], side_by_side: int | None) -> None:
    with board("learning", sum(run.epochs for run in wanted)) as seen:
        parallel.train(wanted, lanes=parallel.lanes(side_by_side), board=seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and of the tables")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--weights", type=Path, required=True, help="of the ResNet-20 that teaches the ViTs")
    parser.add_argument("--images", type=int, default=5000, help="to train on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--teacher-epochs", type=int, default=30)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--directions", nargs="+", choices=list(DIRECTIONS), default=list(DIRECTIONS))
    parser.add_argument("--lanes", type=int, default=None, help="runs side by side, one thread each")
    args = parser.parse_args()
    sys.argv[0] = str(ROOT / "train.py")
    os.environ.setdefault("KDBIAS_ALLOCATOR", "0")
    cli.register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        plan = Planner(args)
        vit_teacher = plan.vit_teacher()
        if "vit_to_cnn" in args.directions:
            train([vit_teacher], args.lanes)
        runs = {
            (direction, row): [plan.student(direction, row, seed, vit_teacher) for seed in args.seeds]
            for direction in args.directions
            for row in DIRECTIONS[direction]
        }
    train([run for seed in zip(*runs.values(), strict=True) for run in seed], args.lanes)
    note = (
        f"{args.images:,} training images, {args.epochs} epochs, {len(args.seeds)} seeds. Intervals: 95 %, over seeds."
    )
    results = {key: [run_folder.result(run.folder, run.key) or {} for run in of] for key, of in runs.items()}
    tables = [
        table(direction, {row: results[direction, row] for row in DIRECTIONS[direction]}, note)
        for direction in args.directions
    ]
    (plan.folder / "learning.md").write_text("\n".join(made.markdown() for made in tables))
    (plan.folder / "learning.csv").write_text("\n".join(made.csv() for made in tables))
    print("\n".join(made.markdown() for made in tables), file=sys.stderr)
    scores = {"/".join(key): [one["test"]["accuracy"] for one in of] for key, of in results.items()}
    print(json.dumps({"benchmark": "learning", "accuracy": scores, "environment": environment()}))


if __name__ == "__main__":
    main()
