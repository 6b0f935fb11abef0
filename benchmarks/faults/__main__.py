"""Faults on purpose, counted: kills, full disks, malformed and hostile files, random configs, lost processes, memory.

    make faults
    python benchmarks/faults --seconds 900 --only kills,ranks

Prints the table of docs/reliability.md, every trial that was lost, and a JSON line; ends with status 1 if one was lost.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import warm
from attacks import attacks
from configs import configs
from disks import disks
from kills import kills
from malformed import malformed
from memory import memory
from ranks import ranks
from tally import HEAD, Clock, Tally

PARTS: dict[str, tuple[float, Callable[[Path, Clock], list[Tally]]]] = {
    "malformed": (0.06, malformed),
    "attacks": (0.1, attacks),
    "configs": (0.22, configs),
    "disks": (0.14, disks),
    "memory": (0.08, memory),
    "ranks": (0.28, ranks),
    "kills": (0.24, kills),
}
"""Each with its share of the seconds; what one leaves, the next ones have."""


def main() -> None:
    """Try the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900, help="for all trials")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    args = parser.parse_args()
    chosen = args.only.split(",")
    shares, clock, found = sum(PARTS[name][0] for name in chosen), Clock.of(args.seconds), []
    warm.prepare()
    folder = Path(tempfile.mkdtemp(prefix="kdbias-faults-"))
    print(HEAD, flush=True)
    for name in chosen:
        share, part = PARTS[name]
        for tally in part(folder, Clock.of(clock.left() * share / shares)):
            found.append(tally)
            print(tally.row(), flush=True)
            for line in tally.lost:
                print(f"lost: {line}", file=sys.stderr, flush=True)
        shares -= share
    shutil.rmtree(folder, ignore_errors=True)
    tried, lost = sum(one.tried for one in found), sum(len(one.lost) for one in found)
    print(json.dumps({"benchmark": "faults", "tried": tried, "survived": tried - lost, "lost": lost}))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
