"""What the LightningModule costs: a training step of Distill against a hand-written loop with the same network.

    python benchmarks/step.py
    python benchmarks/step.py --network resnet18 --teacher resnet20 --batch 256 --steps 8 --rounds 5

Both train the same network by CE (and KL from the same teacher) on the same batches, already on the device, with the
same optimiser, schedule, clipping, precision and attention path. They take turns, so that a change of the machine's
speed hits both; seconds a step are over all but the first steps of a round, and the ratio is the median over rounds.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from images import INFO, now
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from kdbias.batch import Batch
from kdbias.config.build import build
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill
from kdbias.modules.schedules import warmup_cosine_factor
from kdbias.modules.trainer import choose_precision
from kdbias.runs.result import environment

NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny": {"_target_": "kdbias.models.deit.vit_tiny", "drop_path": 0.0},
    "resnet18": {"_target_": "kdbias.models.resnet_cifar.resnet18"},
    "resnet20": {"_target_": "kdbias.models.resnet_cifar.resnet20"},
    "small_vit": {"_target_": "kdbias.models.deit.vit", "width": 32, "depth": 2, "heads": 2},
    "small_cnn": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
}
ALPHA, TAU, SMOOTHING, LR, DECAY, CLIP = 0.5, 4.0, 0.1, 1e-3, 0.05, 1.0


class Fixed:
    """A loader of so many steps over a few batches that are made beforehand."""

    def __init__(self, batches: list[Batch], steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.steps):
            yield self.batches[step % len(self.batches)]


class Clock(L.Callback):
    """Time from the start of step ``skip`` to the end of the last one."""

    def __init__(self, skip: int, device: torch.device) -> None:
        self.skip, self.device, self.began, self.seconds = skip, device, 0.0, 0.0
        self.losses: list[float] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the clock."""
        if batch_idx == self.skip:
            self.began = now(self.device)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the first loss, and stop the clock at the end."""
        if batch_idx == 0:
            self.losses.append(float(outputs["loss"]))
        if batch_idx + 1 == trainer.num_training_batches:
            self.seconds = (now(self.device) - self.began) / (batch_idx + 1 - self.skip)


def spec(network: str, teacher: str | None) -> dict[str, Any]:
    loss: dict[str, Any] = {
        "ce": {"_target_": "kdbias.losses.ce.CE", "weight": 1 - ALPHA if teacher else 1.0, "label_smoothing": SMOOTHING}
    }
    if teacher:
        loss["kl"] = {"_target_": "kdbias.losses.kl.KL", "weight": ALPHA, "temperature": TAU}
    schedule = {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.05, "final_lr": 0.0}
    optimizer = {"_target_": "kdbias.modules.optim.adamw", "lr": LR, "weight_decay": DECAY}
    return {
        "name": "benchmark",
        "model": NETWORKS[network],
        "loss": loss,
        "optim": {"optimizer": optimizer, "schedule": schedule, "clip": CLIP},
        "teacher": {"name": teacher},
        "data": INFO.to_dict(),
        "seed": 0,
        "channels_last": True,
    }


def ours(module: Distill, loader: Fixed, skip: int, precision: str, device: torch.device) -> Clock:
    clock = Clock(skip, device)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    return clock


def by_hand(
    network: nn.Module, teacher: nn.Module | None, loader: Fixed, skip: int, precision: str, device: torch.device
) -> tuple[float, float]:
    """Give seconds a step and the first loss of a loop as one would write it without any framework."""
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (INFO.mean, INFO.std))
    network.to(device).train()
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    total = len(loader)
    scheduler = LambdaLR(optimizer, lambda step: warmup_cosine_factor(step, total, 0.05, 0.0))
    began, first = 0.0, 0.0
    for step, batch in enumerate(loader):
        if step == skip:
            began = now(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = network((batch.image - mean) / std).float()
            loss = F.cross_entropy(logits, batch.target, label_smoothing=SMOOTHING)
            if teacher is not None:
                with torch.no_grad():
                    soft = F.log_softmax(teacher(batch.teacher_image).logits.float() / TAU, dim=1)
                own = F.log_softmax(logits / TAU, dim=1)
                kl = TAU**2 * F.kl_div(own, soft, reduction="batchmean", log_target=True)
                loss = (1 - ALPHA) * loss + ALPHA * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        if step == 0:
            first = float(loss.detach())
    return (now(device) - began) / (total - skip), first


def make_batches(count: int, size: int, device: torch.device) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        image = torch.rand(size, 3, 32, 32, generator=generator).to(device)
        target = torch.softmax(torch.randn(size, 10, generator=generator), dim=1).to(device)
        batches.append(Batch(image, target, torch.arange(size, device=device), image))
    return batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="vit_tiny")
    parser.add_argument("--teacher", choices=[*sorted(NETWORKS), "none"], default="resnet20")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6, help="timed steps a round")
    parser.add_argument("--skip", type=int, default=1, help="steps before the clock starts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(args.precision, "gpu" if device.type == "cuda" else "cpu")
    name = None if args.teacher == "none" else args.teacher
    teacher = Teacher(build(NETWORKS[name], INFO), name) if name else None
    loader = Fixed(make_batches(2, args.batch, device), args.skip + args.steps)
    times: dict[str, list[float]] = {"distill": [], "hand": []}
    differences = []
    for _ in range(args.rounds):
        torch.manual_seed(0)
        module = Distill(spec(args.network, name), teacher)
        extractor = build(NETWORKS[args.network], INFO)
        extractor.load_state_dict(module.student.state_dict())
        extractor.to(device).train()  # chooses the attention path of the device
        if extractor.info.family == "cnn":
            extractor.to(memory_format=torch.channels_last)
        clock = ours(module, loader, args.skip, precision, device)
        reader = teacher.extractor if teacher else None
        seconds, loss = by_hand(extractor.network, reader, loader, args.skip, precision, device)
        times["distill"].append(clock.seconds)
        times["hand"].append(seconds)
        differences.append(abs(clock.losses[0] - loss))
    ratios = [a / b for a, b in zip(times["distill"], times["hand"], strict=True)]
    result = {
        "benchmark": "step",
        "network": args.network,
        "teacher": name,
        "batch": args.batch,
        "steps": args.steps,
        "precision": precision,
        "distill_ms": round(1000 * statistics.median(times["distill"]), 2),
        "hand_ms": round(1000 * statistics.median(times["hand"]), 2),
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "first_loss_difference": max(differences),
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
