"""``teacher.cache``: a fixed teacher answers all draws of the training images once, for all runs that ask the same."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import timm
import torch

from kdbias.batch import Batch
from kdbias.config.errors import ConfigError
from kdbias.config.kept import kept_as, kept_draws, kept_layers
from kdbias.config.spec import Tree, spec
from kdbias.data.base import ImageData
from kdbias.files import holding, write_json
from kdbias.losses.paired import layers_read
from kdbias.models.features import Features
from kdbias.models.kept_answers import KeptAnswers, KeptTeacher
from kdbias.models.kept_record import Record, record_of
from kdbias.models.teacher import Teacher
from kdbias.modules.distill import Distill
from kdbias.probes.cache import files_of
from kdbias.probes.code import builders_in, code_digest
from kdbias.runs.bars import Lines, bars, in_terminal
from kdbias.stress.describe import made_by

FORMAT = 2
SAFE_EVERY = 10.0  # seconds of answers that a kill may cost
SAMPLE = 256  # images whose pixels are part of the key
OF_STUDENT = ("student_stress", "student_strength")  # they do not change what the teacher sees
READERS = ("kdbias.models.kept_record.Record", "kdbias.models.teacher.Teacher", "kdbias.data.drawing.Drawing")
VIEW = "kdbias.stress.view.view"  # what applies a stress set to a view; no node of a config names it
OF_MODE = ("training", "fused_attn")  # attributes that change with the use of a network
PLAIN = (bool, int, float, str)
Context = Callable[[], Any]


def keep_answers(module: Distill, trainer: L.Trainer, tree: Tree, data: ImageData) -> Teacher:
    """Give the teacher of ``module`` with its answers kept on disk; those that are missing are made first.

    It is called before the processes of a run join. One process makes the answers, and all others, also those of other
    runs, wait for it.

    Raises:
        ConfigError: the answers cannot be kept: this teacher's change, or the disk is too small.
    """
    teacher, draws = module.teacher, kept_draws(tree)
    if type(teacher) is not Teacher or draws is None:
        raise ConfigError("teacher.cache: the answers of this teacher depend on more than the image: set it to null")
    device = trainer.strategy.root_device
    answers = _Answers(teacher, trainer.precision_plugin.forward_context, max(1, trainer.world_size))
    count = len(teacher.info.layers)
    read = layers_read((term for _, term in module.total.named_terms()), count)
    blank = torch.zeros(2, data.info.channels, data.info.size, data.info.size, device=device)
    record = record_of(answers.of(blank), kept_layers(tree["teacher"], read, count), kept_as(tree["teacher"]))
    about = description(teacher, record, tree, data, str(trainer.precision), device, answers.processes)
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    root = Path(tree["paths"].get("answers") or Path(tree["paths"]["runs"], "answers"))
    images = data.count("train")
    kept = KeptAnswers(root / f"{teacher.name}-{key}", record, images, math.ceil(images / data.batch_size))
    if kept.missing(draws):
        _make_under_lock(kept, draws, answers, data, device, about)
    return KeptTeacher(teacher, kept, draws)


def description(
    teacher: Teacher, record: Record, tree: Tree, data: ImageData, precision: str, device: torch.device, processes: int
) -> dict[str, Any]:
    """Give everything that decides the answers of a draw, in plain types; the number of draws does not."""
    whole = spec(tree)
    augment = {key: value for key, value in whole["augment"].items() if key not in OF_STUDENT}
    stress = augment.get("teacher_stress")
    nodes = (tree["teacher"].get("model"), tree["model"], tree["data"], augment)
    return {
        "format": FORMAT,
        "teacher": {"name": teacher.name, "network": _network_digest(teacher), "weights": _weights_digest(teacher)},
        "record": json.loads(json.dumps(record.plain())),
        "data": whole["data"],
        "images": _images_digest(data),
        "files": files_of(data.source, ("train",)),
        "augment": augment,
        "stress": None if stress is None else made_by(stress),
        "seed": data.draws_seed,
        "batch_size": data.batch_size,
        "processes": processes,
        "precision": precision,
        "tf32": tree["trainer"].get("tf32", True),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "code": code_digest({*READERS, *builders_in(*nodes), *([] if stress is None else [VIEW])}),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


class _Answers:
    """What a teacher answers in training: in the precision of the run, each process its own part of a batch."""

    def __init__(self, teacher: Teacher, context: Context, processes: int) -> None:
        self.teacher, self.context, self.processes = teacher, context, processes

    def of(self, image: torch.Tensor) -> Features:
        """Answer images as one process sees them."""
        with self.context():
            return self.teacher(image)

    def parts(self, batch: Batch) -> Iterator[tuple[torch.Tensor, Features]]:
        """Give positions and answers of the part of each process."""
        count, of = len(batch.index), self.processes
        for rank in range(of):
            part = slice(count * rank // of, count * (rank + 1) // of)
            if part.stop > part.start:
                yield batch.index[part], self.of(batch.teacher_image[part].contiguous())


def _make_under_lock(
    kept: KeptAnswers, draws: int, answers: _Answers, data: ImageData, device: torch.device, about: Mapping[str, Any]
) -> None:
    try:
        kept.folder.mkdir(parents=True, exist_ok=True)
        with holding(
            kept.folder / "lock", f"waiting for another run that makes the teacher's answers in {kept.folder}"
        ):
            missing = kept.missing(draws)
            if missing:
                write_json(kept.folder / "about.json", about)
                _require_room(kept, missing)
                _make(kept, missing, answers, data, device)
    except FloatingPointError as error:
        raise ConfigError(f"teacher.cache_dtype: {error}: use bf16 or exact") from error
    except (OSError, ValueError) as error:
        text = f"cannot keep the answers ({error}); what is made stays, and the next run goes on from there"
        raise ConfigError(f"teacher.cache: {text}") from error


def _make(kept: KeptAnswers, missing: list[int], answers: _Answers, data: ImageData, device: torch.device) -> None:
    with _progress(len(missing) * kept.batches) as done:
        for draw in missing:
            begin = kept.safe(draw)
            done(begin)
            with (
                kept.open_to_write(draw) as file,
                closing(data.augmented(draw, begin, device)) as batches,  # type: ignore[type-var]
            ):
                safe = time.monotonic()
                for number, batch in enumerate(batches, begin + 1):
                    for index, features in answers.parts(batch):
                        kept.write(file, index.cpu().numpy(), kept.record.pack(features))
                    done(1)
                    if number == kept.batches or time.monotonic() - safe > SAFE_EVERY:
                        kept.note(file, draw, number)
                        safe = time.monotonic()


def _require_room(kept: KeptAnswers, missing: list[int]) -> None:
    """Say how much the answers take, and refuse what the disk does not hold."""
    taken = sum(_allocated(kept.file(draw)) for draw in missing)
    wanted, free = len(missing) * kept.bytes_a_draw - taken, shutil.disk_usage(kept.folder).free
    size = f"{len(missing)} draws of {kept.images:,} images, {kept.record.size:,} bytes each"
    if wanted > free:
        raise ConfigError(
            f"teacher.cache: {size}, take {_gb(wanted)}, and {kept.folder} has {_gb(free)} left: keep fewer draws, or "
            "choose another disk by paths.answers"
        )
    print(f"keeping the teacher's answers to {size}: {_gb(wanted)} in {kept.folder}", flush=True)


def _allocated(path: Path) -> int:
    return getattr(path.stat(), "st_blocks", 0) * 512 if path.is_file() else 0


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show how many batches are answered: a bar in a terminal, elsewhere a line for each tenth."""
    lines, done = Lines(), 0
    with bars(transient=True, disable=not in_terminal()) as shown:
        task = shown.add_task("teacher's answers", total=total)

        def advance(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            shown.advance(task, count)
            if not in_terminal() and 10 * before // total < 10 * done // total:
                lines.timed(f"teacher's answers: {done} of {total} batches")

        yield advance


def _network_digest(teacher: Teacher) -> str:
    """The digest of what a network is besides its weights: its modules, and their numbers, flags and words."""
    found = hashlib.sha256()
    for name, module in teacher.extractor.named_modules():
        told = {key: value for key, value in vars(module).items() if key not in OF_MODE and not key.startswith("_")}
        values = {key: value for key, value in sorted(told.items()) if _is_plain(value)}
        found.update(f"{name} {type(module).__qualname__} {values}".encode())
    return found.hexdigest()


def _is_plain(value: Any) -> bool:
    return isinstance(value, PLAIN) or (isinstance(value, tuple) and all(isinstance(one, PLAIN) for one in value))


def _weights_digest(teacher: Teacher) -> str:
    found = hashlib.sha256()
    state: Mapping[str, torch.Tensor] = teacher.extractor.state_dict()
    for name, value in [*sorted(state.items()), ("mean", teacher.extractor.mean), ("std", teacher.extractor.std)]:
        found.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _images_digest(data: ImageData) -> str:
    """The digest of all labels and of some images, at even distances: others of the same names are noticed."""
    images, labels = data.images("train")
    found = hashlib.sha256(np.ascontiguousarray(labels.cpu().numpy()).data)
    for position in np.linspace(0, len(labels) - 1, min(SAMPLE, len(labels)), dtype=np.int64).tolist():
        found.update(np.ascontiguousarray(images[position].cpu().numpy()).data)
    return found.hexdigest()
