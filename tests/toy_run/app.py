"""A program with the flow of a training run and nothing to train: what the tests of sweeps and teachers start."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kdbias.config.spec import plain, spec_hash
from kdbias.runs import resuming, run_folder, sweep, teacher_recipe


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    if sweep.is_sweep_job():
        return sweep.run_job(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.resume is not None:
        cfg = resuming.resumed(cfg, HydraConfig.get().overrides.task)
        folder = Path(cfg.resume)
    run_folder.note_choices(cfg)
    (folder / "checkpoints").mkdir(exist_ok=True)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    if cfg.teacher.recipe is not None:
        print("teacher at", teacher_recipe.ensure_teacher(plain(cfg), Path(cfg.paths.teachers)))
    value, first = json.loads((folder / run_folder.LAST).read_text()) if cfg.resume is not None else (0.0, 0)
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{first}\n")
    if cfg.child:  # as a rank of a distributed run: in the same process group, deaf to an interrupt
        code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code])
        (folder / "child.txt").write_text(str(child.pid))
    (folder / "pid.txt").write_text(str(os.getpid()))
    for epoch in range(first, cfg.epochs):
        time.sleep(cfg.pause)
        value = 0.5 * value + cfg.x + cfg.data.level
        (folder / "last.new").write_text(json.dumps([value, epoch + 1]))
        (folder / "last.new").rename(folder / run_folder.LAST)
        while Path("hold").exists():  # a test that kills it has all the time it needs
            time.sleep(0.02)
    if cfg.fail:
        raise ValueError("this run was asked to fail")
    (folder / run_folder.BEST).write_text(json.dumps(value))
    (folder / "result.json").write_text(
        json.dumps({"spec_hash": spec_hash(cfg), "objective": value, "text": cfg.text, "data": dict(cfg.data)})
    )
    return value


if __name__ == "__main__":
    sweep.register()
    main()
