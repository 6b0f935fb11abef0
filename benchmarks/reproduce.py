r"""The structural study and its controls on CIFAR-10, as long as a time limit allows; a table for docs/results.md.

    python benchmarks/reproduce.py --out FOLDER --hours 8 --seeds 0,1,2 --weights FOLDER data.root=IMAGES
    python benchmarks/reproduce.py --out FOLDER --hours 2 --seeds 0,1 --rows control,exp1,exp3_ssl --ssl-epochs 15 \
        model=vit model.layers=[1,3,5] data.limit=10000 data.root=IMAGES trainer=cpu augment=light batch_size=64
    python benchmarks/reproduce.py --out FOLDER --table-only --append docs/results.md ...

Rows are experiments of this package, under a control or not; what stands at the end of the command line goes to every
one of them. Each run is a ``train.py`` of its own under ``FOLDER/runs``: what is done is not done again, and what was
killed goes on, so that the same command can be repeated until the table is whole. The number of epochs, the same for
all rows, is what the limit allows at the speed of a short trial of each row, found once and kept in
``FOLDER/epochs.json``; ``--epochs`` sets it instead. Teachers come from ``--weights`` (``<name>_cifar10.safetensors``,
``tf_efficientnet_lite0_imagenet.safetensors``) or are trained first. Prints the table, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_dir

from kdbias import cli
from kdbias.callbacks.probe import history
from kdbias.config.conf import conf_dir
from kdbias.config.spec import Tree
from kdbias.probes.base import Result
from kdbias.report.table import Column, Table, percent
from kdbias.runs import parallel, run_folder
from kdbias.runs.board import board
from kdbias.runs.parallel import Run, planned
from kdbias.runs.result import environment
from kdbias.runs.sweep import quoted
from kdbias.stats import Difference, bootstrap_mean, difference, holm, image_noise, seed_mean

ROOT = Path(__file__).resolve().parents[1]
RESNET = "resnet56"
GRADED = {"resnet20": 0.9173, "resnet32": 0.9263, "resnet44": 0.9310, "resnet56": 0.9339}  # on the test set


@dataclass(frozen=True)
class Row:
    """A line of the table: its experiment, what it needs of a weights folder, and the row that it is compared with."""

    overrides: tuple[str, ...]
    weights: str | None = None  # teacher.weights
    trunk: str | None = None  # teacher.model.weights
    beside: str = "control"


EXP1 = ("experiment=exp1_kl", f"teacher={RESNET}")
ROWS: dict[str, Row] = {
    "control": Row(("experiment=baseline",)),
    "control_dist": Row(("experiment=baseline_dist",)),
    "exp1": Row(EXP1, f"{RESNET}_cifar10", beside="control_dist"),
    "exp2_scratch": Row(("experiment=exp2_convnext_kl", "teacher.model.pretrained=false"), beside="control_dist"),
    "exp2_efficientnet": Row(
        ("experiment=exp2_efficientnet_kl", "teacher=efficientnet_frozen"),
        trunk="tf_efficientnet_lite0_imagenet",
        beside="control_dist",
    ),
    "exp3_resnet": Row(("experiment=exp3_dino", f"teacher={RESNET}"), f"{RESNET}_cifar10"),
    "exp3_ssl": Row(("experiment=exp3_ssl",)),
    "cst_ssl": Row(("experiment=cst_ssl",)),
    "self": Row((*EXP1, "control=self"), f"{RESNET}_cifar10", beside="control_dist"),
    "label_smoothing": Row((*EXP1, "control=label_smoothing"), f"{RESNET}_cifar10", beside="control_dist"),
    "shuffled": Row((*EXP1, "control=shuffled"), f"{RESNET}_cifar10", beside="control_dist"),
    "random": Row((*EXP1, "control=random"), beside="control_dist"),
    "accuracy_matched": Row(
        (*EXP1, "control=accuracy_matched", "control.among=graded"), f"{RESNET}_cifar10", beside="control_dist"
    ),
}


class Planner:
    """Composes the runs of the table; inside ``initialize_config_dir``."""

    def __init__(self, folder: Path, weights: Path | None, common: list[str], ssl_epochs: int | None = None) -> None:
        self.folder, self.weights, self.common, self.ssl_epochs = folder, weights, common, ssl_epochs
        # A student of one architecture in all rows has no DIST token that only some of them train.
        self.single = any(one.startswith("model=") for one in common)

    def rows(self, wanted: list[str]) -> list[str]:
        """Give the rows that can be run: one small student has no DIST token, and so no control that has one."""
        return [name for name in wanted if not (self.single and name == "control_dist")]

    def beside(self, name: str) -> str:
        """Give the row that a row is compared with."""
        return "control" if self.single else ROWS[name].beside

    def run(self, name: str, seed: int, epochs: int, place: str = "runs", extra: tuple[str, ...] = ()) -> Run:
        """Give one run of a row."""
        row = ROWS[name]
        overrides = [*row.overrides, f"seed={seed}", f"epochs={epochs}", f"paths.runs={quoted(str(self.folder))}"]
        if name.endswith("_ssl") and self.ssl_epochs:
            overrides.append(f"teacher.epochs={self.ssl_epochs}")
        overrides += self._files(row, name) + self.common + list(extra)
        return self._planned(f"{name}-{seed}", overrides, place)[0]

    def _planned(self, label: str, overrides: list[str], place: str) -> tuple[Run, Tree]:
        return planned(label, overrides, self.folder / place)

    def _files(self, row: Row, name: str) -> list[str]:
        found = []
        for key, file in (("teacher.weights", row.weights), ("teacher.model.weights", row.trunk)):
            if file and (path := self._file(file)):
                found.append(f"{key}={quoted(str(path))}")
        if name == "accuracy_matched":
            graded = [(one, self._file(f"{one}_cifar10")) for one in GRADED]
            found.append(f"control.accuracy={GRADED['resnet20']}")
            for one, path in graded:
                if path:
                    found += [f"control.graded.{one}.weights={quoted(str(path))}"]
                    found += [f"control.graded.{one}.accuracy={GRADED[one]}"]
        return found

    def _file(self, name: str) -> Path | None:
        path = self.weights / f"{name}.safetensors" if self.weights else None
        return path if path and path.is_file() else None


def epochs_allowed(plan: Planner, args: argparse.Namespace, side_by_side: int) -> int:
    """Give how many epochs of all rows and seeds fit into the hours, by a short trial of each row."""
    kept = plan.folder / "epochs.json"
    if kept.is_file():
        return int(json.loads(kept.read_text())["epochs"])
    if args.table_only:
        raise SystemExit(f"{kept} is not there, and --table-only trains nothing to find it: give --epochs")
    short = (f"trainer.limit_train_batches={args.trial}", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1")
    short += ("teacher.epochs=1",)  # one that is missing is trained for the trial alone
    trials = {name: plan.run(name, args.seeds[0], 1, "trials", short) for name in args.rows}
    train(list(trials.values()), side_by_side)
    seconds = {}
    for name, run in trials.items():
        result = run_folder.result(run.folder, run.key)
        assert result is not None
        seconds[name] = result["spec"]["data"]["train"] / result["images_per_second"]
    epochs = int(args.hours * 3600 * side_by_side / (len(args.seeds) * sum(seconds.values())))
    if epochs < 1:
        needed = sum(seconds.values()) * len(args.seeds) / side_by_side / 3600
        raise SystemExit(f"--hours {args.hours:g} is less than one epoch of all rows takes, {needed:.2g}: give more")
    kept.write_text(json.dumps({"epochs": epochs, "seconds_per_epoch": seconds}))
    return epochs


def train(wanted: list[Run], side_by_side: int) -> None:
    """Train what is not done, several at a time, one thread each."""
    with board("reproduce", sum(run.epochs for run in wanted)) as seen:
        parallel.train(wanted, lanes=side_by_side, board=seen)


@dataclass(frozen=True)
class Seen:
    """What one row gave: right answers ``(seeds, n)``, attention distance of each seed, and what it cost."""

    right: np.ndarray
    distance: list[float]
    images_per_second: float
    seconds: float
    teacher: str


def seen(done: list[Run]) -> Seen:
    """Read the runs of a row."""
    results = [run_folder.result(run.folder, run.key) for run in done]
    found = [result for result in results if result is not None]
    right = np.stack([Result.load(run.folder / "probes", "test").arrays["right"] for run in done])
    last = [history(run.folder / "probes", "attention") for run in done]
    return Seen(
        right,
        [probes[-1].scalars["distance"] for probes in last if probes and probes[-1].meta["epoch"] > 0],
        float(np.mean([result["images_per_second"] or np.nan for result in found])),
        float(np.mean([result["seconds"] for result in found])),
        str(found[0]["teacher"] or "-"),
    )


def table(rows: dict[str, Seen], plan: Planner, epochs: int, seeds: list[int]) -> Table:
    """Give one line a row: teacher, accuracy, what it is ahead of its control, attention distance, cost."""
    lines: list[list[Any]] = []
    for name, row in rows.items():
        mean = row.right.mean(0)
        control = rows.get(plan.beside(name))
        alone = control is None or control is row
        against = "-" if alone else difference(mean, control.right.mean(0), over="images")
        recipe = "-" if alone or len(seeds) < 2 else by_seeds(row.right, control.right)
        spread = seed_mean(row.distance) if row.distance else "-"
        by_seed = ", ".join(f"{100 * one:.2f}" for one in row.right.mean(1))
        line = [name, row.teacher, bootstrap_mean(mean), by_seed, against, recipe, spread]
        lines.append([*line, row.images_per_second, row.seconds / 60])
    columns = [Column("row"), Column("teacher"), percent("test accuracy", 2), Column("by seed", unit="%")]
    columns += [percent("row − control, images", 2), percent("row − control, seeds", 2)]
    columns += [Column("attention distance", digits=2, unit="patches")]
    columns += [Column("images/s", digits=0), Column("a run", digits=1, unit="min")]
    note = (
        f"{len(seeds)} seeds, {epochs} epochs. Intervals: 95 %, not corrected for the number of rows. Over images "
        "(mean of the seeds): of accuracy and of the first difference; they are of these networks and say nothing of "
        "other seeds. Over seeds: of the second difference (paired) and of attention distance, which is that of the "
        "last epoch, accuracy that of the best one on validation. Uniform attention on 8×8: 4.136."
    )
    return Table("CIFAR-10", columns, lines, note)


def isolated(rows: dict[str, Seen]) -> Table | None:
    """Give what EXP-1 is ahead of each control of its teacher; None where there is nothing to compare."""
    controls = [name for name in ROWS if name in rows and any("control=" in one for one in ROWS[name].overrides)]
    if "exp1" not in rows or not controls:
        return None
    right = rows["exp1"].right
    found = [difference(right.mean(0), rows[name].right.mean(0), over="images") for name in controls]
    corrected = holm([one.p for one in found])
    lines: list[list[Any]] = []
    for name, images, p in zip(controls, found, map(float, corrected), strict=True):
        ahead = right.mean(1) - rows[name].right.mean(1)
        seeds = by_seeds(right, rows[name].right) if len(ahead) > 1 else "-"
        lines.append([name, ", ".join(f"{100 * one:+.2f}" for one in ahead), images, p, seeds])
    columns = [Column("control"), Column("EXP-1 − control, by seed", unit="%"), percent("images", 2)]
    columns += [Column("p (images), after Holm", digits=4), percent("seeds", 2)]
    note = "Over images, of the mean of the seeds: of these networks, not of other seeds. Over seeds: of the recipe."
    return Table("What the teacher of EXP-1 brings beyond its controls", columns, lines, note)


def by_seeds(one: np.ndarray, other: np.ndarray) -> Difference:
    return difference(one.mean(1), other.mean(1), noise=image_noise(one, other))


def section(tables: str, command: str) -> str:
    """Give what is appended to the results: the tables with their command, machine and date."""
    machine = environment()
    where = f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}"
    head = f"## The matrix of {datetime.now(UTC):%Y-%m-%d %H:%M}\n\n{where}; git {str(machine['git'])[:12]}.\n"
    return f"\n{head}\n```\n{command}\n```\n\n{tables}"


def rows_of(text: str) -> list[str]:
    """Read ``control,exp1``."""
    names = text.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row {unknown[0]}; there are {', '.join(ROWS)}")
    return names


def seeds_of(text: str) -> list[int]:
    """Read ``0,1,2``."""
    return [int(part) for part in text.split(",")]


def lanes_of(wanted: int | None, common: list[str]) -> int:
    """Give how many runs to train at a time: as asked, else one where a GPU trains, and one a core elsewhere."""
    alone = torch.cuda.is_available() and "trainer=cpu" not in common
    return parallel.lanes(wanted or (1 if alone else None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs and of the table")
    counted = "of training, for all runs together; teachers, self copies and validation are not counted"
    parser.add_argument("--hours", type=float, default=2.0, help=counted)
    parser.add_argument("--epochs", type=int, default=None, help="instead of --hours")
    parser.add_argument("--rows", type=rows_of, default=list(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--seeds", type=seeds_of, default=[0, 1, 2])
    parser.add_argument("--weights", type=Path, default=None, help="folder of the teachers' weights")
    parser.add_argument("--ssl-epochs", type=int, default=None, help="of teachers without labels; their recipe's 100")
    parser.add_argument("--lanes", type=int, default=None, help="runs side by side, one thread each; one on a GPU")
    parser.add_argument("--trial", type=int, default=30, help="batches of the trial of each row")
    parser.add_argument("--append", type=Path, default=None, help="a Markdown file that gets the table")
    parser.add_argument("--table-only", action="store_true", help="train nothing; leave out what is not done")
    args, common = parser.parse_known_args()
    if wrong := [one for one in common if "=" not in one]:
        parser.error(f"not an override of train.py (KEY=VALUE): {' '.join(wrong)}")
    folder: Path = args.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sys.argv[0] = str(ROOT / "train.py")
    cli.register()
    side_by_side = lanes_of(args.lanes, common)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        plan = Planner(folder, args.weights.absolute() if args.weights else None, common, args.ssl_epochs)
        args.rows = plan.rows(args.rows)
        epochs = args.epochs or epochs_allowed(plan, args, side_by_side)
        wanted = {name: [plan.run(name, seed, epochs) for seed in args.seeds] for name in args.rows}
        if not args.table_only:
            train([run for seed in zip(*wanted.values(), strict=True) for run in seed], side_by_side)
        done = {name: seen(row) for name, row in wanted.items() if all(run.done for run in row)}
    if not done:
        raise SystemExit("no row is done: leave out --table-only")
    made = table(done, plan, epochs, args.seeds)
    tables = "\n".join(one.markdown() for one in (made, isolated(done)) if one is not None)
    (folder / "table.md").write_text(tables)
    (folder / "table.csv").write_text(made.csv())
    print(tables, file=sys.stderr)
    if args.append:
        with args.append.open("a") as file:
            file.write(section(tables, f"python benchmarks/reproduce.py {' '.join(sys.argv[1:])}"))
    print(json.dumps({"benchmark": "reproduce", "rows": list(done), "epochs": epochs, "environment": environment()}))


if __name__ == "__main__":
    main()
