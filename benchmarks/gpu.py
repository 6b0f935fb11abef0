"""Epochs of whole experiments on a GPU: seconds, their floor, the time outside kernels, and waits for the device.

    python benchmarks/gpu.py --data data
    python benchmarks/gpu.py --data data --only exp1 exp3_224 --compile --trace traces
    python benchmarks/gpu.py --tiny                                      # whether it runs, on a CPU, in seconds

Each setting is composed by Hydra from its experiment and trained by the package's own Trainer on all 50,000 images,
without validation; networks have random weights. EMA and the metrics of a run are on; probes and checkpoints are off.
``seconds`` is the median epoch after ``--warm`` ones, with the smallest and largest, from the first batch to the last
kernel. One more epoch is not timed: some of its steps are traced, as many are watched for calls that wait for the
device. Prints one JSON line for each setting:

``floor``: the larger of FLOPs of an epoch (student forward and backward, teacher forward, terms) over 790 TFLOP/s and
bytes over 4.3 TB/s. Bytes are the least that must move: nine passes over the student's fp32 weights (read; gradient
written; the optimiser reads both and two moments, and writes three), one over the teacher's, and the batch as uint8
and float. Activations are left out. ``outside``: the part between the first and the last traced kernel in which none
runs. ``waits`` are host synchronisations a step, with their places, as ``torch.cuda.set_sync_debug_mode`` sees them;
none is known on a CPU, where operations stand for kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from images import now
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from trace_share import Shares, shares

from kdbias import cli
from kdbias.batch import Batch, DataInfo
from kdbias.config.build import build
from kdbias.config.spec import plain, spec_hash
from kdbias.models.attention_path import unfused
from kdbias.modules.distill import Distill
from kdbias.modules.quiet import quiet
from kdbias.runs.memory import peak_memory
from kdbias.runs.result import environment
from kdbias.train import build_data, build_teacher, build_trainer, module_spec

FLOPS, BYTES = 790e12, 4.3e12  # of an H200 in a second: dense bf16, and its memory
PASSES, IMAGES = 9, 4  # over the weights in a step; images from which FLOPs are counted
WAIT = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class Setting:
    """An experiment as words of a command, those that make it tiny, and the seconds of an epoch that it aims at."""

    words: tuple[str, ...]
    tiny: tuple[str, ...]
    aim: float


SMALL_VIT = ("model=vit", "model.width=24", "model.heads=3", "model.patch=8", "model.depth=12")
DINO = ("experiment=exp3_dino", "teacher.pretrained=false")
SETTINGS = {
    "baseline": Setting(("experiment=baseline",), SMALL_VIT, 1.0),
    "exp1": Setting(("experiment=exp1_kl", "teacher.recipe=null"), (*SMALL_VIT, "model.distilled=true"), 1.5),
    "exp3_224": Setting((*DINO, "teacher.size=224"), (*SMALL_VIT, "teacher.size=42"), 3.0),
    "exp3_112": Setting((*DINO, "teacher.size=112"), (*SMALL_VIT, "teacher.size=28"), 1.8),
    "resnet18": Setting(("experiment=baseline", "model=resnet18"), ("model=small_cnn",), 1.5),
}
COMMON = ("data.val=0", "objective=null", "callback=[ema,throughput,progress]", "callback.ema.begin=0", "logger=[csv]")
TINY = ("data=cues", "data.train=48", "data.val=0", "data.test=8", "batch_size=16", "trainer=cpu")


def words(name: str, args: argparse.Namespace, run: Path) -> list[str]:
    """Give the words of a setting's command, one epoch more than are warmed up and timed."""
    setting = SETTINGS[name]
    found = [*setting.words, *COMMON, f"epochs={args.warm + args.epochs + 1}", f"paths.run={run}"]
    found += [
        "trainer.limit_val_batches=0",
        f"trainer.precision={args.precision}",
        f"compile={str(args.compile).lower()}",
    ]
    if args.tiny:
        return [*found, *setting.tiny, *TINY, *args.words]
    return [*found, "trainer=gpu", f"data.root={args.data}", "data.download=false", *args.words]


class Watch(L.Callback):
    """Times epochs after ``warm`` ones; in the last epoch traces ``steps`` steps, then notes waits in as many."""

    def __init__(self, warm: int, steps: int, trace: Path) -> None:
        self.warm, self.steps, self.trace = warm, steps, trace
        self.seconds: list[float] = []
        self.waits: Counter[str] = Counter()
        self.shares: Shares | None = None
        self._began = 0.0
        self._profile: profile | None = None
        self._caught: warnings.catch_warnings[Any] | None = None
        self._seen: list[Any] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._began = now(pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Begin the trace, and after it the watch for waits."""
        if not self._last(trainer):
            return
        gpu = pl_module.device.type == "cuda"
        if batch_idx == 1:
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
            now(pl_module.device)
            self._profile = profile(activities=kinds)
            self._profile.__enter__()
        if batch_idx == 1 + self.steps and gpu:
            self._caught = warnings.catch_warnings(record=True)
            self._seen = self._caught.__enter__() or []
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """End the trace, or the watch."""
        if not self._last(trainer):
            return
        if batch_idx == self.steps and self._profile is not None:
            now(pl_module.device)
            self._profile.__exit__(None, None, None)
            self._profile.export_chrome_trace(str(self.trace))
            self.shares = shares(json.loads(self.trace.read_text(encoding="utf-8")))
        if batch_idx == 2 * self.steps and self._caught is not None:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)
            found = [each for each in self._seen if WAIT in str(each.message)]
            self.waits.update(f"{Path(each.filename).name}:{each.lineno}" for each in found)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the seconds of a timed epoch."""
        if trainer.current_epoch >= self.warm and not self._last(trainer):
            self.seconds.append(now(pl_module.device) - self._began)

    def _last(self, trainer: L.Trainer) -> bool:
        return trainer.current_epoch + 1 == trainer.max_epochs


def flops(module: Distill, info: DataInfo) -> float:
    """Count the FLOPs of one image in a step: student forward and backward, teacher forward, all terms.

    Attention is counted by its products: not every version of torch knows the FLOPs of a CPU's fused kernel.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(IMAGES, info.channels, info.size, info.size, generator=generator)
    module.student.train()
    batch = Batch(image, torch.arange(IMAGES) % info.classes, torch.arange(IMAGES), image)
    read = module.teacher.extractor if module.teacher is not None else module.student
    with FlopCounterMode(display=False) as counter, unfused(read):
        teacher = module.teacher.answer(batch, 0) if module.teacher is not None else None
        loss, _ = module.total(module.student(image), teacher, batch, 1.0)
        loss.backward()
    module.zero_grad(set_to_none=True)
    return counter.get_total_flops() / IMAGES


def bytes_of_step(module: Distill, info: DataInfo, images: int) -> float:
    """Give the least number of bytes that a step moves."""
    own = 4 * sum(p.numel() for p in module.parameters() if p.requires_grad)
    theirs = 4 * sum(p.numel() for p in module.teacher.extractor.parameters()) if module.teacher is not None else 0
    pixels = images * info.channels * info.size**2
    return float(PASSES * own + theirs + pixels * (1 + 4 + 4))


def measured(name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train a setting; give its line."""
    run = folder / name
    tree = plain(compose("train", words(name, args, run)))
    run.mkdir()
    L.seed_everything(tree["seed"], workers=True, verbose=False)
    data = build_data(tree)
    data.prepare_data()
    teacher = build_teacher(tree, data)
    spec = module_spec(tree, data.info, spec_hash(tree), None)
    module: Distill = build(spec["module"], spec, teacher, group="module")
    per_image, size = flops(module, data.info), int(tree["batch_size"])
    moved = bytes_of_step(module, data.info, size)
    trainer = build_trainer(tree, run)
    steps = data.count("train") // size
    watch = Watch(args.warm, max(1, min(args.steps, (steps - 1) // 2)), args.trace / f"{name}.json")
    trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainer.fit(module, datamodule=data)
    ordered = sorted(watch.seconds)
    median = ordered[len(ordered) // 2]
    floor = steps * max(per_image * size / FLOPS, moved / BYTES)
    found = watch.shares
    return {
        "benchmark": "gpu",
        "setting": name,
        "aim": SETTINGS[name].aim,
        "seconds": [round(value, 4) for value in (median, ordered[0], ordered[-1])],
        "images_per_second": round(steps * size / median),
        "floor": floor,
        "over_floor": round(median / floor, 1),
        "gflops_per_image": round(per_image / 1e9, 4),
        "megabytes_per_step": round(moved / 1e6, 1),
        "outside": round(found.outside, 4) if found else None,
        "kernels_per_step": round(found.count / watch.steps) if found else None,
        "longest": found.longest(watch.steps) if found else None,
        "waits": round(sum(watch.waits.values()) / watch.steps, 2) if device.type == "cuda" else None,
        "wait_places": dict(watch.waits),
        "peak_memory": peak_memory(device),
        "precision": str(trainer.precision),
        "compile": args.compile,
        "batch": size,
        "steps": steps,
        "environment": environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--data", default=os.environ.get("KDBIAS_DATA", "data"), help="holds cifar-10-batches-py")
    parser.add_argument("--warm", type=int, default=2, help="epochs before the timed ones")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs")
    parser.add_argument("--steps", type=int, default=20, help="traced steps, and watched ones")
    parser.add_argument("--compile", action="store_true", help="compile student and teacher")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16-mixed", "32-true"])
    parser.add_argument("--trace", type=Path, help="folder of the traces, for chrome://tracing; default: not kept")
    parser.add_argument("--words", nargs="*", default=[], help="more words of the command, as batch_size=1024")
    parser.add_argument("--tiny", action="store_true", help="narrow networks and 48 images, on the CPU")
    args = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore", message="teacher .* has random weights")
    cli.register()
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        args.trace = args.trace or Path(folder)
        args.trace.mkdir(parents=True, exist_ok=True)
        for name in args.only:
            with redirect_stdout(sys.stderr):
                line = measured(name, args, Path(folder))
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
