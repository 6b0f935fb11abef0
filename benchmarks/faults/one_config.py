"""Train one config from a JSON file: ``python benchmarks/faults/one_config.py CONFIG.json``.

A config with several devices starts its other processes by the command of the first, so that command must be one that
names the config.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from omegaconf import OmegaConf


def main(path: Path) -> None:
    """Train in the present folder; a refusal is one line, and the status 1."""
    from kdbias import cli
    from kdbias.config.errors import ConfigError, RunStopped
    from kdbias.train import train

    cli.register()
    cfg = OmegaConf.create(json.loads(path.read_text()))
    OmegaConf.update(cfg, "paths", {"runs": "runs", "run": "run", "checkpoints": "run/checkpoints"})
    OmegaConf.update(cfg, "chosen", {"data": "cues", "trainer": "smoke", "overrides": []}, force_add=True)
    try:
        train(cfg)
    except (ConfigError, RunStopped) as error:
        raise SystemExit(f"refused: {error}") from error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
