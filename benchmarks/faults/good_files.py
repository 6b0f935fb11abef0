"""A good file of every kind that the package reads, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file


@dataclass(frozen=True)
class Reader:
    """A kind of file: how a good one is made under a folder (its path is given), and how it is read."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    least: int = 30


def readers() -> list[Reader]:
    """Give every kind of file that the package reads."""
    from kdbias.analysis import results
    from kdbias.config.spec import plain
    from kdbias.data.image_file import FORMATS, open_image
    from kdbias.models.checkpoint import Checkpoint, load_student
    from kdbias.models.weights import read_weights
    from kdbias.modules.loggers import keep_until
    from kdbias.probes.base import Result
    from kdbias.probes.cache import Cache
    from kdbias.report.curves import read_metrics
    from kdbias.runs import progress, run_folder

    def kept(path: Path) -> Any:
        keep_until(path, 3)
        return read_metrics(path)

    def cached(path: Path) -> Any:
        return Cache(path.parent.parent).load("key", "result")

    def table(path: Path) -> Path:
        path = path / "metrics.csv"
        path.write_text("step,epoch,train/loss\n" + "".join(f"{step},{step // 2},{step / 7}\n" for step in range(8)))
        return path

    images = [Reader(f"image, {kind}", _image(kind), lambda path: np.asarray(open_image(path)), 25) for kind in FORMATS]
    return [
        Reader("config.yaml", _config, lambda path: plain(run_folder.saved_config(path.parent)), 80),
        Reader("result.json", _result, lambda path: run_folder.result(path.parent, "0123456789abcdef"), 60),
        Reader("result.json, stopped", _result, lambda path: run_folder.stopped(path.parent, "0123456789abcdef"), 60),
        Reader("progress.json", _progress, lambda path: progress.read(path.parent), 25),
        Reader("metrics.csv", table, kept, 40),
        Reader("networks.json", _networks, lambda path: [_about(one) for one in results.load(path.parent)], 40),
        Reader("a probe's .json", _measured(".json"), lambda path: Result.load(path.parent, "result"), 40),
        Reader("a probe's .npz", _measured(".npz"), lambda path: Result.load(path.parent, "result").arrays, 40),
        Reader("a cached .json", _measured(".json"), cached, 40),
        Reader("a cached .npz", _measured(".npz"), cached, 40),
        Reader("checkpoint", checkpoint, lambda path: Checkpoint(path).student().state_dict(), 60),
        Reader("exported network.json", _exported, lambda path: load_student(path.parent).state_dict(), 60),
        Reader("safetensors", _tensors, lambda path: read_weights(path, "weights"), 40),
        *images,
    ]


def _about(one: Any) -> Any:
    return [one.name, one.label, one.role, dict(one.about), sorted(one.results)]


def _config(folder: Path) -> Path:
    from configs import BASES, composed
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    tree = composed(BASES[0])
    tree |= {"hydra": None, "paths": {"run": "x"}, "module": tree["module"]}
    del tree["hydra"]
    resolved: Any = OmegaConf.to_container(OmegaConf.create(tree), resolve=False)
    path.write_text(
        "\n".join(line for line in OmegaConf.to_yaml(OmegaConf.create(resolved)).splitlines() if "$" not in line)
    )
    return path


def _result(folder: Path) -> Path:
    path = folder / "result.json"
    key = "0123456789abcdef"
    test = {"accuracy": 0.5, "loss": 1.2}
    spec = {"hash": key, "data": {"train": 9}}
    tree = {"name": "a", "objective": 0.5, "test": test, "spec_hash": key, "spec": spec, "stopped": "collapse"}
    path.write_text(json.dumps({**tree, "epochs": 3, "best_epoch": None, "refused": {}}))
    return path


def _progress(folder: Path) -> Path:
    from kdbias.runs.progress import PROGRESS, Progress

    Progress(2, 5, 0.25).write(folder)
    return folder / PROGRESS


def _networks(folder: Path) -> Path:
    from kdbias.analysis import results
    from kdbias.probes.base import Result

    one = results.Measured("a", "A", "network", {"seed": 0, "split": "test"}, {"p": Result("p", {"x": 1.0})})
    one.results["p"].save(folder / one.folder)
    results.save([one], folder)
    return folder / results.INDEX


def _measured(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from kdbias.probes.base import Result

        arrays = {"map": np.random.default_rng(0).random((8, 8)), "layers": np.array(["a", "b"])}
        meta = {"n": 40, "layers": ["a", "b"]}
        return (
            Result("result", {"distance": 0.5, "gap": float("inf")}, arrays, meta)
            .save(folder / "key")
            .with_suffix(suffix)
        )

    return make


def checkpoint(folder: Path) -> Path:
    """Save a checkpoint with a description and a small network."""
    from kdbias.batch import DataInfo
    from kdbias.models.resnet_cifar import small_cnn

    info = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.25,) * 3)
    model = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [2, 4, 4]}
    torch.manual_seed(0)
    state = {f"student.{k}": v for k, v in small_cnn(info, widths=(2, 4, 4)).state_dict().items()}
    path = folder / "best.ckpt"
    torch.save({"hyper_parameters": {"spec": {"model": model, "data": info.to_dict()}}, "state_dict": state}, path)
    return path


def _exported(folder: Path) -> Path:
    """Export the network of ``checkpoint``; the description is what is changed."""
    from kdbias.analysis.export_formats import as_safetensors
    from kdbias.models.checkpoint import Checkpoint
    from kdbias.zoo.exported import DESCRIPTION

    own = Checkpoint(checkpoint(folder))
    facts = {"name": "a", "epoch": 1, "global_step": 9, "teacher": None, "data": None, "spec": own.spec}
    as_safetensors(own.student(), facts, folder, torch.rand(1, 3, 32, 32))
    return folder / DESCRIPTION


def _tensors(folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.ones(20)}, path)
    return path


def _image(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"image.{kind.lower()}"
        values = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
        Image.fromarray(values).save(path, kind)
        return path

    return make
