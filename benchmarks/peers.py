"""Steps and batches of other codebases beside this package's, on the same network, batch and augmentation.

    python benchmarks/peers.py --repdistiller FOLDER --mdistiller FOLDER --lightly PYTHON
    python benchmarks/peers.py --quick

``kd``: cross-entropy and KL from one teacher. ``kdbias`` is ``Distill`` under the Trainer in fp32, ``kdbias auto`` the
same in the precision that a run takes; ``timm`` its ``LogitDistillationTask`` in the loop of its ``train.py``;
``RepDistiller`` its ``train_distill``; ``mdistiller`` its trainer's ``train_iter``; ``lightly-train`` its
``Distillation`` under its Trainer, with its own loss (a queue of features, no labels). ``crd``: cross-entropy and CRD
with the draw of negatives, which the two others make in their data set, image by image; ``RepDistiller step`` is
without. ``data``: the resident loader beside torchvision's transforms in worker processes. Peers have the same first
weights, SGD and images, already in memory; their loaders normalise the images, here within the step.

The ways take turns in every round. Milliseconds are CPU time of a step on one thread, and microseconds that of an image
with the workers' (median, smallest, largest); ``over_kdbias`` is the ratio of each round; ``loss_difference`` the
largest between the mean losses over all steps, where the loss is the same. A codebase without a checkout
(``git clone`` of HobbitLong/RepDistiller and megvii-research/mdistiller; or KDBIAS_REPDISTILLER and KDBIAS_MDISTILLER)
is left out with a line, and so is lightly-train without an interpreter that can import it and what this package needs
(--lightly or KDBIAS_LIGHTLY). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stdout
from copy import deepcopy
from typing import Any

import lightning as L
import torch
from data import ours, timed, torchvision
from images import INFO
from peer_lightly import Elsewhere, lightly_step, serve
from peer_steps import FEATURE, Setting, mdistiller_step, repdistiller_step, timm_step
from torch import Tensor

from kdbias.batch import Batch
from kdbias.config.build import build
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill
from kdbias.modules.trainer import choose_precision
from kdbias.runs.result import environment

ALPHA, TAU, CRD_WEIGHT = 0.5, 4.0, 0.8
NETWORKS = {
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
    "resnet20": {"_target_": "kdbias.models.resnet_cifar.resnet20"},
    "resnet18": {"_target_": "kdbias.models.resnet_cifar.resnet18"},
}


class Batches:
    """A loader of so many steps over batches made beforehand; it notes the CPU time when step ``skip`` begins."""

    def __init__(self, batches: Sequence[Batch], steps: int, skip: int) -> None:
        self.batches, self.steps, self.skip, self.began = batches, steps, skip, 0.0

    def __len__(self) -> int:
        return self.skip + self.steps

    def __iter__(self) -> Iterable[Batch]:
        for step in range(len(self)):
            if step == self.skip:
                self.began = time.process_time()
            yield self.batches[step % len(self.batches)]

    def milliseconds(self, ended: float | None = None) -> float:
        """Give those of a step."""
        return 1000 * ((time.process_time() if ended is None else ended) - self.began) / self.steps


Way = Callable[[Batches], tuple[float, float]]
"""Does the steps of a loader; gives CPU milliseconds of a step and the mean loss."""


class End(L.Callback):
    """Notes the losses, and the CPU time after each step."""

    def __init__(self) -> None:
        self.ended = 0.0
        self.losses: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Note them."""
        self.losses.append(outputs["loss"].detach())
        self.ended = time.process_time()


def spec(setting: Setting) -> dict[str, Any]:
    crd = setting.method == "crd"
    loss: dict[str, Any] = {"ce": {"_target_": "kdbias.losses.ce.CE", "label_smoothing": 0.0}}
    if crd:
        term = {"_target_": "kdbias.losses.crd.CRD", "weight": CRD_WEIGHT, "dim": FEATURE}
        loss["crd"] = term | {"negatives": setting.negatives}
    else:
        loss["ce"]["weight"] = 1 - ALPHA
        loss["kl"] = {"_target_": "kdbias.losses.kl.KL", "weight": ALPHA, "temperature": TAU}
    optimizer = {"_target_": "kdbias.modules.optim.sgd", "lr": setting.lr, "momentum": setting.momentum}
    optimizer |= {"weight_decay": setting.decay, "nesterov": False}
    return {
        "name": "benchmark",
        "model": NETWORKS[setting.student],
        "loss": loss,
        "optim": {"optimizer": optimizer, "schedule": None, "clip": None},
        "teacher": {"name": setting.teacher},
        "data": (setting.info).to_dict(),
        "seed": 0,
        "channels_last": True,
    }


def kdbias_step(setting: Setting, loader: Batches, precision: str) -> tuple[float, float]:
    """Give CPU milliseconds of a step and the mean loss."""
    module = Distill(spec(setting), Teacher(deepcopy(setting.networks[1]), setting.teacher))
    module.student.load_state_dict(setting.networks[0].state_dict())
    module.total.take_classes(setting.classes)
    end = End()
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", precision=precision, callbacks=[end], **off)  # type: ignore[arg-type]
    trainer.fit(module, loader)  # type: ignore[arg-type]
    return loader.milliseconds(end.ended), float(torch.stack(end.losses).mean())


def made(setting: Setting, count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for number in range(count):
        image = torch.rand(setting.batch, 3, 32, 32, generator=generator)
        index = torch.arange(setting.batch) + number * setting.batch
        batches.append(Batch(image, setting.classes[index], index, image))
    return batches


def steps(setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """Time the ways of a method in turns."""
    batches = made(setting, 2)
    auto = choose_precision("auto", "cpu")
    ways: dict[str, Way] = {
        "kdbias": lambda loader: kdbias_step(setting, loader, "32-true"),
        "kdbias auto": lambda loader: kdbias_step(setting, loader, auto),
    }
    if setting.method == "kd":
        ways["timm"] = lambda loader: timm_step(setting, loader)
    for name, folder, step in (
        ("RepDistiller", args.repdistiller, repdistiller_step),
        ("mdistiller", args.mdistiller, mdistiller_step),
    ):
        if folder is None:
            print(f"{setting.method}: {name} is left out: there is no checkout, see --help", file=sys.stderr)
        else:
            ways[name] = lambda loader, step=step, folder=folder: step(setting, loader, folder)
            if setting.method == "crd" and name == "RepDistiller":
                ways[f"{name} step"] = lambda loader, step=step, folder=folder: step(setting, loader, folder, False)
    with ExitStack() as stack:
        if setting.method == "kd" and args.lightly is not None:
            elsewhere = Elsewhere([args.lightly, __file__, *sys.argv[1:], "--serve"])
            stack.callback(elsewhere.end)
            ways["lightly-train"] = lambda loader: elsewhere()
        elif setting.method == "kd":
            print("kd: lightly-train is left out: there is no interpreter, see --help", file=sys.stderr)
        spent, losses = in_turns(ways, batches, args)
    found: dict[str, Any] = {"cpu_ms": spread(spent), **ratios(spent)}
    if setting.method == "kd":  # CRD draws
        same = [losses[name] for name in ways if name not in ("kdbias auto", "lightly-train")]
        found["loss_difference"] = max(abs(loss - losses["kdbias"]) for loss in same)
    return found


def in_turns(
    ways: dict[str, Way], batches: Sequence[Batch], args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Give the milliseconds of a step of each way in every round, and its last loss."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, float] = {}
    for _ in range(args.rounds):
        for name, way in ways.items():
            with redirect_stdout(sys.stderr):
                milliseconds, losses[name] = way(Batches(batches, args.steps, 1))
            spent[name].append(milliseconds)
    return spent, losses


def batches_made(policy: str, args: argparse.Namespace) -> dict[str, Any]:
    """Time the data path in turns."""
    images = torch.randint(0, 256, (args.images, 3, 32, 32), dtype=torch.uint8)
    few, size = images[: args.images // 2], min(256, args.images // 2)
    ways = {
        "kdbias": lambda: ours(images, policy, size),
        "torchvision tensors": lambda: torchvision(few, policy, size, pil=False, workers=2),
        "torchvision PIL": lambda: torchvision(few, policy, size, pil=True, workers=2),
    }
    list(ours(images[: 2 * size], policy, size))  # tables are made once
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            spent[name].append(timed(way())["cpu_us_per_image"])
    return {"cpu_us": spread(spent), **ratios(spent)}


def spread(found: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: three(values) for name, values in found.items()}


def ratios(found: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """Give how many times the CPU time of ours each other way takes."""
    base = found["kdbias"]
    others = {name: values for name, values in found.items() if name != "kdbias"}
    return {"over_kdbias": {n: three([a / b for a, b in zip(v, base, strict=True)]) for n, v in others.items()}}


def three(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repdistiller", default=os.environ.get("KDBIAS_REPDISTILLER"), help="folder of a checkout")
    parser.add_argument("--mdistiller", default=os.environ.get("KDBIAS_MDISTILLER"), help="folder of a checkout")
    parser.add_argument("--lightly", default=os.environ.get("KDBIAS_LIGHTLY"), help="interpreter with lightly-train")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=["kd", "crd", "data"], default=["kd", "crd", "data"])
    parser.add_argument("--student", choices=sorted(NETWORKS), default="resnet20")
    parser.add_argument("--teacher", choices=sorted(NETWORKS), default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--negatives", type=int, default=16_384)
    parser.add_argument("--bank", type=int, default=50_000, help="training images, for CRD")
    parser.add_argument("--images", type=int, default=8_000, help="of the data path")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small networks, few steps: about 20 CPU seconds")
    args = parser.parse_args()
    if args.quick:
        args.student, args.teacher, args.batch, args.negatives, args.bank = "small_cnn", "resnet20", 32, 1024, 4000
        args.images, args.steps, args.rounds = 3000, 3, 3
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = tuple(build(NETWORKS[name], INFO) for name in (args.student, args.teacher))
    classes: Tensor = torch.arange(args.bank) % INFO.classes
    result: dict[str, Any] = {"benchmark": "peers", "batch": args.batch}
    settings = {
        method: Setting(method, args.student, args.teacher, networks, args.batch, args.negatives, classes)
        for method in ("kd", "crd")
    }
    if args.serve:
        batches = made(settings["kd"], 2)
        serve(lambda: lightly_step(settings["kd"], Batches(batches, args.steps, 1)))
        return
    for method, setting in settings.items():
        if method in args.only:
            result[method] = steps(setting, args)
    if "data" in args.only:
        result["data"] = {policy: batches_made(policy, args) for policy in ("none", "cifar10")}
    print(json.dumps(result | {"environment": environment()}))


if __name__ == "__main__":
    main()
