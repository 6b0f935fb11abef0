"""python benchmarks/zoo.py RUNS: make the networks of kdbias/zoo anew from the runs of ``analyze.py task=demo``.

``made`` in the description has the revision at which the command gave a network, and the words with which ``train.py``
trains the same recipe (the same spec hash) at any revision.
RUNS is the folder that the demo had as ``paths.runs``. Weights are rounded to 16 bits, and the accuracy in the
description is that of the rounded weights on the test set of the run. It prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from kdbias import zoo
from kdbias.analysis.networks import image_data
from kdbias.config.overrides import sets
from kdbias.config.spec import plain
from kdbias.files import digest, write_bytes, write_json
from kdbias.models.checkpoint import Checkpoint
from kdbias.models.features import Extractor
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.runs.run_folder import BEST, RESULT, saved_config
from kdbias.stats import accuracy

PLACES = {
    "demo-teacher": "teachers/demo_shape-cues-*",
    "demo-control": "studies/runs/demo_control-seed0-*",
    "demo-student": "studies/runs/demo_kl-seed0-*",
}
TEACHERS = {"demo-student": "demo-teacher"}
COMMAND = "python analyze.py task=demo"


def main() -> None:
    """Write all networks and print their accuracies and the size of the folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("runs", type=Path)
    runs = arguments.parse_args().runs
    scores = {name: made(name, only(runs, pattern))["accuracy"] for name, pattern in PLACES.items()}
    size = sum(path.stat().st_size for path in zoo.HOME.glob("demo-*"))
    print(json.dumps({"bytes": size, "accuracy": scores}))


def only(runs: Path, pattern: str) -> Path:
    """Give the one folder that fits."""
    found = sorted(runs.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{runs / pattern}: {len(found)} folders, and it must be one: give the folder of one demo")
    return found[0]


def made(name: str, folder: Path) -> dict[str, Any]:
    """Write one network of a run folder, and give its description."""
    checkpoint, result = Checkpoint(folder / BEST), json.loads((folder / RESULT).read_text())
    network = checkpoint.student().half()
    path = zoo.HOME / f"{name}{zoo.WEIGHTS}"
    write_bytes(path, save({key: value.contiguous() for key, value in network.network.state_dict().items()}))
    config = plain(saved_config(folder))
    data = config["data"]
    found = {
        "name": name,
        "sha256": digest(path),
        "parameters": result["parameters"],
        "accuracy": measured(network.float().eval(), data),
        "teacher": TEACHERS.get(name),
        "made": {
            "command": COMMAND,
            "revision": result["environment"]["git"],
            "words": [word for word in config["chosen"]["overrides"] if not sets(word, "paths", "hydra", "name")],
            "experiment": result["name"],
            "seed": result["seed"],
            "torch": result["environment"]["torch"],
            "weights": "rounded to 16 bits",
        },
        "licence": "Apache-2.0",
        "data": data,
        "epoch": checkpoint.epoch,
        "global_step": checkpoint.global_step,
        "spec": checkpoint.spec,
    }
    write_json(path.with_suffix(".json"), found)
    return found


def measured(network: Extractor, node: dict[str, Any]) -> dict[str, Any]:
    """Give the accuracy on the test set, with its 95 % interval over images."""
    data = image_data({"eval_batch_size": 500, "seed": 0}, node)
    right = AccuracyProbe()(network, data.batches("test")).arrays["right"]
    found = accuracy(right)
    return {"test": found.value, "low": found.low, "high": found.high, "images": len(right)}


if __name__ == "__main__":
    main()
