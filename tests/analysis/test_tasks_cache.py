"""analyze.py with what was computed before: nothing is computed twice, and nothing stale is read."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from config_base import composed

from kdbias.analysis import measure, networks, probe, references, tasks
from kdbias.config.errors import ConfigError
from kdbias.probes.base import Result
from kdbias.probes.cache import Cache, describe, key_of
from kdbias.train import train

SMALL = ["model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8", "trainer=smoke"]
CUES = ["data=cues", "data.train=200", "data.val=40", "data.test=60"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "exp" / "small"
    train(composed(["experiment=baseline", *SMALL, *CUES, f"paths.run={folder}"]))
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch):
    """A function that probes runs and gives the keys of the probes that were computed, and how often one was loaded."""
    done: list[str] = []
    loads: list[str] = []

    def counted(network, batches, probes):
        done.extend(probes)
        return observe(network, batches, probes)

    observe, load, initial = measure.observe, networks._student, references._initial
    monkeypatch.setattr(measure, "observe", counted)
    monkeypatch.setattr(networks, "_student", lambda *args: loads.append("run") or load(*args))
    monkeypatch.setattr(references, "_initial", lambda *args: loads.append("untrained") or initial(*args))

    def probed(*overrides: str) -> tuple[list[str], list[str]]:
        done.clear()
        loads.clear()
        settings = ["trainer=cpu", "task=probe", "probe=[attention]", "images=20", f"paths.runs={tmp_path}/runs"]
        tasks.run(composed([*settings, f"out={tmp_path}/out", *overrides], "analyze"))
        return list(done), list(loads)

    return probed


def test_a_second_call_computes_nothing_and_loads_nothing(run, call, tmp_path):
    assert call(f"runs=[{run}]") == (["attention", "attention"], ["run", "untrained"])
    first = (tmp_path / "out" / "attention.png").read_bytes()
    shutil.rmtree(tmp_path / "out")
    assert call(f"runs=[{run}]") == ([], [])
    assert (tmp_path / "out" / "attention.png").read_bytes() == first


def test_bias_is_cached_by_its_sets_and_its_reference(run, call, tmp_path, capsys):
    sets = ["probe=[bias]", "probe.bias.stress=[noise,brightness,conflict]", "probe.bias.strengths=[1]"]
    alone = [f"runs=[{run}]", "untrained=false", *sets]
    assert call(*alone)[1] == ["run"]
    said = capsys.readouterr().out
    assert "mce: there is no reference network: probe.bias.reference=" in said
    assert "is not above chance" in said
    assert call(*alone)[1] == []
    assert (tmp_path / "out" / "bias.png").is_file()
    own = ["probe.bias.stress=[{noise:{sigma:1.0}},brightness]", f"probe.bias.reference={run}"]
    assert call(*alone, *own)[1] == ["run"]
    found = Result.load(next((tmp_path / "out").glob("*/bias.json")).parent, "bias")
    assert found.scalars["mce"] == 1.0  # beside itself
    assert found.meta["n"] == 20
    assert found.meta["sets"]["noise"]["sigma"] == 1.0


def test_what_decides_a_result_is_computed_again(run, call, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "draw", lambda name, results: {})
    alone = (f"runs=[{run}]", "untrained=false")
    assert call(*alone) == (["attention"], ["run"])
    for change in ("probe.attention.collapse=2.0", "images=10", "split=val", "data.seed=1"):
        extra = ("data=cues", *CUES[1:]) if change.startswith("data") else ()
        assert call(*alone, *extra, change)[0] == ["attention"], change
    assert call(*alone, "cache=false")[0] == ["attention"]
    assert call(*alone)[0] == []
    copy = tmp_path / "other" / "exp" / "small"
    shutil.copytree(run, copy)
    assert call(f"runs=[{copy}]", "untrained=false")[0] == []  # the same weights in another place
    checkpoint = torch.load(copy / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["student.network.norm.bias"] += 1
    torch.save(checkpoint, copy / "checkpoints" / "best.ckpt")
    assert call(f"runs=[{copy}]", "untrained=false")[0] == ["attention"]


def test_a_reason_to_leave_a_network_out_is_kept_too(call, tmp_path, capsys):
    from safetensors.torch import save_file

    from kdbias.config.build import build
    from kdbias.data.cues import cues

    network = build({"_target_": "kdbias.models.resnet_cifar.small_cnn"}, cues(train=200, val=40, test=60).info).network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    named = ["teacher=small_cnn", f"teacher.weights={tmp_path}/w.safetensors", *CUES]
    for _ in range(2):
        with pytest.raises(ConfigError, match="attention measured none of the networks"):
            call(*named)
        assert "attention: small_cnn is left out, " in capsys.readouterr().out
    assert len(list((tmp_path / "runs" / "cache").iterdir())) == 1


@pytest.mark.parametrize("broken", ["result.json", "result.npz"])
@pytest.mark.parametrize("how", [b"", b"{", None])
def test_a_broken_entry_is_said_and_replaced(tmp_path, capsys, broken, how):
    cache = Cache(tmp_path)
    result = Result("attention", {"distance": 1.0}, {"a": torch.arange(5).numpy()}, {"n": 3})
    cache.save("key", result, {})
    path = tmp_path / "key" / broken
    path.unlink() if how is None else path.write_bytes(how)
    assert cache.load("key", "attention") is None
    assert "is broken" in capsys.readouterr().out
    cache.save("key", result, {})
    found = cache.load("key", "attention")
    assert found is not None
    assert found.scalars == result.scalars
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]  # nothing half made is left


def test_the_key_knows_defaults_and_the_teacher():
    node = {"_target_": "kdbias.probes.attention.AttentionProbe"}

    def key(node, weights="w", images=20, **given):
        return key_of(describe(node, weights, {"images": images}, given))

    base = key(node)
    assert key({**node, "collapse": 1.5}) == base  # its default
    assert (
        len({base, key({**node, "collapse": 2.0}), key(node, "v"), key(node, images=21), key(node, teacher="t")}) == 5
    )


def test_the_key_knows_the_files_of_a_folder_and_of_the_images_that_a_probe_learns_from():
    asked = []
    folder = SimpleNamespace(fingerprint=lambda split: asked.append(split) or f"files of {split}")
    tree = {"split": "test", "images": 20, "eval_batch_size": 10}
    keys = []
    for name, source in itertools.product(("accuracy.AccuracyProbe", "knn.KNNProbe"), (folder, object())):
        subject = SimpleNamespace(source={}, data=SimpleNamespace(source=source), teacher=None, weights="w", spec={})
        node = {"_target_": f"kdbias.probes.{name}"}
        keys.append(key_of(measure.Work._describe(SimpleNamespace(tree=tree, subject=subject), node)))
    assert len(set(keys)) == 4
    assert asked == ["test", "test", "train"]
