"""The tasks of ``analyze.py``: networks in, tables, Results and figures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from kdbias.batch import Batch
from kdbias.build import build
from kdbias.checkpoint import load_student
from kdbias.config import ConfigError
from kdbias.data.augment import Augment
from kdbias.data.base import PictureData
from kdbias.features import Extractor
from kdbias.modules.trainer import choose_precision
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.base import Result
from kdbias.report import attention as attention_figures
from kdbias.report import cka as cka_figures
from kdbias.report.style import save
from kdbias.report.table import Column, Table, percent
from kdbias.spec import plain
from kdbias.stats import accuracy, difference
from kdbias.teachers import teacher_from_weights


@dataclass(frozen=True)
class Subject:
    """One network to look at, the data that it is looked at with, and the name that tables give it."""

    name: str
    network: Extractor
    data: PictureData

    def batches(self, cfg: DictConfig) -> Iterator[Batch]:
        """Give the pictures that ``split`` and ``pictures`` of the config name."""
        return self.data.batches(cfg.split, device=device_of(self.network), limit=cfg.pictures)


def run(cfg: DictConfig) -> None:
    """Do the task that the config names.

    Raises:
        ConfigError: there is no such task, or nothing to look at.
    """
    if cfg.task not in TASKS:
        raise ConfigError(f"task: no task {cfg.task!r}; there are {', '.join(sorted(TASKS))}")
    TASKS[cfg.task](cfg)


def evaluate(cfg: DictConfig) -> None:
    """Print accuracy with its interval, each network against the first on the same pictures; save what was right."""
    folder = Path(cfg.out)
    probe = AccuracyProbe(precision=probe_precision(cfg))
    rows: list[list[Any]] = []
    first: Result | None = None
    for subject in subjects(cfg):
        result = probe(subject.network, track(list(subject.batches(cfg)), description=subject.name, transient=True))
        result.save(folder / safe(subject.name))
        right = result.arrays["right"]
        same = first is not None and len(first.arrays["right"]) == len(right)
        against = difference(right, first.arrays["right"]) if first is not None and same else "-"
        first = first or result
        scalars = result.scalars
        rows.append([subject.name, accuracy(right), scalars["loss"], scalars["ece"], len(right), against])
    columns = [
        Column("network"),
        percent("accuracy", 2),
        Column("loss", unit="nats"),
        Column("calibration error"),
        Column("pictures"),
        percent("difference to the first", 2),
    ]
    table = Table(f"Accuracy on {cfg.split}", columns, rows, "Intervals: 95 %, over pictures; seeds are not in them.")
    (folder / "evaluate.md").write_text(table.markdown())
    Console().print(table.rich())
    print(folder / "evaluate.md")


def probe(cfg: DictConfig) -> None:
    """Run every selected probe on every network; save Results, draw one figure a probe, print scalars."""
    folder = Path(cfg.out)
    found = subjects(cfg)
    for name, node in plain(cfg.probe).items():
        results: dict[str, Result] = {}
        for subject in track(found, description=name, transient=True):
            if name == "attention" and subject.network.info.family == "cnn":
                print(f"attention distance is not defined for {subject.name}, a CNN: left out")
                continue
            function = build(node, source=subject.data.source) if name == "cues" else build(node)
            results[subject.name] = function(subject.network.reading(layers="all"), subject.batches(cfg))
            results[subject.name].save(folder / safe(subject.name))
        Console().print(scalar_table(name, results).rich())
        for label, figure in draw(name, results).items():
            save(figure, folder / f"{label}.svg")
            print(save(figure, folder / f"{label}.png"))


def scalar_table(name: str, results: dict[str, Result]) -> Table:
    """Give the scalars of one probe, a row each, a column for each network."""
    keys = sorted({key for result in results.values() for key in result.scalars})
    rows = [[key, *(result.scalars.get(key, "-") for result in results.values())] for key in keys]
    return Table(name, [Column("measure"), *(Column(label) for label in results)], rows)


def draw(name: str, results: dict[str, Result]) -> dict[str, Figure]:
    """Give the figures of one probe by file name; none for a probe that only has scalars."""
    if name == "attention" and results:
        return {"attention": attention_figures.distance_by_layer(results)}
    if name == "cka":
        return {f"cka-{safe(label)}": cka_figures.heat_map(result, name=label) for label, result in results.items()}
    return {}


def subjects(cfg: DictConfig) -> list[Subject]:
    """Give the networks that ``runs`` and ``teacher`` name.

    Raises:
        ConfigError: none is named, or the data of one is not known.
    """
    device = "cuda" if cfg.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    found = [run_subject(cfg, Path(str(path)), device) for path in cfg.runs]
    if cfg.teacher.get("name") is not None:
        found.append(named_subject(cfg, device))
    if not found:
        raise ConfigError("nothing to look at: give runs=[RUN_DIR,...], or teacher=NAME teacher.weights=PATH data=...")
    return found


def run_subject(cfg: DictConfig, path: Path, device: str) -> Subject:
    """Load a run folder (its best checkpoint) or a checkpoint file, with the data that it was trained on."""
    checkpoint = path if path.is_file() else path / "checkpoints" / "best.ckpt"
    folder = checkpoint.parent.parent
    if not checkpoint.is_file():
        raise ConfigError(f"runs: {checkpoint} is not there; name a run folder or a checkpoint file")
    node = cfg.get("data")
    if node is None:
        saved = folder / "config.yaml"
        if not saved.is_file():
            raise ConfigError(f"runs: no config.yaml in {folder} tells the data of {checkpoint.name}; add data=NAME")
        node = OmegaConf.load(saved).data
    name = folder.name if path.is_dir() else f"{folder.name}/{checkpoint.stem}"
    return Subject(name, load_student(checkpoint).to(device), picture_data(cfg, node))


def named_subject(cfg: DictConfig, device: str) -> Subject:
    """Load a network by the name of a teacher config with a weights file."""
    if cfg.get("data") is None:
        raise ConfigError(f"teacher={cfg.teacher.name} needs data=NAME: the pictures to evaluate it on")
    if cfg.teacher.weights is None:
        raise ConfigError(f"teacher={cfg.teacher.name} needs teacher.weights=PATH: a checkpoint or safetensors file")
    data = picture_data(cfg, cfg.data)
    teacher = teacher_from_weights(plain(cfg.teacher.model), data.info, cfg.teacher.weights, cfg.teacher.name)
    return Subject(cfg.teacher.name, teacher.extractor.to(device), data)


def picture_data(cfg: DictConfig, node: Any) -> PictureData:
    """Build the data of a config node, without augmentation, downloaded where it is missing."""
    size = cfg.eval_batch_size
    data = PictureData(build(plain(node)), Augment(), batch_size=size, eval_batch_size=size, seed=cfg.seed)
    data.prepare_data()
    return data


def probe_precision(cfg: DictConfig) -> Any:
    """Give fp32 unless the config asks for bf16: a reported accuracy is an fp32 one."""
    asked = cfg.trainer.precision
    return "bf16" if asked != "auto" and "bf16" in choose_precision(asked, cfg.trainer.accelerator) else "fp32"


def device_of(network: torch.nn.Module) -> torch.device:
    """The device of a network's parameters."""
    return next(network.parameters()).device


def safe(name: str) -> str:
    """Give a name that is one folder."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def demo(cfg: DictConfig) -> None:
    """Run the demo: teacher, control, student on the embedded data, then the page."""
    from kdbias.demo import demo as run_demo

    run_demo(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {"evaluate": evaluate, "probe": probe, "demo": demo}
