"""What a command costs before its work begins: CPU seconds of its whole process, and seconds of wall time.

    python benchmarks/startup.py
    python benchmarks/startup.py --rounds 1

``train.py --help``, a mistake that shows in the words, one that takes networks to find, a run of two steps with its
test, ``analyze.py task=list``, and ``task=evaluate`` of the run; beside them torch alone, of which the commands that
train consist for a good part. The commands take turns; a value is the median over rounds, with the smallest and
largest. Wall time means something on an idle machine alone. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ["train.py", "experiment=demo_control", "trainer=smoke"]
RUN = "RUN"  # stands for the run of two steps, in a command that comes after it
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "train.py --help": ["train.py", "--help"],
    "mistake in a value": ["train.py", "experiment=demo_control", "epochs=-3"],
    "mistake in a network": ["train.py", "experiment=exp1_resnet_kl", "data=cues", "teacher.layers=[77]"],
    "run of two steps": [*SMOKE, f"hydra.run.dir={RUN}"],
    "analyze.py task=list": ["analyze.py", "task=list"],
    "analyze.py task=evaluate": ["analyze.py", "task=evaluate", f"runs=[{RUN}]", "images=100", "cache=false"],
}
FAILS = ("mistake in a value", "mistake in a network")


def seconds_of(name: str, runs: str, turn: int) -> tuple[float, float]:
    """Run a command to its end; give user and system time together, and wall time.

    Raises:
        RuntimeError: it ended as it should not.
    """
    environment = {**os.environ, "KDBIAS_RUNS": runs, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [word.replace(RUN, str(Path(runs, f"run{turn}"))) for word in COMMANDS[name]]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if bool(done.returncode) != (name in FAILS):
        raise RuntimeError(f"{name}: status {done.returncode}: {done.stderr[-1000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def three(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as runs:
        for turn in range(1 if args.quick else args.rounds):
            for name, seconds in found.items():
                seconds.append(seconds_of(name, runs, turn))
    from kdbias.runs.result import environment

    result = {
        "benchmark": "startup",
        "cpu_seconds": {name: three([cpu for cpu, _ in each]) for name, each in found.items()},
        "wall_seconds": {name: three([wall for _, wall in each]) for name, each in found.items()},
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
