"""The program as a user runs it: processes of train.py, on networks that take a second."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from preloaded import Forked
from safetensors.torch import save_file
from toy_run.start import wait_for

from kdbias.config.build import build
from kdbias.data.cues import cues

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "train.py"
HELD = HERE / "toy_run" / "held.py"
"""The same program, which stops after its first epoch."""
SMALL = ["model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8", "trainer=smoke"]
DATA = ["data.train=200", "data.val=40", "data.test=40", "callback=[checkpoint,throughput,progress]"]
STUDENT = ["experiment=exp1_resnet_kl", *SMALL, *DATA, "model.distilled=true"]
TOGETHER: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def logged_means(folder: Path) -> list[str]:
    """Give the training losses of the epochs that are in a run's ``metrics.csv``."""
    with (folder / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")]


def start(runs: Path, *arguments: str, program: Path = PROGRAM) -> Forked:
    return Forked([sys.executable, str(program), *arguments], cwd=runs, env=environment(runs), **TOGETHER)


def environment(runs: Path) -> dict[str, str]:
    return os.environ | {"KDBIAS_RUNS": str(runs), "OMP_NUM_THREADS": "1", "KDBIAS_ALLOCATOR": "0"}


def run(runs: Path, *arguments: str) -> str:
    process = start(runs, *arguments)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    return output


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_sweep_trains_its_teacher_first_and_repeated_does_nothing(tmp_path):
    """Two jobs share a teacher; that each of several is trained, and once, is for tests/runs/test_teacher_recipe.py."""
    sweep = ["-m", *STUDENT, "teacher=small_cnn", "loss.alpha=.3,.7"]
    assert "sweep: 2 jobs, 0 failed" in run(tmp_path, *sweep)
    results = sorted(tmp_path.glob("sweep/*/result.json"))
    found = [json.loads(path.read_text()) for path in results]
    settings = sorted((result["teacher"], result["spec"]["loss"]["alpha"]) for result in found)
    assert settings == [("small_cnn", 0.3), ("small_cnn", 0.7)]
    teachers = sorted(tmp_path.glob("teachers/*/result.json"))
    assert [path.parent.name.split("-")[0] for path in teachers] == ["small_cnn"]

    written = {path: path.stat().st_mtime_ns for path in [*results, *teachers]}
    output = run(tmp_path, *sweep)
    assert output.split("sweep: 2 jobs, 0 failed")[1].count("done already") == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!c]*/*/result.json")} == written


def test_a_killed_run_that_is_resumed_ends_as_if_nothing_had_been(tmp_path):
    command = ["experiment=baseline", *SMALL, *DATA, "callback=[checkpoint,ema,throughput,progress]"]
    command += ["data.train=120", "epochs=3", "trainer.limit_train_batches=20"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(tmp_path, *command, f"hydra.run.dir={whole}")

    process = start(tmp_path, *command, f"hydra.run.dir={killed}", program=HELD)
    wait_for((killed / "checkpoints" / "last.ckpt").is_file)
    # Lightning logs an epoch's means just after its checkpoint: a kill between the two would lose that row.
    wait_for(lambda: len(logged_means(killed)) > 0)
    second = start(tmp_path, f"resume={killed}")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 1
    assert f"{killed}: another process trains the run in it" in output
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert not (killed / "result.json").exists(), output

    run(tmp_path, f"resume={killed}")
    expected, found = last_weights(whole), last_weights(killed)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    logged, validated = [], []
    for folder in (whole, killed):
        with (folder / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        logged.append([(row["step"], row["train/loss"], row["val/accuracy"], row["val/loss"]) for row in rows])
        validated.append([row["epoch"] for row in rows if row["val/accuracy"]])
    assert logged[0] == logged[1]
    assert validated == [["0", "1", "2"]] * 2


def test_two_processes_make_one_run_on_one_machine_and_on_two(tmp_path):
    """torchrun starts the second pair, as on two machines of one process each; the weights are the same bit for bit."""
    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, cues(train=200, val=40, test=40).info).network
    save_file(network.state_dict(), tmp_path / "teacher.safetensors")
    two = ["trainer.devices=2", "trainer.strategy=ddp", f"hydra.run.dir={tmp_path}/two"]
    words = [*STUDENT, "teacher=small_cnn", f"teacher.weights={tmp_path}/teacher.safetensors"]
    run(tmp_path, *words, *two)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert (result["processes"], result["steps"], result["teacher"]) == (2, 2, "small_cnn")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    nodes = ["trainer.num_nodes=2", "trainer.strategy=ddp", f"hydra.run.dir={tmp_path}/nodes"]
    both = []
    for rank in range(2):
        agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}"]
        agent += ["--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={place}", str(PROGRAM), *words, *nodes]
        both.append(subprocess.Popen(agent, cwd=tmp_path, env=environment(tmp_path), **TOGETHER, text=True))
    output = "".join(process.communicate(timeout=900)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], output
    result = json.loads((tmp_path / "nodes" / "result.json").read_text())
    assert (result["processes"], result["steps"]) == (2, 2)
    one, other = (last_weights(tmp_path / name) for name in ("two", "nodes"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_two_processes_that_have_collapsed_leave_their_result(tmp_path):
    words = ["experiment=teacher_ssl_vit", "ssl=dino", *SMALL, "model.classes=null", "module.views.size=16"]
    words += ["data.train=80", "data.val=40", "data.test=40", "batch_size=20", "epochs=20", "logger=[csv]"]
    words += ["trainer.limit_train_batches=null", "module.teacher_temperature=10", "callback.knn.linear=0"]
    words += ["trainer.devices=2", "trainer.strategy=ddp"]
    process = start(tmp_path, *words, f"hydra.run.dir={tmp_path}/run")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 1, output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["processes"], result["spec_hash"]) == (2, None)
    assert "the teacher's entropy" in result["stopped"]
    assert "knn" in result["test"]
