"""Teachers of a given accuracy: checkpoints of one training, or teachers of a graded list."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from small_run import history, saved
from teaching import source

from kdbias.checks.check import check
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain
from kdbias.controls.accuracy_matched import AccuracyMatched
from kdbias.controls.named import named_teacher
from kdbias.runs.teacher_recipe import recipe


def match(cfg, data, folder, accuracy, **settings):
    """What the control finds among the checkpoints at .31, .49 and .60."""
    cfg.teacher.weights = history(plain(cfg.teacher.model), data.info, folder)
    control, tree = AccuracyMatched(accuracy=accuracy, **settings), plain(cfg)
    teacher = control.teacher(tree, data, source(data))
    return control.report(), tree["teacher"]["weights"], teacher


@pytest.mark.parametrize(
    ("wanted", "chosen", "found"), [(0.5, "epoch_0002_0.4900", 0.49), (0.59, "epoch_0003_0.6000", 0.6)]
)
def test_the_nearest_checkpoint_of_its_training_teaches(cfg, data, tmp_path, wanted, chosen, found):
    report, weights, teacher = match(cfg, data, tmp_path, wanted)
    assert weights == str(tmp_path / f"{chosen}.ckpt")
    assert (report["chosen"], report["wanted"], report["accuracy"]) == (chosen, wanted, found)
    assert report["gap"] == pytest.approx(found - wanted)
    assert sorted(report["candidates"].values()) == [0.31, 0.49, 0.6]
    assert teacher.name == "small_cnn"


def test_the_weights_of_that_checkpoint_are_taken(cfg, data, tmp_path):
    cfg.teacher.weights = history(plain(cfg.teacher.model), data.info, tmp_path)
    path = tmp_path / "epoch_0002_0.4900.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["student.network.linear.bias"] += torch.arange(10)
    torch.save(content, path)
    teacher = AccuracyMatched(accuracy=0.5).teacher(plain(cfg), data, source(data))
    bias = teacher.extractor.network.linear.bias
    assert torch.equal(bias, content["state_dict"]["student.network.linear.bias"])


def test_a_candidate_too_far_away_is_refused_with_what_there_is(cfg, data, tmp_path):
    with pytest.raises(ValueError, match=r"control.accuracy=0.9: the nearest of .*0.6000 is 0.3000 away"):
        match(cfg, data, tmp_path, 0.9)
    assert match(cfg, data, tmp_path, 0.9, tolerance=0.4)[0]["accuracy"] == 0.6


def test_a_training_that_kept_no_checkpoint_says_why(cfg, data, tmp_path):
    cfg.teacher.weights = str(tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"control.every=5: .* kept no checkpoint.*multiple of trainer.val_every"):
        AccuracyMatched(accuracy=0.5).teacher(plain(cfg), data, source(data))


def test_the_nearest_graded_teacher_by_given_and_measured_accuracies(cfg, data, tmp_path):
    small = saved(named_teacher("resnet20")["model"], data.info, tmp_path)
    far, low = ({"weights": "w", "accuracy": value} for value in (0.93, 0.3))
    graded = {"resnet56": far, "resnet20": {"weights": small}, "resnet32": low}
    control = AccuracyMatched(accuracy=0.12, among="graded", graded=graded, tolerance=0.2)
    tree = control.changed(plain(cfg), None)
    teacher = control.teacher(tree, data, source(data))
    report = control.report()
    assert (report["chosen"], teacher.name, tree["teacher"]["weights"]) == ("resnet20", "resnet20", small)
    right = [teacher(b.image).logits.argmax(1) == b.target for b in data.batches("val")]
    assert report["accuracy"] == pytest.approx(float(torch.cat(right).float().mean()))
    assert report["candidates"]["resnet56"] == 0.93
    assert report["given"] == ["resnet56", "resnet32"]


def asked_for(cfg, data, monkeypatch, wanted, graded, measured=0.5):
    """The teachers that a choice among graded ones asks for, as their configs; all have the accuracy ``measured``."""
    asked = []
    monkeypatch.setattr("kdbias.controls.accuracy_matched.accuracy", lambda *_: measured)
    control = AccuracyMatched(accuracy=wanted, among="graded", graded=graded)
    control.teacher(control.changed(plain(cfg), None), data, lambda tree: asked.append(tree["teacher"]) or object())
    return asked, control.report()


def test_no_graded_teacher_is_trained_where_a_known_one_is_near(cfg, data, monkeypatch):
    graded = {"resnet32": {}, "resnet20": {"weights": "w", "accuracy": 0.917}, "resnet44": {}}
    asked, report = asked_for(cfg, data, monkeypatch, 0.917, graded)
    assert [(teacher["name"], teacher["weights"]) for teacher in asked] == [("resnet20", "w")]
    assert (report["chosen"], report["candidates"]) == ("resnet20", {"resnet20": 0.917})


def test_graded_teachers_are_trained_in_their_order_until_one_is_near(cfg, data, monkeypatch):
    with open_dict(cfg):
        cfg.teacher.epochs, cfg.teacher.batch_size, cfg.teacher.data = 7, 48, {"texture_reliability": 0.0}
    graded = {"resnet32": {}, "resnet20": {"weights": "w", "accuracy": 0.917}, "resnet44": {}}
    asked, report = asked_for(cfg, data, monkeypatch, 0.51, graded)
    assert [teacher["name"] for teacher in asked] == ["resnet32", "resnet32"]  # to be measured, and to teach
    assert report["candidates"] == {"resnet32": 0.5, "resnet20": 0.917}
    assert (asked[0]["epochs"], asked[0]["batch_size"], asked[0]["data"]) == (7, 48, {"texture_reliability": 0})
    with pytest.raises(ValueError, match=r"the nearest of resnet32 0.5000, .* resnet44 0.5000 is 0.1000 away"):
        asked_for(cfg, data, monkeypatch, 0.6, graded)


def test_an_accuracy_that_no_checkpoint_has_is_refused_before_the_run(cfg, data, tmp_path):
    cfg.teacher.weights = history(plain(cfg.teacher.model), data.info, tmp_path)
    with open_dict(cfg):
        cfg.control = {"_target_": "kdbias.controls.accuracy_matched.AccuracyMatched", "accuracy": 0.9}
    (problem,) = check(cfg)
    assert problem.startswith("control.accuracy=0.9: the nearest of epoch_0001_0.3100 0.3100, ")
    cfg.control.accuracy = 0.6
    assert check(cfg) == []


def test_the_training_that_keeps_checkpoints_is_another_one(cfg, tmp_path):
    with open_dict(cfg):
        cfg.chosen = {"data": "cues", "trainer": "cpu", "overrides": []}
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        plainly = recipe(plain(cfg), tmp_path, "train")
        kept = recipe(plain(cfg), tmp_path, "train", AccuracyMatched(accuracy=0.5, every=3).keep())
        composed_ = compose("train", kept.overrides)
    assert plainly.folder != kept.folder
    node = composed_.callback.checkpoint_history
    assert plain(node)["every"] == 3
    assert node._target_ == OmegaConf.load(f"{conf_dir()}/callback/history.yaml").checkpoint_history._target_
