"""How long each stress set takes to build, from the images to the files, by the processes of all cores.

    python benchmarks/stress.py --root FOLDER
    python benchmarks/stress.py --root FOLDER --images 500 --sets shape zoom_blur

``FOLDER`` holds ``cifar-10-batches-py``; the sets are made of its test images, at strength 1, in a temporary folder.
Of each set: seconds by the clock, and CPU seconds of this process and of those that it started (``cpu``), which other
work on the machine hardly changes. ``limits`` are seconds for 10,000 images on two idle cores; ``over`` names the sets
that took longer, and is null for another number of images. ``refused`` has the reason of each set that cannot be built
here, such as frost without its photographs. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

ALL = 10_000
SILHOUETTE = {"silhouette": {"_target_": "kdbias.stress.shape.Shape", "engine": "grabcut"}}
SETS: tuple[Any, ...] = (
    *("grey", "noise", "scramble", "rotate", "smooth", "texture", "conflict", "superpixel", "shape", SILHOUETTE),
    *("scramble_grey", "smooth_grey", "smooth_scramble", "corruption", "corruption_extra"),
)
LIMITS = {"scramble": 2, "rotate": 2, "noise": 2, "grey": 2, "texture": 10, "shape": 10, "superpixel": 20}
LIMITS |= {"silhouette": 600}


def spent() -> float:
    """Give the CPU seconds of this process and of those that it has started, which must have ended."""
    while running := multiprocessing.active_children():
        for child in running:
            child.join()
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def timed(stress: Any, source: Any, images: int, workers: int | None) -> dict[str, float]:
    """Build one set, and give its seconds and CPU seconds."""
    from kdbias.stress import load

    with TemporaryDirectory(prefix="kdbias-stress-") as folder:
        began, before = monotonic(), spent()
        load(stress, source, root=folder, limit=images, workers=workers)
        return {"seconds": round(monotonic() - began, 2), "cpu": round(spent() - before, 2)}


def main() -> None:
    """Build, measure and print."""
    # the processes that build import this file again: without torch they start as quickly as those of analyze.py
    from kdbias.data.cifar import cifar10
    from kdbias.probes.bias_sets import chosen
    from kdbias.runs.result import environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--images", type=int, default=ALL)
    parser.add_argument("--sets", nargs="+", default=None, help="names, also of conf/stress; all of them by default")
    parser.add_argument("--workers", type=int, default=None, help="processes; by default up to all cores")
    given = parser.parse_args()
    named = [SILHOUETTE if name == "silhouette" else name for name in given.sets or SETS]
    source = cifar10(root=str(given.root), download=False)
    source.split("test")
    sets, refused = chosen(named, (1.0,), size=32, channels=3)
    for name, reason in refused.items():
        print(f"{name:20} refused: {reason}", file=sys.stderr)
    found: dict[str, dict[str, float]] = {}
    for one in sets:
        found[one.name] = timed(one.stress, source, given.images, given.workers)
        print(f"{one.name:20} {found[one.name]}", file=sys.stderr)
    over = [name for name, limit in LIMITS.items() if name in found and found[name]["seconds"] > limit]
    shown = {
        "images": given.images,
        "cores": len(os.sched_getaffinity(0)),
        "sets": found,
        "refused": refused,
        "limits": LIMITS,
    }
    shown["over"] = over if given.images == ALL else None
    print(json.dumps({"benchmark": "stress", **shown, "environment": environment()}))


if __name__ == "__main__":
    main()
