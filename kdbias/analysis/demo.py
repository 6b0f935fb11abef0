"""``python analyze.py task=demo``: trains teacher, controls and students on the embedded images; writes a page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from rich.console import Console

from kdbias.callbacks.summary import duration
from kdbias.config.build import build
from kdbias.config.spec import Tree, plain
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.files import write_json, write_text
from kdbias.models.checkpoint import load_student
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Result
from kdbias.probes.cues import CueProbe
from kdbias.report.curves import read_metrics
from kdbias.report.demo import demo_page
from kdbias.report.demo_figures import demo_figure, demo_panels
from kdbias.report.demo_results import DemoNetwork, DemoResults
from kdbias.report.demo_tables import gain_table, index_table, networks_table
from kdbias.report.demo_words import lead
from kdbias.report.page import Code
from kdbias.report.style import save
from kdbias.runs import ordered, parallel, run_folder
from kdbias.runs.board import Board, board
from kdbias.runs.parallel import Run, planned
from kdbias.runs.sweep import quoted
from kdbias.runs.teacher_recipe import recipe, training_images

# The networks are small: one CPU thread each is the fastest way, and fp32 gives the same result on every CPU.
TRAINER = ("trainer=cpu", "trainer.precision=32-true", "trainer.log_every=10")
EXAMPLES = 6  # cue-conflict images on the page


@dataclass(frozen=True)
class DemoRuns:
    """The runs of the demo, and the config of its first student."""

    teacher: Run
    control: list[Run]
    student: list[Run]
    tree: Tree

    @property
    def order(self) -> list[Run]:
        """Students and controls in turn."""
        return [run for pair in zip(self.student, self.control, strict=True) for run in pair]

    @property
    def all(self) -> list[Run]:
        """All runs, the teacher first."""
        return [self.teacher, *self.order]


def demo(tree: Tree) -> None:
    """Train the networks that are missing, measure all of them and write the page; its path is printed last.

    Everything goes to ``<paths.runs>/demo``, except the teacher, which goes to the folder of all teachers.

    Raises:
        SystemExit: a run failed; the message names it.
    """
    study = tree.get("study") or plain(compose("analyze", ["study=demo", "study.seeds=[0]"]).study)
    root = Path(tree["paths"]["runs"]).absolute()
    folder = root / "demo"
    plan = plan_runs(study, root, folder)
    began = time.monotonic()
    measuring = 2 * len(plan.all)  # cues of each network; attention of all but the teacher, and of the untrained one
    with run_folder.alone(folder), board("demo", sum(run.epochs for run in plan.all) + measuring) as shown:
        needs = dict.fromkeys(plan.student, plan.teacher)
        failed = ordered.train(plan.all, needs, lanes=parallel.lanes(study["lanes"]), board=shown)
        if failed:
            run, reason = next(iter(failed.items()))
            text = f"{run.label} failed: {reason}\nits log is {run.log}"
            raise SystemExit(f"the demo stopped: {text}\nThe same command goes on from here.")
        measured = measure(plan, study, shown, folder)
        path = write(measured, folder)
    Console().print(f"\n{lead(measured)}\n", highlight=False, markup=False)
    print(f"{duration(time.monotonic() - began)}; the page, with its figures and tables beside it:\n{path}")


def plan_runs(study: Tree, root: Path, folder: Path) -> DemoRuns:
    """Compose all runs."""
    common = [*TRAINER, f"paths.runs={quoted(str(root))}", *study["overrides"]]

    def run(label: str, experiment: str, seed: int) -> tuple[Run, Tree]:
        return planned(f"{label}, seed {seed}", [f"experiment={experiment}", f"seed={seed}", *common], folder / "runs")

    student = [run("student", "demo_kl", seed) for seed in study["seeds"]]
    control = [run("control", "demo_control", seed)[0] for seed in study["seeds"]]
    tree = student[0][1]
    images = training_images(tree["data"]) or 1
    found = recipe(tree, root / "teachers", "train")
    teacher = Run("teacher", tuple(found.overrides), found.folder, found.key, found.epochs, found.images)
    control, students = ([replace(one, images=images) for one in runs] for runs in (control, [s for s, _ in student]))
    return DemoRuns(teacher, control, students, tree)


def measure(plan: DemoRuns, study: Tree, shown: Board, folder: Path) -> DemoResults:
    """Probe all networks on the student's images, and save the Results under ``folder/results``."""
    source = build(plan.tree["data"], group="data")
    data = ImageData(source, Augment(), batch_size=100, eval_batch_size=250)
    cues, attention = CueProbe(source, images=study["conflict_images"]), AttentionProbe()
    vits = len(plan.order) + 1

    def attend(network: Any, done: int) -> Result:
        result = attention(network, data.batches("test", limit=study["attention_images"]))
        shown.show("attention", done, vits)
        return result

    torch.manual_seed(int(plan.tree["seed"]))
    untrained = attend(build(plan.tree["model"], data.info, group="model"), 1)
    untrained.save(folder / "results" / "untrained")
    networks: dict[str, DemoNetwork] = {}
    for place, run in enumerate(plan.all):
        network = load_student(run.folder / run_folder.BEST)
        conflict = cues(network)
        shown.show("cue conflict", place + 1, len(plan.all))
        looked = attend(network, place + 1) if place else None
        tested = Result.load(run.folder / "probes", "test")  # made at the end of the run, the only time it is read
        for result in (conflict, tested, *([looked] if looked else [])):
            result.save(folder / "results" / run.label.replace(", ", "-").replace(" ", "-"))
        networks[run.label] = DemoNetwork(tested, conflict, read_metrics(run.folder / "metrics.csv"), looked)

    def of(chosen: Sequence[Run]) -> list[DemoNetwork]:
        return [networks[run.label] for run in chosen]

    names = [name.split(", ") for name in data.info.names]
    return DemoResults(
        networks["teacher"],
        of(plan.control),
        of(plan.student),
        untrained,
        describe(plan, study),
        shown=source.variant("conflict", EXAMPLES).image.permute(0, 2, 3, 1).numpy(),
        shapes=[shape for shape, _ in names],
        textures=[texture for _, texture in names],
    )


def describe(plan: DemoRuns, study: Tree) -> list[str | Code]:
    """Say how the networks were trained, on which images and on which hardware."""
    results = {run.label: json.loads((run.folder / run_folder.RESULT).read_text()) for run in plan.all}
    teacher, student = results["teacher"], results[plan.student[0].label]
    count = student["spec"]["data"]["train"]
    reliable, temperature = build(plan.tree["data"], group="data"), plan.tree["loss"]["kl"]["temperature"]
    machine = student["environment"]
    seconds = sum(result["seconds"] for result in results.values())
    return [
        f"Images are made on the spot: ten classes, each a shape and a texture, {reliable.size} px, {count:,} to train "
        f"on. In training, the shape is right in {100 * reliable.shape_reliability:.0f} % of the images and the "
        f"texture in {100 * reliable.texture_reliability:.0f} %, otherwise drawn at random; the teacher alone is "
        "trained where the shape is always right and the texture always random, so its preference is known.",
        f"Teacher: a CNN of {teacher['parameters']:,} parameters, {teacher['epochs']} epochs. Student and control: a "
        f"vision transformer of {student['parameters']:,} parameters, {student['epochs']} epochs, by the same recipe; "
        "the control learns the labels, the student only the teacher's logits (KL divergence, temperature "
        f"{temperature:g}). Of each run the epoch that was best on its validation split is measured.",
        f"The {len(results)} trainings took {duration(seconds)} together, several at a time, on {machine['cpu']}, "
        f"{machine['cores']} cores, torch {machine['torch']}, fp32.",
        Code("\n".join(["python analyze.py task=demo", *(f"# {run.label}: {run.folder}" for run in plan.all)])),
    ]


def write(measured: DemoResults, folder: Path) -> Path:
    """Write the page with its figures and tables, and give the path of the page."""
    panels = demo_panels(measured)
    figures = {"cues": demo_figure(measured), **{name: panel.figure for name, panel in panels.items()}}
    for name, figure in figures.items():
        save(figure, folder / "figures" / f"{name}.svg")
        save(figure, folder / "figures" / f"{name}.png")
    tables = {"networks": networks_table, "index": index_table, "gain": gain_table}
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table(measured).csv())
    markdown = "\n".join([lead(measured) + "\n", *(table(measured).markdown() for table in tables.values())])
    write_text(folder / "demo.md", markdown)
    found = measured.index
    summary = {"lead": lead(measured), "transfer_index": found.value, "shown": found.shown}
    summary |= {"accuracy_difference": measured.gain("test").value}
    write_json(folder / "demo.json", summary)
    path = folder / "demo.html"
    write_text(path, demo_page(measured, panels))
    return path
