"""Teachers of another family and without training, and what every control keeps of a config."""

import copy

import pytest
import torch
from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from small_run import CNN, CONTROLS, VIT, control_node, history, saved
from teaching import RESNET, small, source
from torch.nn import BatchNorm2d

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain, spec_hash
from kdbias.controls.base import applied
from kdbias.controls.named import named_teacher
from kdbias.controls.random import Random, untrained
from kdbias.runs.teacher_recipe import recipe
from kdbias.train import build_teacher

MORE = {"random": {"images": 40}, "label_smoothing": {"images": 40}}  # so few that it is quick


def test_the_other_family_is_trained_on_the_images_of_the_teacher_that_it_replaces(cfg, data, tmp_path):
    own = {"shape_reliability": 1.0, "texture_reliability": 0.0}
    with open_dict(cfg):
        cfg.teacher.data, cfg.teacher.epochs, cfg.teacher.batch_size = own, 3, 64
        cfg.control = {**control_node("same_family"), "vit": "ssl_vit", "batch_size": 48}
        cfg.chosen = {"data": "cues", "trainer": "cpu", "overrides": []}
    _, used = applied(plain(cfg), data.info)
    assert (used["teacher"]["name"], used["teacher"]["data"]) == ("ssl_vit", own)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        child = compose("train", recipe(used, tmp_path, "train").overrides)
    assert {key: child.data[key] for key in own} == own
    assert child.batch_size == 48
    assert child.epochs != 3  # the recipe's own, as the batch would be without control.batch_size
    cfg.control.batch_size = None
    assert applied(plain(cfg), data.info)[1]["teacher"]["batch_size"] is None
    with open_dict(cfg):
        del cfg.teacher.data
        cfg.control.vit = "demo_shape"  # which has images of its own
    assert "data" not in applied(plain(cfg), data.info)[1]["teacher"]


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


def test_an_untrained_teacher_of_a_frozen_network_has_answers_and_statistics(cfg, data):
    """Of a frozen one only a classifier is trained, which therefore begins at 0, and BatchNorm keeps what it has."""
    model = {"_target_": "kdbias.models.timm_network.timm_network", "name": "test_resnet.r160_in1k", "size": 32}
    model |= {"pretrained": False, "classes": "data", "frozen": True, "layers": "all"}
    with open_dict(cfg):
        cfg.teacher.model, cfg.teacher.weights = model, None
    control = Random(images=40)
    tree = control.changed(plain(cfg), None)
    teacher = control.teacher(tree, data, source(data))
    tracked = [m.num_batches_tracked for m in teacher.extractor.network.modules() if isinstance(m, BatchNorm2d)]
    assert tracked
    assert all(int(one) > 0 for one in tracked)
    assert teacher(next(iter(data.batches("val"))).image).logits.std(0).min() > 0
    assert not any(parameter.requires_grad for parameter in teacher.extractor.parameters())
    assert cfg.teacher.model.frozen


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
