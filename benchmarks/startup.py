"""What a command costs before its work begins, in CPU seconds of its whole process.

    python benchmarks/startup.py
    python benchmarks/startup.py --rounds 1

``train.py --help``, a mistake that shows in the words, one that takes networks to find, a run of two steps, and
``analyze.py task=list``; beside them torch alone, of which the commands that train consist for a good part. The
commands take turns; a value is the median over rounds, with the smallest and largest. Prints one JSON line.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ["train.py", "experiment=demo_control", "trainer=smoke"]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "train.py --help": ["train.py", "--help"],
    "mistake in a value": ["train.py", "experiment=demo_control", "epochs=-3"],
    "mistake in a network": ["train.py", "experiment=exp1_resnet_kl", "data=cues", "teacher.layers=[77]"],
    "run of two steps": SMOKE,
    "analyze.py task=list": ["analyze.py", "task=list"],
}
FAILS = ("mistake in a value", "mistake in a network")


def cpu_seconds(name: str, runs: str) -> float:
    """Run a command to its end; give user and system time.

    Raises:
        RuntimeError: it ended as it should not.
    """
    environment = {**os.environ, "KDBIAS_RUNS": runs, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *COMMANDS[name]], cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if bool(done.returncode) != (name in FAILS):
        raise RuntimeError(f"{name}: status {done.returncode}: {done.stderr[-1000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    args = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as runs:
        for _ in range(1 if args.quick else args.rounds):
            for name, seconds in found.items():
                seconds.append(cpu_seconds(name, runs))
    from kdbias.runs.result import environment

    result = {
        "benchmark": "startup",
        "cpu_seconds": {
            name: [round(value, 2) for value in (statistics.median(each), min(each), max(each))]
            for name, each in found.items()
        },
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
