"""lightly-train's distillation step on networks of this package, in an interpreter that has it: an adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from time import process_time
from types import SimpleNamespace
from typing import Any

import torch
from peer_steps import Loader, Setting, normalised
from torch import Tensor, nn

from kdbias.models.features import Extractor


class Embedding(nn.Module):
    """A network as lightly-train's ``EmbeddingModel``: it gives its pooled features."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.network: Any = deepcopy(extractor.network)
        self.embed_dim = extractor.info.width

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(B, D)`` of normalised images."""
        found: Tensor = self.network.forward_head(self.network.forward_intermediates(x)[0], pre_logits=True)
        return found


class Views:
    """Batches as lightly-train's data set gives them: one view of each image."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader:
            yield {"views": [normalised(batch.image)], "filename": [""] * len(batch.image)}


def lightly_step(setting: Setting, loader: Loader) -> tuple[float, float]:
    """Time ``Distillation`` under its Trainer in fp32; give CPU milliseconds of a step and the mean loss.

    Its loss is another than ours: KL between similarities to a queue of the teacher's features, without labels, on
    images that it mixes. Queue and optimiser's groups are as it makes them, SGD is that of the other codebases.
    """
    import pytorch_lightning as pl
    from lightly_train._methods.distillation import distillation as method
    from lightly_train._optim.sgd_args import SGDArgs

    student, teacher = (Embedding(each) for each in setting.networks)
    method.get_teacher = lambda *_, **__: teacher.eval().requires_grad_(False)
    optimizer = SGDArgs(lr=setting.lr, momentum=setting.momentum, weight_decay=setting.decay)
    args = method.DistillationArgs()
    args.resolve_auto(SimpleNamespace(dataset_size=len(setting.classes)), optimizer, None)
    module = method.Distillation(
        method_args=args, optimizer_args=optimizer, embedding_model=student, global_batch_size=setting.batch,
        num_input_channels=3,
    )  # fmt: skip
    module._log_example_views = lambda train_batch: None  # a drawing of the first batch
    losses: list[Tensor] = []
    ended = [0.0]

    class End(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(outputs["loss"].detach())
            ended[0] = process_time()

    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", precision="32-true", callbacks=[End()], **off)
    trainer.fit(module, Views(loader))
    return loader.milliseconds(ended[0]), float(torch.stack(losses).mean())


class Elsewhere:
    """A process that times a step whenever it is told; its line is the answer, milliseconds and loss."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self) -> tuple[float, float]:
        """Have a step timed.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its output says so, too
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} has ended: what it said stands above")  # type: ignore[index]
        milliseconds, loss = json.loads(line)
        return milliseconds, loss

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def serve(step: Callable[[], tuple[float, float]]) -> None:
    """Be the other end of ``Elsewhere``."""
    answers = sys.stdout
    for _ in sys.stdin:
        with redirect_stdout(sys.stderr):
            found = step()
        print(json.dumps(found), file=answers, flush=True)
