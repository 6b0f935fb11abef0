"""How cost grows: CPU time of a step against width, tokens and batch, of probes against images, of two processes.

    python benchmarks/scaling.py --figure docs/figures/scaling.png
    python benchmarks/scaling.py --quick

A step is that of EXP-3 in small: a vision transformer of four blocks learns from another of the same patch grid by
cross-entropy, tokens, CKA and relations; forward, backward, AdamW. Tokens grow with the side of the images at patches
of 4 px, from 32 px on. Probes are CKA, attention statistics and bias (stress sets, conflict and cues alone) on a
network as wide. ``memory`` is that of the same probes on a tiny network, with the images in memory already: the most
that a pass holds beyond what was there before, mapped files left out, and its growth an image with a 95 % interval; and
the bytes of CRD's banks, which hold an embedding of every training image by their method.
``exponent`` is the slope of log cost over log size, by least squares. Two processes (gloo, DDP) share one batch;
``efficiency`` is the CPU time of one process over that of both together. A value is the least of ``--rounds``, on one
thread. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from images import INFO
from scaling_memory import memory
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdbias.batch import Batch
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.deit import vit
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import build_total
from kdbias.modules.optim import adamw, param_groups
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Probe
from kdbias.probes.bias import BiasProbe
from kdbias.probes.cka import CKAProbe
from kdbias.runs.result import environment
from kdbias.stress.split import StressedSplit

DEPTH, HEADS, WIDTH, SIDE, BATCH = 4, 3, 96, 32, 16
TERMS = {
    "ce": {"_target_": "kdbias.losses.ce.CE"},
    "token": {"_target_": "kdbias.losses.token.Token"},
    "cka": {"_target_": "kdbias.losses.cka.CKA", "weight": 0.5},
    "relation": {"_target_": "kdbias.losses.relation.Relation", "weight": 0.05},
}
SETS = ("smooth", "grey", "conflict")  # of the bias probe: one of each kind, beside the cues alone
QUICK = {
    "width": [48, 96, 192],
    "side": [32, 48, 64],
    "batch": [8, 16, 32],
    "images": [64, 128, 256],
    "memory": [256, 512, 1024, 2048],
}
WHOLE = {
    "width": [48, 96, 192, 384],
    "side": [32, 64, 128, 224],
    "batch": [8, 16, 32, 64, 128],
    "images": [250, 500, 1000, 2000],
    "memory": [512, 1024, 2048, 4096, 8192],
}


class Step(nn.Module):
    """Student and terms, with a teacher and one batch."""

    def __init__(self, width: int, side: int, batch: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        info = replace(INFO, size=side)
        self.student = vit(info, width=width, depth=DEPTH, heads=HEADS)
        self.teacher = Teacher(vit(info, width=WIDTH, depth=DEPTH, heads=HEADS), "teacher")
        self.total = build_total(TERMS, self.student.info, self.teacher.info, info)
        image = torch.rand(batch, 3, side, side)
        self.batch = Batch(image, torch.arange(batch) % info.classes, torch.arange(batch), image)

    def forward(self) -> Tensor:
        """Give the loss."""
        batch = self.batch
        return self.total(self.student(batch.image), self.teacher.answer(batch, 0), batch, 0.5)[0]  # type: ignore[no-any-return]


def step_seconds(step: nn.Module, count: int) -> float:
    """Give the least CPU seconds of ``count`` steps, after one that is not counted."""
    optimizer = adamw(param_groups(step, 0.05), lr=1e-4, weight_decay=0.05)
    found = []
    for _ in range(count + 1):
        began = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        step().backward()
        optimizer.step()
        found.append(time.process_time() - began)
    return min(found[1:])


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Give the slope of log cost over log size.

    >>> exponent([1, 2, 4], [3, 12, 48])
    2.0
    """
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 2)


def along(sizes: Sequence[int], costs: Sequence[float]) -> dict[str, Any]:
    """Give the cost at every size, rounded, and the exponent."""
    found = {str(size): float(f"{cost:.4g}") for size, cost in zip(sizes, costs, strict=True)}
    return {"cpu_seconds": found, "exponent": exponent(sizes, costs)}


def probes(sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Give the time of each probe against the number of images."""
    torch.manual_seed(0)
    source = cues(train=64, val=8, test=max(sizes), preset="demo")
    data = ImageData(source, Augment(), batch_size=32, eval_batch_size=32)
    network = vit(source.info, width=WIDTH, depth=DEPTH, heads=HEADS).eval()
    bias = BiasProbe(StressedSplit(source, "test"), stress=list(SETS), strengths=(1.0,), batch_size=32)
    chosen: dict[str, Probe] = {"cka": CKAProbe(), "attention": AttentionProbe(), "bias": bias}
    found: dict[str, Any] = {}
    for name, probe in chosen.items():
        probe(network, data.batches("test", limit=min(sizes), batch_size=32))  # what is made once
        seconds = []
        for size in sizes:
            times = []
            for _ in range(rounds):
                began = time.process_time()
                probe(network, data.batches("test", limit=size, batch_size=32))
                times.append(time.process_time() - began)
            seconds.append(min(times))
        found[name] = along(sizes, seconds)
    return found


def _share(rank: int, world: int, folder: str, count: int) -> None:
    """Train a process's part of the batch, and write its CPU seconds a step."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    step: nn.Module = Step(WIDTH, SIDE, 2 * BATCH // world)
    if world > 1:
        step = DistributedDataParallel(step)
    seconds = step_seconds(step, count)
    Path(folder, f"{world}-{rank}").write_text(repr(seconds), encoding="utf-8")
    if world > 1:
        dist.destroy_process_group()


def processes(count: int) -> dict[str, float]:
    """Compare one process with two on one batch."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2):
            started = [context.Process(target=_share, args=(rank, world, folder, count)) for rank in range(world)]
            for each in started:
                each.start()
            for each in started:
                each.join()
            if any(each.exitcode for each in started):
                raise RuntimeError(f"{world} processes: one of them has failed")
        one, first, second = (float(Path(folder, name).read_text()) for name in ("1-0", "2-0", "2-1"))
    return {"one": round(one, 4), "two": round(first + second, 4), "efficiency": round(one / (first + second), 3)}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw time against each size on logarithmic axes, with the fitted lines, and the memory of the probes."""
    import matplotlib.pyplot as plt

    from kdbias.report.style import STYLE, save

    steps = {"width": "width", "tokens": "tokens of an image", "batch": "images of a batch"}
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 5, figsize=(13, 2.6), layout="constrained")
        for axis, (name, label) in zip(axes, steps.items(), strict=False):
            _times(axis, {"a step": result["step"][name]}, label)
        _times(axes[3], result["probes"], "images of a probe")
        _memory(axes[4], {name: one for name, one in result["memory"].items() if "peak_mb" in one}, "images of a probe")
        save(figure, path)
        plt.close(figure)


def _times(axis: Any, found: dict[str, Any], label: str) -> None:
    """Draw points and fitted lines; the time at the ends stands at the axis."""
    from kdbias.report.style import COLOURS, MARKERS, QUIET

    every = [cost for one in found.values() for cost in one["cpu_seconds"].values()]
    for place, (name, one) in enumerate(found.items()):
        sizes, costs = [int(size) for size in one["cpu_seconds"]], list(one["cpu_seconds"].values())
        slope, start = np.polyfit(np.log(sizes), np.log(costs), 1)
        axis.plot(sizes, [math.exp(start + slope * math.log(size)) for size in sizes], color=QUIET, linewidth=0.8)
        axis.plot(sizes, costs, MARKERS[place], color=COLOURS[place], label=f"{name}: exponent {one['exponent']}")
    axis.set_yscale("log")
    axis.set_ylim(min(every) / 1.3, max(every) * (max(every) / min(every)) ** 0.5 * 1.3)  # room for the names
    _finish(axis, sizes, label, "CPU seconds")
    axis.set_yticks([min(every), max(every)], [f"{min(every):.2g}", f"{max(every):.2g}"])
    axis.minorticks_off()


def _memory(axis: Any, found: dict[str, Any], label: str) -> None:
    from kdbias.report.style import COLOURS, MARKERS

    for place, (name, one) in enumerate(found.items()):
        sizes = [int(size) for size in one["peak_mb"]]
        text = f"{name}: {one['bytes_per_image'][0]:+.0f} bytes an image"
        axis.plot(sizes, list(one["peak_mb"].values()), f"-{MARKERS[place]}", color=COLOURS[place], label=text)
    axis.set_ylim(0, 1.8 * max(max(one["peak_mb"].values()) for one in found.values()) + 1)
    _finish(axis, sizes, label, "peak memory (MB)")


def _finish(axis: Any, sizes: list[int], label: str, title: str) -> None:
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_xlabel(label)
    axis.set_title(title)
    axis.legend(frameon=False, fontsize=7, loc="upper left", borderaxespad=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sizes of each: about 20 CPU seconds")
    parser.add_argument("--sizes", type=json.loads, default={}, help='as in {"width": [48, 96]}')
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path, help=".png or .svg")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = {**(QUICK if args.quick else WHOLE), **args.sizes}
    rounds = 2 if args.quick else args.rounds
    work: dict[str, Callable[[int], Step]] = {
        "width": lambda width: Step(width, SIDE, BATCH),
        "side": lambda side: Step(WIDTH, side, BATCH // 2),
        "batch": lambda batch: Step(WIDTH, SIDE, batch),
    }
    costs = {name: [step_seconds(make(size), rounds) for size in sizes[name]] for name, make in work.items()}
    tokens = [(side // 4) ** 2 for side in sizes["side"]]
    step = {"width": along(sizes["width"], costs["width"]), "tokens": along(tokens, costs["side"])}
    step["batch"] = along(sizes["batch"], costs["batch"])
    print(json.dumps(step), file=sys.stderr, flush=True)
    result = {"benchmark": "scaling", "step": step, "probes": probes(sizes["images"], rounds)}
    result["memory"] = memory(sizes["memory"])
    result["processes"] = processes(2 if args.quick else 5)
    if args.figure is not None:
        draw(result, args.figure)
    print(json.dumps(result | {"environment": environment()}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
