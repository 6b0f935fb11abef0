"""A run's training step at an older revision and at this one, in turns on the same machine.

    python benchmarks/revisions.py
    python benchmarks/revisions.py --old b818117 --networks small_vit small_cnn --rounds 20
    python benchmarks/revisions.py --quick

Each revision is a process of its own, which runs its own ``train.py`` on the embedded images: augmentation, student,
loss, optimiser, EMA, progress and the log in a file, in the precision that ``trainer.precision=auto`` takes. A process
waits before its first step. It then does a block of ``--steps`` and waits again, so that at any time only one of them
works. The one that goes first changes from round to round, and the first block of each is not counted.

Milliseconds of a step are CPU time of all threads, and wall time: median, smallest and largest over the rounds.
``old_over_new`` is the ratio of a round's two blocks. ``loss_difference`` is the largest difference between the losses
of the two at the end of a block: 0 if they train the same, bit for bit. ``--old`` is a revision of this repository or a
folder that holds one. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OLD = "b818117"  # before any work on speed
NETWORKS = {
    "small_vit": ["model=vit", "model.heads=2", "model.mlp_ratio=4.0"],
    "small_cnn": ["model=small_cnn"],
    "deit_tiny": ["model=deit_tiny", "model.distilled=false"],  # no term here trains a DIST token
    "resnet18": ["model=resnet18"],
}
WORDS = (
    "experiment=baseline", "data=cues", "data.train=2112", "data.val=64", "data.test=64", "objective=null",
    "trainer=cpu", "trainer.val_every=200", "callback=[ema,throughput,progress]", "callback.ema.begin=0",
    "logger=[csv]", "epochs=200",
)  # fmt: skip
TRAINER = "lightning.pytorch.trainer.trainer"
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "KDBIAS_ALLOCATOR": "1",
}  # as both revisions start themselves with; a process that starts itself again would lose the other end


class Turns:
    """In a trainer: before a step, when a block is done, gives its cost, and waits for the number of steps of the next.

    ``answers`` is where it writes, a line for each block; it reads from standard input, and ends the process with it.
    """

    def __init__(self, answers: Any) -> None:
        self.answers, self.left, self.size = answers, 0, 0
        self.loss = 0.0
        self.began: tuple[float, float] | None = None

    def before(self) -> None:
        """Do what is due before a step."""
        if self.left == 0:
            wall, cpu = time.perf_counter(), time.process_time()
            found = [] if self.began is None else [wall - self.began[0], cpu - self.began[1]]
            self.answers.write(json.dumps([*(1000 * each / self.size for each in found), self.loss]) + "\n")
            self.answers.flush()
            self.left = self.size = int(sys.stdin.readline() or os._exit(0))  # type: ignore[func-returns-value]
            self.began = time.perf_counter(), time.process_time()
        self.left -= 1

    def after(self, loss: Any) -> None:
        """Keep the loss of a block's last step."""
        if self.left == 0:
            self.loss = float(loss)


class Watched:
    """A finder of the one module ``TRAINER``: once it is imported, its ``Trainer.fit`` takes turns."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Give the module's own spec, whose loader adds the turns."""
        found = PathFinder.find_spec(name, path) if name == TRAINER else None
        if found is None or found.loader is None:
            return None
        load = found.loader.exec_module

        def loaded(module: ModuleType) -> None:
            load(module)
            take_turns(module, self.turns)

        found.loader.exec_module = loaded  # type: ignore[method-assign]
        return found


def take_turns(module: Any, turns: Turns) -> None:
    """Have every trainer of Lightning's module take turns."""
    fit = module.Trainer.fit

    class Callback(module.Callback):  # type: ignore[misc,name-defined]
        def on_train_batch_start(self, *_: Any) -> None:
            turns.before()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            turns.after(outputs["loss"])

    def with_turns(self: Any, *args: Any, **options: Any) -> Any:
        self.callbacks.append(Callback())
        return fit(self, *args, **options)

    module.Trainer.fit = with_turns


def child(words: list[str], descriptor: int) -> None:
    """Run the ``train.py`` of this folder with these words, in turns."""
    sys.meta_path.insert(0, Watched(Turns(os.fdopen(descriptor, "w"))))  # type: ignore[arg-type]
    sys.argv = ["train.py", *words]
    sys.path.insert(0, os.getcwd())
    runpy.run_path("train.py", run_name="__main__")


class Side:
    """One revision's process, as the parent has it."""

    def __init__(self, tree: Path, words: list[str], threads: int, log: Path, stack: ExitStack) -> None:
        reading, writing = os.pipe()
        threaded = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": str(tree)}
        command = [sys.executable, str(Path(__file__).resolve()), "--child", str(writing), *words]
        self.log = log
        self.process = subprocess.Popen(
            command, cwd=tree, env={**os.environ, **ALLOCATOR, **threaded}, stdin=subprocess.PIPE, text=True,
            stdout=stack.enter_context(log.open("w")), stderr=subprocess.STDOUT, pass_fds=(writing,),
        )  # fmt: skip
        os.close(writing)
        stack.callback(self.end)
        self.answers = stack.enter_context(os.fdopen(reading))

    def answer(self) -> list[float]:
        """Wait for a block's end; give wall and CPU milliseconds of a step, and the loss.

        Raises:
            RuntimeError: the process has ended.
        """
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"the process of a revision has ended:\n{self.log.read_text()[-2000:]}")
        return [float(value) for value in json.loads(line)]

    def block(self, steps: int) -> list[float]:
        """Have ``steps`` done, and wait for them."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def tree_of(old: str) -> Iterator[Path]:
    """Give a folder with the files of a revision, or the folder that ``old`` is."""
    if Path(old).is_dir():
        yield Path(old).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "files.tar")
        try:
            subprocess.run(["git", "archive", "--output", str(archive), old], cwd=ROOT, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"--old: {old} is no revision here (a shallow clone and a downloaded archive have no history): "
                "name a folder with the older files, --old FOLDER"
            ) from error
        with tarfile.open(archive) as files:
            files.extractall(Path(folder, "tree"), filter="data")
        yield Path(folder, "tree")


def measured(network: str, trees: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    """Time both revisions of a network in turns."""
    found: dict[str, list[list[float]]] = {side: [] for side in trees}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        words = [*WORDS, *NETWORKS[network], f"batch_size={args.batch}", *args.words]
        sides = {
            name: Side(tree, [*words, f"hydra.run.dir={folder / name}"], args.threads, folder / f"{name}.log", stack)
            for name, tree in trees.items()
        }
        for side in sides.values():
            side.answer()  # it stands before its first step
        for turn in range(args.rounds + 1):
            order = list(sides) if turn % 2 else list(reversed(sides))
            for name in order:
                found[name].append(sides[name].block(args.steps))
    differences = [abs(old[2] - new[2]) for old, new in zip(found["old"], found["new"], strict=True)]
    counted = {name: blocks[1:] for name, blocks in found.items()}
    line: dict[str, Any] = {"loss_difference": max(differences)}
    for place, kind in enumerate(("wall", "cpu")):
        line[kind] = {name: three([block[place] for block in blocks]) for name, blocks in counted.items()}
        ratios = [a[place] / b[place] for a, b in zip(counted["old"], counted["new"], strict=True)]
        line[kind]["old_over_new"] = three(ratios)
    print(f"{network}: {json.dumps(line)}", file=sys.stderr, flush=True)
    return line


def three(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[3:], int(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default=OLD, help="a revision, or a folder")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--words", nargs="*", default=[], help="more words of both commands")
    parser.add_argument("--quick", action="store_true", help="the two small networks, batches of 16, three rounds")
    args = parser.parse_args()
    if args.quick:
        args.networks, args.batch, args.rounds = ["small_vit", "small_cnn"], 16, 3
    with tree_of(args.old) as old:
        networks = {each: measured(each, {"old": old, "new": ROOT}, args) for each in args.networks}
    from kdbias.runs.result import environment

    own = {"benchmark": "revisions", "old": args.old, "batch": args.batch, "threads": args.threads}
    print(json.dumps(own | {"networks": networks, "environment": environment()}))


if __name__ == "__main__":
    main()
