"""The data path: this package's loader against torchvision's transforms in worker processes, same augmentation.

    python benchmarks/data.py
    python benchmarks/data.py --policies cifar10 none --batches 256 1024 --images 20000 --rounds 3

Fetch, padded crop, flip, policy (AutoAugment or none), Cutout of 16 px and conversion to float, from uint8 images in
memory to batches. Of each way: images/s by the clock and CPU seconds an image, processes of workers included; best
of the rounds, in which the ways take turns. Ours takes one thread on a CPU. kornia stands beside them where it is
installed: its AutoAugment draws one sub-policy for a whole batch and works on floats, so it is not the same
augmentation. With ``--device cuda``: milliseconds and kernel launches a batch of ours. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from images import INFO, now
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from kdbias.data.augment import Augment
from kdbias.data.cifar import cifar10
from kdbias.data.resident import ResidentLoader
from kdbias.runs.result import environment

CPU, CUTOUT = torch.device("cpu"), 16
POLICIES: dict[str, Callable[[], Any]] = {
    "cifar10": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "randaugment": v2.RandAugment,
    "trivialaugment": v2.TrivialAugmentWide,
    "none": v2.Identity,
}


class Cutout(v2.Transform):
    """A square painted with the mean, centred anywhere in the image."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Paint it."""
        top, left = (torch.randint(0, 32, (2,)) - CUTOUT // 2).tolist()
        top, bottom, left, right = max(top, 0), min(top + CUTOUT, 32), max(left, 0), min(left + CUTOUT, 32)
        fill = torch.tensor([round(255 * m) for m in INFO.mean], dtype=torch.uint8)[:, None, None]
        return TF.erase(inpt, top, left, bottom - top, right - left, fill)


class Images(Dataset[tuple[Tensor, int]]):
    """Images in memory, as tensors or as PIL's, each augmented by torchvision."""

    def __init__(self, images: Tensor, policy: str, pil: bool) -> None:
        self.images = [TF.to_pil_image(image) for image in images] if pil else images
        steps = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), POLICIES[policy]()]
        steps += [v2.PILToTensor()] if pil else []
        self.transform = v2.Compose([*steps, Cutout(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), index


def ours(images: Tensor, policy: str, batch: int) -> Iterator[Tensor]:
    augment = Augment(policy=policy, cutout=CUTOUT, erasing=0.0, mix_probability=0.0)  # type: ignore[arg-type]
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    loader = ResidentLoader(images, labels, info=INFO, batch_size=batch, augment=augment, shuffle=True, drop_last=True)
    return (made.image for made in loader)


def torchvision(images: Tensor, policy: str, batch: int, *, pil: bool, workers: int) -> Iterator[Tensor]:
    data = Images(images, policy, pil)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, num_workers=workers)
    return (image for image, _ in loader)


def kornia(images: Tensor, policy: str, batch: int) -> Iterator[Tensor]:
    from kornia import augmentation as K

    policies = {"cifar10": [K.auto.AutoAugment("cifar10")], "none": []}
    erase = K.RandomErasing((0.25, 0.25), (1.0, 1.0), p=1.0)
    steps = K.AugmentationSequential(
        K.RandomCrop((32, 32), padding=4), K.RandomHorizontalFlip(), *policies[policy], erase, data_keys=["input"]
    )
    for rows in torch.randperm(len(images)).split(batch):
        yield steps(images[rows].float() / 255)


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def timed(batches: Iterator[Tensor]) -> dict[str, float]:
    began, spent, count = now(CPU), cpu_seconds(), 0
    for batch in batches:
        count += len(batch)
    del batches  # its workers end, and are counted
    seconds = now(CPU) - began
    return {"images_per_second": count / seconds, "cpu_us_per_image": 1e6 * (cpu_seconds() - spent) / count}


def compare(images: Tensor, policy: str, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    few = images[: args.images // 4]  # the slow ways see fewer images: their rate does not depend on it
    workers = args.workers
    ways: dict[str, Callable[[], Iterator[Tensor]]] = {
        "kdbias": lambda: ours(images, policy, batch),
        "torchvision tensors": lambda: torchvision(few, policy, batch, pil=False, workers=workers),
        "torchvision PIL": lambda: torchvision(few, policy, batch, pil=True, workers=workers),
    }
    if find_spec("kornia") and policy in ("cifar10", "none"):
        ways["kornia"] = lambda: kornia(few, policy, batch)
    for _ in ours(images[: 2 * batch], policy, batch):
        pass  # tables and maps are made once
    best: dict[str, dict[str, float]] = {}
    for _ in range(args.rounds):
        for name, way in ways.items():
            found = timed(way())
            known = best.setdefault(name, found)
            known["images_per_second"] = max(known["images_per_second"], found["images_per_second"])
            known["cpu_us_per_image"] = min(known["cpu_us_per_image"], found["cpu_us_per_image"])
            print(policy, batch, name, {key: round(value, 1) for key, value in found.items()}, file=sys.stderr)
    mine = best["kdbias"]
    ratios = {
        name: {
            "speed": round(mine["images_per_second"] / value["images_per_second"], 1),
            "cpu": round(value["cpu_us_per_image"] / mine["cpu_us_per_image"], 1),
        }
        for name, value in best.items()
        if name != "kdbias"
    }
    rounded = {name: {key: round(number, 2) for key, number in value.items()} for name, value in best.items()}
    return {"policy": policy, "batch": batch, "ways": rounded, "kdbias against": ratios}


def on_gpu(images: Tensor, policy: str, batch: int) -> dict[str, Any]:
    """Milliseconds and kernel launches of one batch on a GPU."""
    for _ in ours(images[: 4 * batch], policy, batch):
        pass
    began, count = now(images.device), 0
    for _ in ours(images, policy, batch):
        count += 1
    milliseconds = 1e3 * (now(images.device) - began) / count
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in ours(images[:batch], policy, batch):
            pass
    launches = sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)
    return {"policy": policy, "batch": batch, "ms_per_batch": round(milliseconds, 3), "launches": launches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", choices=sorted(POLICIES), default=["cifar10", "none"])
    parser.add_argument("--batches", nargs="+", type=int, default=[256, 1024])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="of torchvision's loader")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", help="of CIFAR-10; random images where it is not given")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randint(0, 256, (args.images, 3, 32, 32), dtype=torch.uint8)
    if args.root:
        images = cifar10(root=args.root, download=False).split("train")[0][: args.images]
    cases = [(policy, batch) for policy in args.policies for batch in args.batches]
    if args.device == "cuda":
        found = [on_gpu(images.cuda(), *case) for case in cases]
    else:
        torch.set_num_threads(1)
        found = [compare(images, *case, args) for case in cases]
    print(json.dumps({"benchmark": "data", "cases": found, "environment": environment()}))


if __name__ == "__main__":
    main()
