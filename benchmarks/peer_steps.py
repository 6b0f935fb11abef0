"""The training steps of other codebases, on networks of this package: adapters, none of their code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from time import process_time
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from images import INFO
from numpy.typing import NDArray
from torch import Tensor, nn

from kdbias.batch import Batch, DataInfo
from kdbias.models.features import Extractor

ALPHA, TAU, CRD_WEIGHT, FEATURE = 0.5, 4.0, 0.8, 128


@dataclass(frozen=True)
class Setting:
    """What all codebases share: networks as (student, teacher), batch, and the class of every training image."""

    method: str
    student: str
    teacher: str
    networks: tuple[Extractor, ...]
    batch: int
    negatives: int
    classes: Tensor
    lr: float = 0.05
    momentum: float = 0.9
    decay: float = 5e-4

    @property
    def info(self) -> DataInfo:
        """The data, with as many training images as there are classes of them."""
        return replace(INFO, train=len(self.classes))

    def copies(self) -> list[nn.Module]:
        """Give student and teacher as plain networks with the first weights."""
        return [deepcopy(each.network) for each in self.networks]

    def optimizer(self, *modules: nn.Module) -> torch.optim.Optimizer:
        """Make SGD as the others do: one group, torch's defaults."""
        parameters = [p for module in modules for p in module.parameters()]
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.decay)


class Loader(Protocol):
    """What ``Batches`` of peers.py is."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...

    def milliseconds(self, ended: float | None = None) -> float:
        """Give those of a step."""
        ...


class Plain(nn.Module):
    """A network that gives its pooled features beside the logits, in the order that ``first`` names."""

    def __init__(self, network: nn.Module, features_first: bool) -> None:
        super().__init__()
        self.network: Any = network
        self.features_first = features_first

    def forward(self, x: Tensor, is_feat: bool = False, preact: bool = False) -> tuple[Any, Any]:
        """Give features and logits of normalised images."""
        pooled = self.network.forward_head(self.network.forward_intermediates(x)[0], pre_logits=True)
        logits = self.network.get_classifier()(pooled)
        return ([pooled], logits) if self.features_first else (logits, {"pooled_feat": pooled})


def normalised(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (INFO.mean, INFO.std))
    return (image - mean) / std


class Others:
    """Draws of negatives as RepDistiller's data set makes them: ``numpy.random.choice`` for each image."""

    def __init__(self, classes: Tensor, count: int) -> None:
        self.classes, self.count = classes.numpy(), count
        self.negatives = [np.flatnonzero(self.classes != one) for one in range(int(classes.max()) + 1)]

    def __call__(self, index: Tensor) -> Tensor:
        """Give the image and its negatives, ``(B, 1 + count)``."""
        return torch.from_numpy(np.stack([self._one(place) for place in index.tolist()]))

    def _one(self, place: int) -> NDArray[np.int64]:
        among = self.negatives[self.classes[place]]
        return np.hstack(([place], np.random.choice(among, self.count, replace=self.count > len(among))))  # noqa: NPY002


class Tuples:
    """Batches as tuples of normalised images, targets and positions, with negatives where ``draw`` is given."""

    def __init__(self, loader: Loader, draw: Others | None) -> None:
        self.loader, self.draw, self.drawing = loader, draw, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for step, batch in enumerate(self.loader):
            began = process_time()
            drawn = () if self.draw is None else (self.draw(batch.index),)
            self.drawing += process_time() - began if step else 0.0  # the first step is not timed
            yield (normalised(batch.image), batch.target, batch.index, *drawn)


@contextmanager
def checkout(folder: str, *stubs: str) -> Iterator[None]:
    """Import from a folder, with empty modules for what a step does not need; ``.cuda()`` leaves tensors in place.

    Everything is undone on exit, and so are the imports.
    """
    before, kept = set(sys.modules), torch.Tensor.cuda
    for name in stubs:
        module = ModuleType(name)
        module.__dict__.update(SummaryWriter=None, DistillationOrientedTrainer=None)
        sys.modules[name] = module
    sys.path.insert(0, folder)
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.Tensor.cuda = kept  # type: ignore[method-assign]
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or folder).startswith(folder):
                del sys.modules[name]


def timm_step(setting: Setting, loader: Loader) -> tuple[float, float]:
    """Time timm's task for logits in the loop of its train.py; give CPU milliseconds of a step and the mean loss."""
    from timm.task import LogitDistillationTask

    student, teacher = setting.copies()
    for each in (student, teacher):
        each.pretrained_cfg, each.in_chans = {"mean": INFO.mean, "std": INFO.std}, 3  # type: ignore[assignment]
    task = LogitDistillationTask(
        student, teacher.requires_grad_(False), nn.CrossEntropyLoss(), task_loss_weight=1 - ALPHA, temperature=TAU,
        verbose=False,
    ).train()  # fmt: skip
    task.teacher.eval()
    optimizer, losses = setting.optimizer(student), []
    for image, target, _ in Tuples(loader, None):
        loss = task(image, target)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return loader.milliseconds(), float(torch.stack(losses).mean())


def repdistiller_step(setting: Setting, loader: Loader, folder: str, draws: bool = True) -> tuple[float, float]:
    """Time RepDistiller's ``train_distill``; without ``draws`` the time of its data set's draws is taken off."""
    with checkout(folder):
        loops, zoo = (importlib.import_module(name) for name in ("helper.loops", "distiller_zoo.KD"))
        student, teacher = (Plain(network, True) for network in setting.copies())
        crd = setting.method == "crd"
        opt = SimpleNamespace(distill=setting.method, print_freq=10**9)
        opt.gamma, opt.alpha, opt.beta = (1.0, 0.0, CRD_WEIGHT) if crd else (1 - ALPHA, ALPHA, 0.0)
        contrast, extra = zoo.DistillKL(TAU), []
        if crd:
            opt.s_dim, opt.t_dim = (each.info.width for each in setting.networks)
            opt.feat_dim, opt.n_data, opt.nce_k = FEATURE, len(setting.classes), setting.negatives
            opt.nce_t, opt.nce_m = 0.07, 0.5
            contrast = importlib.import_module("crd.criterion").CRDLoss(opt)
            extra = [contrast.embed_s, contrast.embed_t]
        tuples = Tuples(loader, Others(setting.classes, setting.negatives) if crd else None)
        modules = nn.ModuleList([student, *extra, teacher])
        criteria = nn.ModuleList([nn.CrossEntropyLoss(), zoo.DistillKL(TAU), contrast])
        optimizer = setting.optimizer(student, *extra)
        _, loss = loops.train_distill(1, tuples, modules, criteria, optimizer, opt)
        taken = 0.0 if draws else 1000 * tuples.drawing / (len(tuples) - 1)
        return loader.milliseconds() - taken, loss


def mdistiller_step(setting: Setting, loader: Loader, folder: str) -> tuple[float, float]:
    """Time mdistiller's ``train_iter``."""
    with checkout(folder, "tensorboardX", "mdistiller.engine.dot"):
        trainer = importlib.import_module("mdistiller.engine.trainer")
        utils = importlib.import_module("mdistiller.engine.utils")
        zoo = importlib.import_module("mdistiller.distillers")
        student, teacher = (Plain(network, False) for network in setting.copies())
        if setting.method == "crd":
            widths = [each.info.width for each in setting.networks]
            feat = SimpleNamespace(STUDENT_DIM=widths[0], TEACHER_DIM=widths[1], DIM=FEATURE)
            nce = SimpleNamespace(K=setting.negatives, MOMENTUM=0.5, TEMPERATURE=0.07)
            loss = SimpleNamespace(CE_WEIGHT=1.0, FEAT_WEIGHT=CRD_WEIGHT)
            cfg = SimpleNamespace(CRD=SimpleNamespace(FEAT=feat, NCE=nce, LOSS=loss))
            distiller, kind = zoo.CRD(student, teacher, cfg, len(setting.classes)), trainer.CRDTrainer
            extra = [distiller.embed_s, distiller.embed_t]
        else:
            loss = SimpleNamespace(CE_WEIGHT=1 - ALPHA, KD_WEIGHT=ALPHA)
            cfg = SimpleNamespace(KD=SimpleNamespace(TEMPERATURE=TAU, LOSS=loss))
            distiller, kind, extra = zoo.KD(student, teacher, cfg), trainer.BaseTrainer, []
        this = SimpleNamespace(optimizer=setting.optimizer(student, *extra), distiller=distiller.train())
        meters = {name: utils.AverageMeter() for name in ("training_time", "data_time", "losses", "top1", "top5")}
        drawn = Others(setting.classes, setting.negatives) if setting.method == "crd" else None
        for data in Tuples(loader, drawn):
            kind.train_iter(this, data, 1, meters)
        return loader.milliseconds(), float(meters["losses"].avg)
