"""``init=CHECKPOINT``: a run of its own that starts from the weights of another."""

import shutil

import pytest
import torch
from config_base import composed
from test_train import SMALL

from kdbias.checks.check import check
from kdbias.config.spec import spec_hash
from kdbias.models.checkpoint import Checkpoint, load_student
from kdbias.models.weights_file import WeightsError
from kdbias.train import train

MOVING = {"running_mean", "running_var", "num_batches_tracked"}  # of BatchNorm, at any learning rate


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Give the last checkpoint of a run."""
    folder = tmp_path_factory.mktemp("first")
    train(composed([*SMALL, f"paths.run={folder}"]))
    return folder / "checkpoints" / "last.ckpt"


def start(first, folder, *changes):
    return composed([*SMALL, f"paths.run={folder}", f"init={first}", *changes])


def test_training_starts_from_the_weights(first, tmp_path):
    train(start(first, tmp_path, "epochs=1", "optim.optimizer.lr=1e-12", "optim.optimizer.weight_decay=0"))
    before, after = Checkpoint(first).weights, Checkpoint(tmp_path / "checkpoints" / "last.ckpt").weights
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-6) for name in before)


def test_a_fresh_classifier_where_the_classes_differ(first, tmp_path):
    state = Checkpoint(first).weights
    state = {name: value[:7] if name.startswith("head.") else value for name, value in state.items()}
    torch.save(state, tmp_path / "seven.pth")
    train(start(tmp_path / "seven.pth", tmp_path / "run", "epochs=1"))
    assert load_student(tmp_path / "run" / "checkpoints" / "last.ckpt").info.classes == 10


@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_every_network_of_training_without_labels_starts_from_the_weights(method, tmp_path):
    network = ["model=vit", "model.classes=null", "module.views.size=16"]
    words = [word for word in SMALL if not word.startswith(("experiment", "epochs", "callback", "model=vit"))]
    words = ["experiment=teacher_ssl_vit", f"ssl={method}", *network, *words, "epochs=1", "callback=[checkpoint]"]
    train(composed([*words, f"paths.run={tmp_path / 'first'}"]))
    path = tmp_path / "first" / "checkpoints" / "last.ckpt"
    rests = [f"init={path}", "optim.optimizer.lr=1e-12", "optim.optimizer.weight_decay=0"]
    train(composed([*words, "seed=7", *rests, f"paths.run={tmp_path / 'second'}"]))
    before = {name: value for name, value in Checkpoint(path).weights.items() if not MOVING & set(name.split("."))}
    saved = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    networks = [name for name in ("student", "online") if any(key.startswith(f"{name}.") for key in saved)]
    assert networks == ["student", *(["online"] if method == "dino" else [])]
    for network in networks:
        for name, value in before.items():
            torch.testing.assert_close(saved[f"{network}.network.{name}"], value, rtol=0, atol=1e-5)


def test_it_is_a_run_of_its_own_that_resumes_without_starting_again(first, tmp_path):
    cfg = start(first, tmp_path)
    plain_run = composed([*SMALL, f"paths.run={tmp_path}"])
    assert spec_hash(cfg) != spec_hash(plain_run)
    moved = tmp_path / "moved.ckpt"
    shutil.copy(first, moved)
    assert spec_hash(start(moved, tmp_path)) == spec_hash(cfg)  # known by its content
    train(cfg)
    last = tmp_path / "checkpoints" / "last.ckpt"
    trained = {name: value.clone() for name, value in Checkpoint(last).weights.items()}
    (tmp_path / "result.json").unlink()
    cfg.resume = str(tmp_path)
    train(cfg)
    again = Checkpoint(last).weights
    assert all(torch.equal(again[name], trained[name]) for name in trained)


def test_what_does_not_fit_or_is_not_there_is_one_line(first, tmp_path):
    assert check(start(tmp_path / "none.ckpt", tmp_path)) == [
        f"init: there is no file {tmp_path}/none.ckpt: give a checkpoint, as RUN/checkpoints/best.ckpt, or weights"
    ]
    assert check(start("3", tmp_path))[0].startswith("init: must be")
    with pytest.raises(WeightsError, match=r"^init: the weights do not fit VisionTransformer as configured"):
        train(start(first, tmp_path, "model.width=32"))
