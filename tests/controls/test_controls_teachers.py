"""Teachers of a given accuracy, of a family, and without training."""

import copy
from functools import cache

import pytest
import torch
from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from small_run import CNN, CONTROLS, VIT, control_node, history, saved

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain, spec_hash
from kdbias.controls.accuracy_matched import AccuracyMatched
from kdbias.controls.base import applied
from kdbias.controls.named import named_teacher
from kdbias.controls.random import Random, untrained
from kdbias.runs.teacher_recipe import recipe
from kdbias.train import build_data, build_teacher

SMALL = ["experiment=exp1_kl", "data=cues", "data.train=200", "data.val=60", "data.test=10", "batch_size=40"]
MORE = {"random": {"images": 40}, "label_smoothing": {"images": 40}}  # so few that it is quick
RESNET = {"_target_": "kdbias.models.resnet_cifar.resnet56"}


@cache
def small() -> DictConfig:
    found = composed([*SMALL, "model=vit", "model.depth=1", "teacher=small_cnn", "trainer=cpu"])
    with open_dict(found):
        found.teacher.model = {**CNN, "layers": "all"}
    return found


@pytest.fixture
def cfg():
    return copy.deepcopy(small())


@pytest.fixture
def data(cfg):
    return build_data(plain(cfg))


def source(data):
    return lambda tree: build_teacher(tree, data)


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
        cfg.teacher.epochs, cfg.teacher.data = 7, {"texture_reliability": 0.0}
    graded = {"resnet32": {}, "resnet20": {"weights": "w", "accuracy": 0.917}, "resnet44": {}}
    asked, report = asked_for(cfg, data, monkeypatch, 0.51, graded)
    assert [teacher["name"] for teacher in asked] == ["resnet32", "resnet32"]  # to be measured, and to teach
    assert report["candidates"] == {"resnet32": 0.5, "resnet20": 0.917}
    assert (asked[0]["epochs"], asked[0]["data"]) == (7, {"texture_reliability": 0})
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


def test_the_other_family_is_trained_on_the_images_of_the_teacher_that_it_replaces(cfg, data, tmp_path):
    own = {"shape_reliability": 1.0, "texture_reliability": 0.0}
    with open_dict(cfg):
        cfg.teacher.data = own
        cfg.control = {**control_node("same_family"), "vit": "ssl_vit"}
        cfg.chosen = {"data": "cues", "trainer": "cpu", "overrides": []}
    _, used = applied(plain(cfg), data.info)
    assert (used["teacher"]["name"], used["teacher"]["data"]) == ("ssl_vit", own)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        child = compose("train", recipe(used, tmp_path, "train").overrides)
    assert {key: child.data[key] for key in own} == own
    with open_dict(cfg):
        del cfg.teacher.data
        cfg.control.vit = "demo_shape"  # which has images of its own
    assert "data" not in applied(plain(cfg), data.info)[1]["teacher"]


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


def test_what_the_teachers_network_is_set_to_is_trained(tmp_path):
    cfg = composed(["experiment=exp1_kl", "data=cues", "teacher=timm_trained", "teacher.model.name=convnextv2_atto"])
    with open_dict(cfg):
        cfg.chosen = {"data": "cues", "trainer": "cpu", "overrides": []}
        cfg.teacher.layers = [1, 2]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        found = compose("train", recipe(plain(cfg), tmp_path, "train").overrides)
    assert (found.model.name, found.model.layers, found.name) == ("convnextv2_atto", "all", "teacher_timm")
    assert check(found) == []


def test_named_teachers():
    assert named_teacher("dinov2")["model"]["size"] == 224
    with pytest.raises(ValueError, match=r"there is no conf/teacher/resnet21.yaml"):
        named_teacher("resnet21")


def test_an_untrained_teacher_follows_its_seed_alone(cfg, data):
    spec = plain(cfg.teacher.model)
    before = torch.get_rng_state()
    first, again, other = (untrained(spec, data.info, seed).network.linear.weight for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_untrained_teacher_is_not_the_student_of_that_seed(data):
    spec = {"_target_": "kdbias.models.resnet_cifar.small_cnn"}
    torch.manual_seed(0)
    student = build(spec, data.info).network
    assert not torch.equal(untrained(spec, data.info, 0).network.linear.weight, student.linear.weight)


def test_a_deep_untrained_teacher_gives_answers_of_a_trained_ones_size(cfg, data):
    """Without statistics of its own images its logits are hundreds of times larger."""
    with open_dict(cfg):
        cfg.teacher.model = {**RESNET, "layers": "all"}
        cfg.teacher.weights = "of-a-trained-one.safetensors"
        cfg.control = {"_target_": "kdbias.controls.random.Random", "images": 80}
    tree = plain(cfg)
    control, used = applied(tree, data.info)
    assert (used["teacher"]["weights"], tree["teacher"]["weights"]) == (None, "of-a-trained-one.safetensors")
    teacher = control.teacher(used, data, source(data))
    image = next(iter(data.batches("val"))).image
    raw = untrained({**RESNET, "layers": "all"}, data.info, 0).eval()
    with torch.no_grad():
        assert raw(image).logits.abs().mean() > 100 * teacher(image).logits.abs().mean()
    report = control.report()
    assert report["seed"] == 0
    assert report["chance"] == 0.1
    assert 0 <= report["teacher_accuracy"] < 0.4


@pytest.mark.parametrize("name", CONTROLS)
def test_no_control_writes_into_the_config_that_it_is_given(cfg, data, tmp_path, monkeypatch, name):
    """What is hashed and saved, and the teacher of the checkpoints, are the config's own: a control changes a copy."""
    monkeypatch.setattr("kdbias.controls.accuracy_matched.accuracy", lambda *_: 0.5)
    weights = history(plain(cfg.teacher.model), data.info, tmp_path)
    with open_dict(cfg):
        cfg.teacher.weights = weights
        cfg.control = {**control_node(name), **MORE.get(name, {})}
        if name in ("self", "same_family"):
            cfg.control.weights = saved(plain(cfg.model) if name == "self" else VIT, data.info, tmp_path)
    tree = plain(cfg)
    before = copy.deepcopy(tree)
    control, used = applied(tree, data.info)
    control.teacher(used, data, lambda tree: build_teacher({**tree, "teacher": before["teacher"]}, data))
    assert tree == before
    assert tree is not used
    if name == "accuracy_matched":  # and what it found is in its own copy
        assert used["teacher"]["weights"] == str(tmp_path / "epoch_0002_0.4900.ckpt")


def test_an_untrained_teacher_is_the_network_that_the_checkpoint_describes(cfg, data, tmp_path):
    """And not that of the config, where weights may be of another size."""
    model = {**CNN, "widths": [4, 8, 12], "layers": "all", "classes": None}
    with open_dict(cfg):
        cfg.teacher.weights = history(model, data.info, tmp_path)
        cfg.control = {"_target_": "kdbias.controls.random.Random", "images": 40}
    control, used = applied(plain(cfg), data.info)
    teacher = control.teacher(used, data, source(data))
    real = build_teacher(plain(cfg), data)
    shapes = [{k: v.shape for k, v in one.extractor.network.state_dict().items()} for one in (teacher, real)]
    assert shapes[0] == shapes[1]
    assert used["teacher"]["model"] == model
    assert not torch.equal(*(next(one.extractor.network.parameters()) for one in (teacher, real)))


def test_an_untrained_teacher_of_another_networks_checkpoint_is_refused(cfg, data, tmp_path):
    with open_dict(cfg):
        cfg.teacher.weights = history({**RESNET}, data.info, tmp_path)
        cfg.control = {"_target_": "kdbias.controls.random.Random"}
    (problem,) = check(cfg)
    assert problem.startswith("teacher.weights: ")
    assert "holds a kdbias.models.resnet_cifar.resnet56, but the teacher is a" in problem


@pytest.mark.parametrize("seed", [None, 7])
def test_an_untrained_teacher_has_the_runs_seed_unless_told(cfg, data, seed):
    cfg.seed = 5
    control = Random(seed=seed, images=40)
    tree = control.changed(plain(cfg), None)
    teacher = control.teacher(tree, data, source(data))
    expected = untrained(tree["teacher"]["model"], data.info, seed or 5).network.linear.weight
    assert torch.equal(teacher.extractor.network.linear.weight, expected)


def test_a_control_makes_another_run(cfg):
    keys = {spec_hash(cfg)}
    for control in ("none", "random", "shuffled"):
        with open_dict(cfg):
            cfg.control = control_node(control)
        keys.add(spec_hash(cfg))
    assert len(keys) == 4
    assert "control" not in small()


def test_weights_of_a_control_count_by_their_content(cfg, data, tmp_path):
    keys = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        path = saved(CNN, data.info, tmp_path / name)
        with open_dict(cfg):
            cfg.control = {"_target_": "kdbias.controls.self.Self", "weights": path, "graded": {"x": {"weights": path}}}
        keys.append(spec_hash(cfg))
    assert keys[0] == keys[1]
