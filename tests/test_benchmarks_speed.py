"""Benchmarks of speed: each runs at its smallest, and its line holds what its page and its figure read."""

import importlib.util
import io
import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name):
    """Import a benchmark."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def of_a_script(monkeypatch):
    """The folder of a script is where it imports from."""
    monkeypatch.syspath_prepend(str(FOLDER))


def lines(name, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    script(name).main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_epochs_of_a_whole_experiment_are_timed_traced_and_have_a_floor(tmp_path, monkeypatch, capsys):
    words = ["--tiny", "--only", "exp1", "--warm", "1", "--epochs", "1", "--trace", str(tmp_path)]
    (found,) = lines("gpu", words, monkeypatch, capsys)
    median, low, high = found["seconds"]
    assert 0 < low == median == high
    assert found["images_per_second"] == pytest.approx(48 / low, abs=1)
    assert (found["steps"], found["batch"]) == (3, 16)
    assert 0 < found["outside"] < 1
    assert found["kernels_per_step"] > 100
    assert (found["waits"], found["peak_memory"]["of"]) == (None, "process")
    assert (tmp_path / "exp1.json").is_file()
    # ResNet-56 has 125.5 million products an image; a block of the student 8 width^2 a token and 2 tokens^2 width
    tokens, width = 18, 24
    student = 2 * 12 * (8 * tokens * width**2 + 2 * tokens**2 * width)
    assert found["gflops_per_image"] == pytest.approx((2 * 125.5e6 + 3 * student) / 1e9, rel=0.01)
    assert found["floor"] == pytest.approx(48 * found["gflops_per_image"] * 1e9 / 790e12, rel=0.01)
    assert found["over_floor"] > 1


def test_a_setting_is_its_experiment(monkeypatch):
    gpu = script("gpu")
    args = SimpleNamespace(tiny=False, warm=2, epochs=3, precision="auto", compile=True, data="cifar", words=["seed=3"])
    words = gpu.words("exp3_224", args, Path("run"))
    assert {"experiment=exp3_dino", "teacher.size=224", "data.root=cifar", "compile=true", "epochs=6"} <= set(words)
    assert words[-1] == "seed=3"
    gpu.cli.register()
    with gpu.initialize_config_dir(gpu.cli.conf_dir(), version_base="1.3"):
        for name in gpu.SETTINGS:
            tree = gpu.plain(gpu.compose("train", gpu.words(name, args, Path("run"))))
            assert (tree["batch_size"], tree["data"]["val"]) == (512, 0)


def test_costs_are_fitted_and_drawn(tmp_path, monkeypatch, capsys):
    sizes = {"width": [12, 24], "side": [16, 32], "batch": [4, 8], "images": [32, 64], "memory": [32, 64, 96]}
    words = ["--quick", "--sizes", json.dumps(sizes), "--figure", str(tmp_path / "scaling.png")]
    scaling = script("scaling")
    monkeypatch.setattr(scaling, "DEPTH", 1)
    monkeypatch.setattr(scaling, "WIDTH", 12)
    monkeypatch.setattr(scaling, "SETS", ("grey",))
    monkeypatch.setattr(sys, "argv", ["scaling.py", *words])
    scaling.main()
    found = json.loads(capsys.readouterr().out)
    assert list(found["step"]["tokens"]["cpu_seconds"]) == ["16", "64"]
    for one in [*found["step"].values(), *found["probes"].values()]:
        (small, low), (large, high) = one["cpu_seconds"].items()
        assert one["exponent"] == pytest.approx(math.log(high / low) / math.log(int(large) / int(small)), abs=0.02)
    memory = found["memory"]
    assert memory.pop("crd") == {"state_bytes_per_image": 2 * 128 * 4 + 8}  # two banks in fp32, and the classes
    assert all(list(one["peak_mb"]) == ["32", "64", "96"] for one in memory.values())
    assert all(low <= middle <= high for middle, low, high in (one["bytes_per_image"] for one in memory.values()))
    assert found["processes"]["efficiency"] == pytest.approx(
        found["processes"]["one"] / found["processes"]["two"], 0.01
    )
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_peers_train_the_same_network_and_absent_ones_are_named(monkeypatch, capsys):
    small = ["--student", "small_cnn", "--teacher", "small_cnn", "--batch", "4", "--negatives", "8", "--bank", "40"]
    words = [*small, "--images", "64", "--steps", "1", "--rounds", "1", "--only", "kd", "crd"]
    for name in ("KDBIAS_REPDISTILLER", "KDBIAS_MDISTILLER", "KDBIAS_LIGHTLY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["peers.py", *words])
    script("peers").main()
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert set(found["kd"]["cpu_ms"]) == {"kdbias", "kdbias auto", "timm"}
    assert found["kd"]["loss_difference"] < 0.01  # of several nats: another loss, weight or step would show
    assert found["kd"]["over_kdbias"]["timm"][0] > 0
    assert set(found["crd"]["cpu_ms"]) == {"kdbias", "kdbias auto"}
    assert "crd: mdistiller is left out: there is no checkout" in printed.err
    assert "kd: lightly-train is left out: there is no interpreter" in printed.err


def test_a_peer_in_another_interpreter_answers_a_line_whenever_it_is_told():
    elsewhere = script("peer_lightly").Elsewhere
    told = "import sys\nfor number, _ in enumerate(sys.stdin): print([number + 1.5, 2.0], flush=True)"
    peer = elsewhere([sys.executable, "-c", told])
    assert [peer(), peer()] == [(1.5, 2.0), (2.5, 2.0)]
    peer.end()
    ended = elsewhere([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="has ended"):
        ended()
    ended.end()


def _train(turns):
    for step in range(100):
        turns.before()
        turns.after(torch.tensor(float(step)))


@pytest.mark.parametrize("blocks", [(1,), (2, 1, 3)])
def test_a_process_in_turns_gives_the_cost_of_each_block(blocks, monkeypatch):
    revisions = script("revisions")
    answers = io.StringIO()
    turns = revisions.Turns(answers)
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{size}\n" for size in blocks)))
    clock = itertools.count()
    monkeypatch.setattr(revisions.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(revisions.time, "process_time", lambda: 0.0)
    monkeypatch.setattr(revisions.os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    with pytest.raises(SystemExit):
        _train(turns)
    found = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert found[0] == [0.0]
    assert [round(wall * size) for (wall, _, _), size in zip(found[1:], blocks, strict=True)] == [1000] * len(blocks)
    assert [loss for *_, loss in found[1:]] == [sum(blocks[: place + 1]) - 1 for place in range(len(blocks))]


def test_negatives_of_another_data_set_are_of_other_classes():
    steps = script("peer_steps")
    classes = torch.arange(30) % 3
    drawn = steps.Others(classes, 10)(torch.tensor([4, 5]))
    assert drawn[:, 0].tolist() == [4, 5]
    assert (classes[drawn[:, 1:]] != classes[[4, 5]][:, None]).all()


def test_an_older_revision_that_is_not_here_is_one_sentence(monkeypatch, tmp_path):
    """As in a shallow clone."""
    revisions = script("revisions")
    with (
        pytest.raises(SystemExit, match=r"--old: 0000000 is no revision here.*--old FOLDER"),
        revisions.tree_of("0" * 7),
    ):
        pass
    with revisions.tree_of(str(tmp_path)) as folder:
        assert folder == tmp_path.resolve()
