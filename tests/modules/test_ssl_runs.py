"""Whole runs without labels: what they leave, and how a collapse ends them."""

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from config_base import composed
from ssl_training import SMALL, make_data

from kdbias.config.errors import RunStopped
from kdbias.finish import Trained, finish
from kdbias.models.checkpoint import load_student, load_teacher
from kdbias.models.teacher import teacher_from_weights
from kdbias.modules.ssl_watch import CollapseWatch
from kdbias.train import train


def test_a_collapsed_run_says_so_stops_and_is_not_done(tmp_path, capsys):
    """Targets at a temperature of 10 are uniform whatever the network."""
    settings = ["epochs=20", "batch_size=40", "data.train=80", "trainer.limit_train_batches=null"]
    settings += ["module.teacher_temperature=10", "callback.knn.linear=0", f"paths.run={tmp_path}"]
    cfg = composed(["experiment=teacher_ssl_vit", "ssl=dino", *SMALL, *settings])
    with pytest.raises(RunStopped, match=r"the teacher's entropy is above 0\.99 ln K"):
        train(cfg)
    assert "stopped: collapsed: the teacher's entropy" in capsys.readouterr().out
    result = json.loads((tmp_path / "result.json").read_text())
    assert "from 10% to 20% of training" in result["stopped"]
    assert result["spec_hash"] is None
    assert result["steps"] < 15
    assert result["test"]["knn"] >= 0

    written = (tmp_path / "result.json").read_bytes()
    cfg.resume = str(tmp_path)
    with pytest.raises(RunStopped, match=r"had failed \(collapsed: the teacher's entropy .* start anew"):
        train(cfg)
    assert (tmp_path / "result.json").read_bytes() == written
    (tmp_path / "result.json").unlink()  # as of a run that was killed between its last checkpoint and its result
    with pytest.raises(RunStopped, match=r"the teacher's entropy is above"):
        train(cfg)
    again = json.loads((tmp_path / "result.json").read_text())
    assert (again["stopped"], again["spec_hash"]) == (result["stopped"], None)
    assert again["steps"] == result["steps"]


def test_a_process_without_a_test_does_not_end_the_one_that_tests():
    """Lightning kills the first process as soon as another ends with an error."""
    trainer: Any = SimpleNamespace(is_global_zero=False, callbacks=[])
    module: Any = SimpleNamespace(student=torch.nn.Linear(2, 2), stopped="collapsed")
    data: Any = None
    assert math.isnan(finish(Trained({}, "key", trainer, module, data)))


def test_a_whole_run_leaves_a_teacher_without_logits(tmp_path):
    cfg = composed(["experiment=teacher_ssl_vit", *SMALL, "epochs=2", f"paths.run={tmp_path}"])
    train(cfg)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stopped"] is None
    assert [result[key] for key in ("objective", "objective_name", "best_epoch")] == [None] * 3
    assert "val/knn" in result["metrics"]  # logged, and chosen by nobody
    last, taught = (
        torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best")
    )
    assert taught["global_step"] == last["global_step"] == result["steps"]
    assert taught["state_dict"]
    assert all(torch.equal(last["state_dict"][key], value) for key, value in taught["state_dict"].items())
    assert set(result["test"]) == {"knn", "linear", "linear_train"}
    assert 0 <= result["metrics"]["val/knn_initial"] <= 1
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert load_student(path)(torch.rand(2, 3, 32, 32)).logits is None
    assert load_teacher(path).info.classes is None
    info = make_data().info
    teacher = teacher_from_weights({"_target_": "kdbias.models.deit.vit", "layers": [0]}, info, path, "ssl_vit")
    assert len(teacher(torch.rand(2, 3, 32, 32)).tokens) == 1


def test_signs_that_stay_end_a_run():
    watch = CollapseWatch(begin=0.1, patience=0.1, rank=2.0)
    assert watch.see(0.05, {"rank": 1.0}) is None
    assert [watch.see(p, {"rank": 1.0}) for p in (0.10, 0.14, 0.19)] == [None] * 3
    assert watch.see(0.2, {"rank": 5.0, "std": 0.5}) is None  # it has recovered
    assert [watch.see(p, {"rank": 1.0}) for p in (0.3, 0.45)] == [None] * 2  # two sightings are few
    assert "effective rank is below 2 (1), from 30% to 46%" in str(watch.see(0.46, {"rank": 1.0}))


@pytest.mark.parametrize(
    ("sign", "value", "text"),
    [("std", 0.0, "deviation"), ("teacher_entropy", 0.999, "uniform"), ("marginal_entropy", 0.001, "one prototype")],
)
def test_every_sign_counts(sign, value, text):
    watch = CollapseWatch(patience=0.0)
    assert text in [watch.see(p, {sign: value}) for p in (0.2, 0.3, 0.4)][-1]


def test_what_was_seen_is_resumed():
    first, second = CollapseWatch(), CollapseWatch()
    for place in (0.2, 0.25):
        first.see(place, {"std": 0.0})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert "from 20% to 31%" in str(second.see(0.31, {"std": 0.0}))
