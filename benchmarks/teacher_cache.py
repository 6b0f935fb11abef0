"""What ``teacher.cache`` saves: CPU seconds of a training step with and without, size on disk, equality of weights.

    python benchmarks/teacher_cache.py
    python benchmarks/teacher_cache.py --root DATA --weights vit_small_patch14.safetensors --batch 64 --steps 4

EXP-3 with a ViT-S/14 at 112 px teaches a DeiT-Tiny and a small ViT, on CIFAR-10 where ``--root`` is given, else on
cues; without ``--weights`` the teacher's are random, which costs the same. Steps with the network's answers and with
kept ones (fp16) take turns on the same images. Seconds are those of one core, so that other programs on
the machine count little. Equality is that of all weights of a small run with cache=epochs and of one without.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from kdbias.batch import Batch
from kdbias.config import conf
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain, spec_hash
from kdbias.models.kept_answers import KeptTeacher
from kdbias.modules.distill import Distill
from kdbias.modules.keep_answers import keep_answers
from kdbias.runs.result import environment
from kdbias.train import build_data, build_teacher, module_spec

STUDENTS = {"deit_tiny": [], "small_vit": ["model=vit", "model.width=96", "model.heads=3", "model.layers=[1,2,4,5]"]}
SMALL = [
    *("experiment=exp1_resnet_kl", "loss=[ce,kl,token,cka]", "data=cues", "data.train=160", "data.val=32"),
    *("augment=light", "model=vit", "model.width=32", "model.depth=2", "model.heads=2", "model.patch=8"),
    *("teacher=small_cnn", "batch_size=32", "epochs=3"),
]


class Clock(L.Callback):
    """CPU seconds of each step but the first."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Start the clock."""
        self._began = time.process_time()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Stop it."""
        if batch_idx:
            self.steps.append(time.process_time() - self._began)


def config(words: list[str]) -> dict[str, Any]:
    conf.register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return plain(compose("train", words))


def fitted(tree: dict[str, Any], teacher: Any, kept: bool, steps: int | None) -> tuple[Distill, Clock, float]:
    """Train; give the module, the steps' seconds and the CPU seconds that keeping the answers took."""
    data, clock = build_data(tree), Clock()
    torch.manual_seed(0)
    module = Distill(module_spec(tree, data.info, "", None), teacher)
    trainer = L.Trainer(
        max_epochs=tree["epochs"] if steps is None else 1,
        limit_train_batches=steps,
        accelerator="cpu",
        precision="32-true",
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    began = time.process_time()
    if kept:
        module.teacher = keep_answers(module, trainer, tree, data)
    took = time.process_time() - began
    trainer.fit(module, data)
    return module, clock, took


def equality(folder: Path) -> dict[str, Any]:
    """Whether all weights of a run with kept answers are those of one without, and their hashes are the same."""
    states, hashes = [], []
    for cache in ("null", "epochs"):
        tree = config([*SMALL, f"paths.runs={folder}", f"teacher.cache={cache}"])
        tree["teacher"] |= {"recipe": None}
        data = build_data(tree)
        torch.manual_seed(1)
        teacher = build_teacher(tree, data)
        states.append(fitted(tree, teacher, cache == "epochs", None)[0].state_dict())
        hashes.append(spec_hash(tree))
    equal = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    return {"weights_equal": equal, "hashes_equal": hashes[0] == hashes[1], "tensors": len(states[0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of CIFAR-10; without it the images are cues")
    parser.add_argument("--weights", help="of the ViT-S/14, in timm's layout; without them they are random")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)  # threads that wait for each other would count as busy
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    images = args.batch * (args.steps + 1)
    source = [f"data.train={images + 16}", "data.val=16"]
    if args.root:
        source = [f"data.root={args.root}", "data.download=false", f"data.limit={images}"]
    with tempfile.TemporaryDirectory() as made:
        words = ["experiment=exp3_dino", f"data={'cifar10' if args.root else 'cues'}", *source, "augment=light"]
        words += ["teacher.size=112", "teacher.cache=1", f"batch_size={args.batch}", f"paths.runs={made}"]
        words += [f"teacher.weights={args.weights}"] if args.weights else ["teacher.pretrained=false"]
        result: dict[str, Any] = {"benchmark": "teacher_cache", "batch": args.batch, "threads": torch.get_num_threads()}
        torch.manual_seed(2)
        teacher: Any = None
        for name, student in STUDENTS.items():
            tree = config([*words, *student])
            teacher = teacher or build_teacher(tree, build_data(tree))
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(args.rounds):
                for kept in times:
                    module, clock, took = fitted(tree, teacher, kept, args.steps + 1)
                    times[kept] += clock.steps
                    if isinstance(module.teacher, KeptTeacher) and "keeping_cpu_s_per_image" not in result:
                        result["keeping_cpu_s_per_image"] = round(took / images, 4)
                        result["bytes_per_image"] = module.teacher.kept.record.size
                        result["gb_of_10000_images"] = round(1e4 * module.teacher.kept.record.size / 1e9, 3)
            answered, read = (statistics.median(times[kept]) for kept in (False, True))
            sizes = {"parameters": sum(p.numel() for p in module.student.parameters())}
            result[name] = sizes | {"cpu_s": round(answered, 3), "kept_cpu_s": round(read, 3)}
            result[name] |= {"ratio": round(answered / read, 2)}
        result |= {"equality": equality(Path(made)), "environment": environment()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
