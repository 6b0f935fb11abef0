"""SSKD as a module: its step is the functional's, it resumes, two processes equal one, a whole run leaves a student."""

import copy
import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from config_base import composed
from processes import found_by
from sskd_runs import CNN, VIT, fit, make_data, make_module, make_teacher, save_head
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from kdbias.callbacks.averaging import EMA
from kdbias.config.build import build
from kdbias.config.errors import ArgumentError, ConfigError
from kdbias.data.rotations import Rotations
from kdbias.functional.sskd import sskd_parts
from kdbias.models.checkpoint import load_student
from kdbias.train import train

DIST = {**VIT, "distilled": True}


@pytest.mark.parametrize(("student", "teacher"), [(VIT, CNN), (CNN, VIT), (DIST, CNN)])
def test_the_terms_of_a_step_are_those_of_the_function_on_the_same_views(student, teacher, tmp_path):
    taught = make_teacher(teacher)
    module = make_module(tmp_path, taught, student, ratio_tf=0.5, temperatures=[3.0, 2.0, 0.4], weights="paper")
    before = copy.deepcopy(module)
    fit(module, tmp_path, max_epochs=1, limit_train_batches=1)
    batch = next(iter(make_data().train_dataloader()))
    views = Rotations()
    image = views.view(batch.image, views.draw(8, 0, 0, 0))
    of_student, of_teacher = before.student.train()(image), taught(image)
    parts = sskd_parts(
        of_student.logits, of_teacher.logits, before.head(of_student.pooled), before.teacher_head(of_teacher.pooled),
        batch.target, 0.5, 0.75, (3.0, 2.0, 0.4),
    )  # fmt: skip
    logged = module.trainer.callback_metrics
    for name, weight in (("ce", 0.1), ("kd", 0.9), ("tf", 10.0), ("ss", 2.7)):
        torch.testing.assert_close(logged[f"loss/{name}"], parts[name].detach(), msg=lambda m, n=name: f"{n}: {m}")
        assert module.weights[name] == weight
        assert parts[name] > 0
    total = 0.1 * parts["ce"] + 0.9 * parts["kd"] + 10 * parts["tf"] + 2.7 * parts["ss"]
    torch.testing.assert_close(logged["train/loss_step"], total.detach())
    assert logged["train/accuracy"] == (of_student.class_logits[::4].argmax(1) == batch.target).float().mean()


def test_averaged_weights_get_the_batchnorm_statistics_of_the_views(tmp_path):
    """On the upright images alone, which the student never sees alone, those of a CNN are others."""
    module = make_module(tmp_path, make_teacher(VIT), CNN)
    trained = fit(module, tmp_path, max_epochs=2, callbacks=[EMA(begin=0.5, bn_batches=4)])
    found = {name: value.clone() for name, value in trained.student.state_dict().items() if "running" in name}
    views, loader = Rotations(), make_data().train_dataloader()
    loader.sampler.set_epoch(1)
    images = [views.view(batch.image, views.draw(8, 0, 1, step)) for step, batch in enumerate(loader)]
    update_bn(images, trained.student)
    for name, value in found.items():
        torch.testing.assert_close(value, trained.student.state_dict()[name])
    update_bn([image[::4] for image in images], trained.student)
    assert any(not torch.allclose(value, trained.student.state_dict()[name]) for name, value in found.items())


def test_all_of_the_student_and_its_head_learn_and_nothing_of_the_teacher(tmp_path):
    teacher = make_teacher()
    module = make_module(tmp_path, teacher, {**DIST, "inference": "cls"})
    before = {name: value.clone() for name, value in module.state_dict().items()}
    taught = {name: value.clone() for name, value in teacher.extractor.state_dict().items()}
    fit(module, tmp_path, max_epochs=1)
    still = {name for name, value in module.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in still if name.startswith("teacher_head.")} == {
        f"teacher_head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert not any(name.startswith(("head.", "student.network.blocks")) for name in still)
    assert all(torch.equal(value, taught[name]) for name, value in teacher.extractor.state_dict().items())


def test_every_parameter_has_a_gradient_as_ddp_demands(tmp_path):
    module = make_module(tmp_path, make_teacher(), {**DIST, "inference": "cls"}, weights=[1, 0, 0, 0])
    image = torch.rand(8, 3, 32, 32)
    module.compare(module.student(image), module.teacher(image), torch.tensor([1, 2]))[0].backward()
    assert [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == [
        f"teacher_head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    ]


def test_resume_equals_an_uninterrupted_run_bit_for_bit_whatever_became_of_the_head_s_file(tmp_path):
    whole = fit(make_module(tmp_path, make_teacher(), CNN), tmp_path).state_dict()
    fit(make_module(tmp_path, make_teacher(), CNN), tmp_path, stop=2)
    module = make_module(tmp_path, make_teacher(), CNN)
    with torch.no_grad():
        module.teacher_head[0].weight += 1.0
    resumed = fit(module, tmp_path, resume=tmp_path / "stop.ckpt").state_dict()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert whole.keys() == resumed.keys()


def trained(folder: Path, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Train for an epoch in fp64, with the trainer of the world that there is; give weights and logged terms."""
    if world > 1:  # the group of processes is there already; this says so to the trainer
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_RANK": 0}
        place |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
        os.environ.update({key: str(value) for key, value in place.items()})
    teacher = make_teacher()
    teacher.extractor.double()
    (folder / str(rank)).mkdir()
    weights = [0.1, 0.9, 2.7, 1e4]  # similarities of noise differ little
    module = make_module(folder / str(rank), teacher, ratio_tf=0.5, ratio_ss=0.5, weights=weights)
    strategy = "ddp" if world > 1 else "auto"
    fit(module, folder, max_epochs=1, precision="64-true", devices=world, strategy=strategy, limit_val_batches=0)
    terms = {name: value for name, value in module.trainer.callback_metrics.items() if name.startswith("loss/")}
    return {**{name: value.detach() for name, value in module.state_dict().items()}, **terms}


def test_two_processes_with_half_the_batch_train_the_student_of_one(tmp_path):
    (tmp_path / "one").mkdir()
    one = trained(tmp_path / "one", 0, 1)
    found = found_by(partial(trained, tmp_path), 2, tmp_path, "forkserver")
    untrained = make_module(tmp_path, make_teacher()).state_dict()
    for name in ("head.0.weight", "student.network.blocks.0.attn.qkv.weight"):
        assert float((one[name] - untrained[name]).abs().max()) > 1e-3
    for two in found:
        assert two.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_heads_and_terms_are_computed_in_fp32_under_autocast(tmp_path):
    module = make_module(tmp_path, make_teacher())
    image = torch.rand(8, 3, 32, 32)
    target = torch.tensor([1, 2])
    features, taught = module.student(image), module.teacher(image)
    plain, _ = module.compare(features, taught, target)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, parts = module.compare(features, taught, target)
    assert torch.equal(mixed, plain)
    assert {value.dtype for value in parts.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("code", [0.1, 0.9, 2.7, 10]), ("supplement", [0.1, 0.9, 3, 5]), ([1, 0, 2.5, 0], [1, 0, 2.5, 0])],
)
def test_weights_are_a_preset_or_numbers(weights, expected, tmp_path):
    found = make_module(tmp_path, make_teacher(), weights=weights).weights
    assert found == dict(zip(("ce", "kd", "tf", "ss"), expected, strict=True))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"weights": "ours"}, "weights"), ({"weights": [1, 2, 3]}, "weights"), ({"weights": [0, 0, 0, 0]}, "weights"),
        ({"weights": [1, 1, 1, -1]}, "weights"), ({"temperatures": [4, 4]}, "temperatures"),
        ({"temperatures": [4, 4, 0]}, "temperatures"), ({"ratio_tf": 1.1}, "ratio_tf"), ({"ratio_ss": -1}, "ratio_ss"),
        ({"views": {"_target_": "kdbias.data.ssl_views.TwoViews"}}, "views"),
        ({"views": {"_target_": "kdbias.data.rotations.Rotations", "crop": -1}}, "views.crop"),
        ({"head": {"epochs": 0}}, "head.epochs"), ({"head": {"batch_size": 1}}, "head.batch_size"),
        ({"head": {"batch_size": 33}}, "head.batch_size"), ({"head": {"lr": 0}}, "head.lr"),
        ({"head": {"milestones": [30, 45]}}, "head.milestones"), ({"head": {"momentum": 1}}, "head.momentum"),
        ({"head": {"epoch": 3}}, "head.epoch"), ({"head": 3}, "head"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_named(change, key, tmp_path):
    with pytest.raises(ArgumentError) as caught:
        make_module(tmp_path, make_teacher(), **change)
    assert caught.value.argument == key


def test_an_untrained_head_teaches_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"module\.head\.weights: the teacher's head is untrained"):
        fit(make_module(tmp_path, make_teacher(), head={"batch_size": 8}), tmp_path)


def whole_run(folder: Path, *changes: str):
    """Give the config of a small run that distils from the weights of ``teacher.pth``."""
    if not (folder / "teacher.pth").exists():
        torch.save(make_teacher().extractor.network.state_dict(), folder / "teacher.pth")
    return composed([
        "method=sskd", "loss=[]", "augment=none", "trainer=smoke", "batch_size=8", "data.train=120", "data.val=40",
        "data.test=40", "model=small_cnn", "model.widths=[4,8]", "teacher=small_cnn", "teacher.model.widths=[4,8]",
        f"teacher.weights={folder}/teacher.pth", "callback=[checkpoint]", "logger=[csv]", "module.head.epochs=2",
        "module.head.batch_size=8", f"paths.runs={folder}", *changes,
    ])  # fmt: skip


def test_a_whole_run_trains_the_head_once_and_leaves_a_student(tmp_path, capsys):
    train(whole_run(tmp_path, f"paths.run={tmp_path}/one"))
    said = capsys.readouterr().out
    assert said.count("SSKD's head of small_cnn not found: training it first (2 epochs)") == 1
    best = tmp_path / "one" / "checkpoints" / "best.ckpt"
    assert load_student(best)(torch.rand(2, 3, 32, 32)).logits.shape == (2, 10)
    head = next((tmp_path / "teachers").glob("small_cnn-sskd_head-*/head.pth"))

    result = tmp_path / "one" / "result.json"
    accuracy = json.loads(result.read_text())["test"]["accuracy"]
    result.unlink()  # as of a run that was killed before its result
    train(whole_run(tmp_path, f"paths.run={tmp_path}/one", f"resume={tmp_path}/one"))
    assert json.loads(result.read_text())["test"]["accuracy"] == accuracy
    capsys.readouterr()

    train(whole_run(tmp_path, f"paths.run={tmp_path}/two", "seed=1", "module.weights=paper"))
    said = capsys.readouterr().out
    assert f"SSKD's head of small_cnn found: {head}" in said
    assert "training it first" not in said

    head.write_bytes(head.read_bytes()[:-200])
    with pytest.raises(ConfigError) as caught:
        train(whole_run(tmp_path, f"paths.run={tmp_path}/three"))
    message = str(caught.value)
    assert message.startswith(f"module.head.weights: {head} cannot be read as weights: it is cut short or damaged")
    assert "\n" not in message
    assert "remove it, and it will be trained again" in message


def test_a_given_head_is_taken_and_that_of_another_network_is_refused(tmp_path):
    teacher = make_teacher()
    module = make_module(tmp_path, teacher)
    given = torch.load(tmp_path / "head.pth")["state_dict"]
    assert all(torch.equal(value, given[name]) for name, value in module.teacher_head.state_dict().items())
    for head in (save_head(tmp_path, 7), tmp_path / "teacher.pth"):
        torch.save(teacher.extractor.network.state_dict(), tmp_path / "teacher.pth")
        spec = {**module.spec, "module": {**module.spec["module"], "head": {"batch_size": 8, "weights": str(head)}}}
        with pytest.raises(ConfigError, match=r"module\.head\.weights: .* is no head of this teacher: [14]"):
            build(spec["module"], spec, teacher, group="module")


def test_the_teacher_must_know_the_same_classes(tmp_path):
    with pytest.raises(ArgumentError, match=r"module\.teacher: it has no classes, the data 10"):
        make_module(tmp_path, make_teacher({**CNN, "classes": None}))


def test_pairs_is_the_share_of_rotated_images_that_find_their_own(tmp_path):
    module = make_module(tmp_path, make_teacher())
    image = torch.rand(4, 3, 32, 32).repeat_interleave(4, 0)  # four views of each image that are all alike
    _, parts = module.compare(module.student(image), module.teacher(image), torch.arange(4))
    assert parts["pairs"] == 1.0
    shuffled = module.student(image.roll(4, 0).where((torch.arange(16) % 4 > 0)[:, None, None, None], image))
    _, parts = module.compare(shuffled, module.teacher(image), torch.arange(4))
    assert parts["pairs"] == 0.0


def test_official_cross_entropy_of_the_upright_images_alone(tmp_path):
    module = make_module(tmp_path, make_teacher(), weights=[1, 0, 0, 0])
    image, target = torch.rand(8, 3, 32, 32), torch.tensor([3, 8])
    student = module.student(image)
    loss, _ = module.compare(student, module.teacher(image), target)
    torch.testing.assert_close(loss, F.cross_entropy(student.logits[[0, 4]], target))
