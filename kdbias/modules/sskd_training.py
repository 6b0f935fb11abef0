"""Stage 1 of SSKD: a missing head of the teacher is trained once and kept beside the teachers.

The head goes on from its last epoch if its training was interrupted: nothing that it draws depends on earlier draws.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from kdbias.config.spec import Tree, deciding
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.rotations import Rotations
from kdbias.files import replacing
from kdbias.models.teacher import Teacher
from kdbias.models.weights_file import UnreadableFile, read_checked
from kdbias.modules.sskd_head import HeadSettings, contrast, contrastive_head
from kdbias.runs import run_folder

FILE, PART = "head.pth", "part.pth"
UNFIT = (ValueError, LookupError, TypeError, AttributeError, RuntimeError)  # what a state of something else meets
PLAIN = Augment(crop=0, flip=False, erasing=0.0, mixup=0.0, cutmix=0.0, mix_probability=0.0)


def ensure_head(
    tree: Tree, teacher: Teacher, data: ImageData, views: Rotations, settings: HeadSettings, device: torch.device
) -> Path:
    """Give the file of the teacher's head, which is trained first if it is missing.

    It lies in ``<paths.teachers>/<teacher>-sskd_head-<hash>``; the hash covers the teacher's tensors and input, the
    data, the views, the settings and the limit of batches of a smoke run. Other processes that need the same head wait.

    Raises:
        FloatingPointError: its loss is not finite.
    """
    limit = tree["trainer"].get("limit_train_batches")
    folder = Path(tree["paths"]["teachers"]) / f"{teacher.name}-sskd_head-{_key(tree, teacher, views, settings, limit)}"
    path = folder.absolute() / FILE
    if not path.is_file():
        with run_folder.alone(path.parent):
            if not path.is_file():
                print(f"SSKD's head of {teacher.name} not found: training it first ({settings.epochs} epochs) in "
                      f"{path.parent}", flush=True)  # fmt: skip
                _train(teacher, _Images(data, views, settings, limit, device), settings, path)
                return path
    print(f"SSKD's head of {teacher.name} found: {path}", flush=True)
    return path


def teacher_digest(teacher: Teacher) -> str:
    """Give the SHA-256 of what decides the teacher's features: its tensors, and how it reads an image."""
    reader = teacher.extractor
    found = hashlib.sha256(repr((reader.statistics, reader.channels, reader.size, reader.resize)).encode())
    for name, value in reader.network.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _key(tree: Tree, teacher: Teacher, views: Rotations, settings: HeadSettings, limit: int | float | None) -> str:
    decides = {
        "teacher": teacher_digest(teacher),
        "data": deciding({"data": tree["data"]}),
        "views": asdict(views),
        "head": {key: value for key, value in asdict(settings).items() if key != "weights"},
        "limit": limit,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


class _Images:
    """The views of the training and validation images, on a device."""

    def __init__(
        self, data: ImageData, views: Rotations, settings: HeadSettings, limit: int | float | None, device: torch.device
    ) -> None:
        size = settings.batch_size
        self.plain = ImageData(
            data.source,
            PLAIN,
            batch_size=size,
            eval_batch_size=size,
            seed=settings.seed,
            loader=replace(data.loader, repeats=1),  # a copy of an image is no other image
        )
        self.loader = self.plain.train_dataloader()
        self.views, self.seed, self.device = views, settings.seed, device
        count = len(self.loader)
        part = int(count * limit) if type(limit) is float else limit
        self.steps = count if part is None else max(1, min(count, int(part)))

    def epoch(self, epoch: int) -> Iterator[Tensor]:
        """Give the views ``(4B, C, S, S)`` of each batch of an epoch."""
        self.loader.sampler.set_epoch(epoch)
        for step, batch in zip(range(self.steps), self.loader, strict=False):
            draws = self.views.draw(len(batch.image), self.seed, epoch, step)
            yield self.views.view(batch.image.to(self.device), draws)

    def validation(self) -> Iterator[Tensor]:
        """Give the four rotations of each batch of validation images, neither mirrored nor cropped."""
        still = Rotations(crop=0, flip=False)
        for batch in self.plain.batches("val", device=self.device):
            yield still.view(batch.image, still.draw(len(batch.image), 0, 0, 0))


def _train(teacher: Teacher, images: _Images, settings: HeadSettings, path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = contrastive_head(teacher.info.width)
    head.to(images.device)
    optimizer = SGD(head.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    turns = [round(milestone * settings.epochs) for milestone in settings.milestones]
    schedule = MultiStepLR(optimizer, milestones=turns, gamma=settings.gamma)
    parts: dict[str, Any] = {"head": head, "optimizer": optimizer, "schedule": schedule}
    began, part = time.perf_counter(), path.with_name(PART)
    for epoch in range(_restored(parts, part), settings.epochs):
        loss, found = _epoch(teacher, head, optimizer, images.epoch(epoch))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"SSKD's head: the loss is {loss} in epoch {epoch}: lower module.head.lr")
        schedule.step()
        _save({"epoch": epoch + 1, **{name: one.state_dict() for name, one in parts.items()}}, part)
        if (epoch + 1) % max(1, settings.epochs // 10) == 0:
            print(f"SSKD's head: epoch {epoch + 1}/{settings.epochs}, loss {loss:.4f}, found {found:.3f}", flush=True)
    accuracy, chance = _accuracy(teacher, head, images.validation())
    seconds = time.perf_counter() - began
    print(f"SSKD's head: finds {accuracy:.3f} of the validation images' partners (chance {chance:.3f}), "
          f"{seconds:.0f} s", flush=True)  # fmt: skip
    _save({"state_dict": head.cpu().state_dict()}, path)
    part.unlink(missing_ok=True)


def _epoch(teacher: Teacher, head: nn.Module, optimizer: SGD, batches: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Train for an epoch; give the means of the loss and of the share of images found."""
    sums, count = torch.zeros(2), 0
    for views in batches:
        loss, found = contrast(head(teacher(views).pooled.float()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums, count = sums.to(views.device) + torch.stack([loss.detach(), found]), count + 1
    loss, found = sums / count
    return loss, found


@torch.no_grad()
def _accuracy(teacher: Teacher, head: nn.Module, batches: Iterator[Tensor]) -> tuple[float, float]:
    """Give the share of rotated images whose upright one is found in their batch, and that by chance."""
    found, images, count = 0.0, 0, 0
    for views in batches:
        size = len(views) // 4
        found += float(contrast(head(teacher(views).pooled.float()))[1]) * size
        images, count = images + size, count + 1
    return found / images, count / images


def _restored(parts: dict[str, Any], path: Path) -> int:
    """Restore an interrupted training and give its next epoch; 0 if there is none."""
    if not path.is_file():
        return 0
    before = {name: deepcopy(one.state_dict()) for name, one in parts.items()}
    try:
        saved = read_checked(path)
        if type(saved["epoch"]) is not int or saved["epoch"] < 1:
            raise UnreadableFile(f"it holds no epoch: {saved['epoch']!r:.60}")
        for name, one in parts.items():
            one.load_state_dict(saved[name])
    except UNFIT as error:
        for name, one in parts.items():
            one.load_state_dict(before[name])
        reason = " ".join(str(error).split())[:200]
        print(f"{path}: {reason or type(error).__name__}; the head is trained from the beginning", flush=True)
        return 0
    return int(saved["epoch"])


def _save(content: dict[str, Any], path: Path) -> None:
    with replacing(path, only_writer=True) as file:
        torch.save(content, file)
