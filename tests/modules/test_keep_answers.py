"""``teacher.cache``: the same weights as without, made once, and gone on with after an end in the middle."""

import copy
import functools
import operator
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from config_base import composed
from filelock import FileLock
from full_disk import disk_of
from safetensors.torch import save_file
from training import quiet_trainer

from kdbias.config.build import build
from kdbias.config.errors import ConfigError
from kdbias.config.spec import plain
from kdbias.controls.shuffled import ShuffledTeacher
from kdbias.data.cues import CueSource
from kdbias.models.kept_answers import KeptTeacher
from kdbias.models.teacher import Teacher
from kdbias.modules import keep_answers as module_of
from kdbias.modules.distill import Distill
from kdbias.modules.keep_answers import keep_answers
from kdbias.train import build_data, module_spec, train

EPOCHS = 3
WORDS = [
    *("experiment=exp1_resnet_kl", "loss=[ce,kl,token,cka,relation]", "data=cues", "data.train=110", "data.val=10"),
    *("data.test=10", "model=vit", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=8"),
    *("model.distilled=true", "augment=light", "batch_size=24", f"epochs={EPOCHS}", "trainer=smoke"),
    *("teacher=small_cnn", "trainer.precision=32-true"),
]
VIT = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2, "patch": 8}
LARGER = {"_target_": "kdbias.models.timm_network.timm_network", "name": "resnet10t", "size": 48}
WORKERS = {"_target_": "kdbias.data.workers.Workers", "num_workers": 0}
RUNS: dict[str, dict[str, Any]] = {
    "a CNN": {},
    "a ViT, another view": {"teacher.model": VIT, "augment.view": "photometric", "loader": WORKERS},
    "a network of larger images, in bf16": {"teacher.model": LARGER, "trainer.precision": "bf16-mixed", "data.val": 80},
}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that teachers' networks see; raises when ``seen`` ends with -1."""
    found: list[int] = []
    call = Teacher.__call__

    def counted(self, image):
        if found and found[-1] == -1:
            raise KeyboardInterrupt
        found.append(len(image))
        return call(self, image)

    monkeypatch.setattr(Teacher, "__call__", counted)
    return found


@functools.cache
def base() -> dict[str, Any]:
    return plain(composed(WORDS))


@functools.cache
def drawn(val: int) -> CueSource:
    """The images, drawn once."""
    return build(base()["data"] | {"val": val}, group="data")


def tree_of(folder: Path, cache: int | str | None = None, **changes: Any) -> dict[str, Any]:
    """The config of a run in ``folder``; ``changes`` give values to keys."""
    tree = copy.deepcopy(base())
    for key, value in {"paths.answers": str(folder / "answers"), "teacher.cache": cache, **changes}.items():
        *outer, last = key.split(".")
        functools.reduce(operator.getitem, outer, tree)[last] = value
    return tree


def parts(tree: dict[str, Any]):
    data = build_data(tree)
    data.source = drawn(tree["data"]["val"])
    torch.manual_seed(7)
    teacher = Teacher(build(tree["teacher"]["model"], data.info, group="model"), "taught")
    torch.manual_seed(0)
    module = Distill(module_spec(tree, data.info, "key", None), teacher)
    silent: dict[str, Any] = {"limit_val_batches": 0, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(max_epochs=EPOCHS, precision=tree["trainer"]["precision"], **silent)
    return module, trainer, tree, data


def weights_of(tree: dict[str, Any]) -> dict[str, torch.Tensor]:
    module, trainer, _, data = found = parts(tree)
    if tree["teacher"]["cache"] is not None:
        module.teacher = keep_answers(*found)
    trainer.fit(module, data)
    return module.state_dict()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_draw_for_each_epoch_gives_the_weights_of_a_run_without(tmp_path, seen, changes):
    plainly = weights_of(tree_of(tmp_path, **changes))
    tree = tree_of(tmp_path, "epochs", **changes)
    seen.clear()
    assert_equal(plainly, weights_of(tree))
    assert sum(seen) == 2 + EPOCHS * len(drawn(tree["data"]["val"]).split("train")[1])  # two describe the record
    seen.clear()
    assert_equal(plainly, weights_of(tree))
    assert sum(seen) == 2


def test_fewer_draws_are_another_recipe_that_shares_its_draws(tmp_path, seen, capsys):
    one, two, again = (weights_of(tree_of(tmp_path, k)) for k in (1, 2, 2))
    assert_equal(two, again)
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert sum(seen) == 3 * 2 + 2 * 100  # the second run makes the second draw alone
    said = re.findall(
        r"keeping the teacher's answers to 1 draws of 100 images, [\d,]+ bytes each", capsys.readouterr().out
    )
    assert len(said) == 2


DECIDING = {
    "seed": 1,
    "batch_size": 25,
    "augment.flip": False,
    "augment.teacher_stress": "rotate",
    "teacher.cache_dtype": "bf16",
    "trainer.precision": "bf16-mixed",
    "trainer.tf32": False,
    "data.val": 11,
}


LOSSES = {"answers": ["kl"], "one layer": ["token"], "structure": ["token", "cka", "relation"]}


def test_losses_that_read_other_layers_share_answers_of_all_layers(tmp_path, seen):
    def kept(layers: str, losses: list[str]):
        tree = tree_of(tmp_path, 1, **{"teacher.cache_layers": layers})
        tree["loss"] = {name: term for name, term in tree["loss"].items() if name in ("ce", *losses)}
        if losses == ["token"]:
            tree["loss"]["token"]["teacher_layers"] = "last"
        return keep_answers(*parts(tree))

    images = 100
    assert len({kept("read", losses).kept.folder for losses in LOSSES.values()}) == 3
    assert sum(seen) == 3 * (2 + images)
    seen.clear()
    assert len({kept("all", losses).kept.folder for losses in LOSSES.values()}) == 1
    assert sum(seen) == 3 * 2 + images  # each describes the record, the first makes the answers


def test_answers_of_all_layers_give_the_same_weights(tmp_path, seen):
    last = {"teacher.cache_dtype": "fp16", "loss.token.teacher_layers": "last"}
    alone, among = (tree_of(tmp_path / name, 2, **last, **{"teacher.cache_layers": name}) for name in ("read", "all"))
    for tree in (alone, among):
        tree["loss"] = {name: term for name, term in tree["loss"].items() if name in ("ce", "token")}
    assert_equal(weights_of(alone), weights_of(among))
    few, many = (next((tmp_path / name).rglob("draw-0000.bin")).stat().st_size for name in ("read", "all"))
    assert few < many


def test_what_decides_an_answer_has_answers_of_its_own(tmp_path, seen):
    folders = set()
    for changes in ({}, *({key: value} for key, value in DECIDING.items())):
        folders.add(keep_answers(*parts(tree_of(tmp_path, 1, **changes))).kept.folder)
    assert len(folders) == 1 + len(DECIDING)


def test_other_weights_and_another_number_of_heads_have_answers_of_their_own(tmp_path, seen):
    for heads, scale in ((2, 1), (4, 1), (4, 2)):
        module, *rest = parts(tree_of(tmp_path, 1, **{"teacher.model": VIT | {"heads": heads}}))
        next(module.teacher.extractor.parameters()).mul_(scale)
        keep_answers(module, *rest)
    assert sum(seen) == 3 * (2 + 100)


def test_what_only_the_student_sees_shares_the_answers(tmp_path, seen):
    for stress in (None, "rotate"):
        keep_answers(*parts(tree_of(tmp_path, 1, **{"augment.student_stress": stress})))
    assert sum(seen) == 2 * 2 + 100


def test_runs_of_all_seeds_share_answers_to_draws_of_one_seed(tmp_path, seen):
    """They are the answers to what the student of each seed sees, and not those to the draws of its own seed."""
    shared, own, made = {}, {}, []
    for seed in (0, 1):
        seen.clear()
        found = parts(tree_of(tmp_path, 2, seed=seed, **{"teacher.cache_seed": 0, "teacher.cache_dtype": "exact"}))
        shared[seed] = keep_answers(*found)
        made.append(sum(seen))
        found[3].trainer = found[1]
        for epoch in (0, 3):
            loader = found[3].train_dataloader()
            loader.sampler.set_epoch(epoch)
            shared[seed].epoch = epoch
            for batch in loader:
                given, asked = shared[seed].answer(batch, 0), found[0].teacher(batch.teacher_image)
                assert torch.allclose(given.logits, asked.logits, atol=1e-5)
                assert torch.allclose(given.pooled, asked.pooled, atol=1e-5)
        own[seed] = keep_answers(*parts(tree_of(tmp_path, 1, seed=seed, **{"teacher.cache_dtype": "exact"})))
    assert shared[0].kept.folder == shared[1].kept.folder == own[0].kept.folder != own[1].kept.folder
    assert made == [2 + 2 * 100, 2]  # two describe the record, of each seed


@pytest.mark.parametrize("seed", [0, 1])
def test_an_end_in_the_middle_costs_what_was_not_yet_safe(tmp_path, seen, monkeypatch, seed):
    """A run of another seed goes on, too: answers are made in the order of the draws' seed."""
    monkeypatch.setattr(module_of, "SAFE_EVERY", 0.0)
    note, notes = module_of.KeptAnswers.note, []

    def ended(self, file, draw, batches):
        note(self, file, draw, batches)
        notes.append((draw, batches))
        if len(notes) == 7:
            seen.append(-1)

    monkeypatch.setattr(module_of.KeptAnswers, "note", ended)
    with pytest.raises(KeyboardInterrupt):
        keep_answers(*parts(tree_of(tmp_path, 2)))
    assert notes == [*((0, n) for n in range(1, 6)), (1, 1), (1, 2)]
    seen.clear()
    kept = keep_answers(*parts(tree_of(tmp_path, 2, seed=seed, **{"teacher.cache_seed": 0})))
    assert isinstance(kept, KeptTeacher)
    assert seen == [2, 24, 24, 4]  # the record, then the last three batches of the second draw
    fresh = tree_of(tmp_path, 2, **{"paths.answers": str(tmp_path / "fresh")})
    other = keep_answers(*parts(fresh))
    for draw in range(2):
        assert kept.kept.file(draw).read_bytes() == other.kept.file(draw).read_bytes()


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path, seen):
    tree = tree_of(tmp_path, 1)
    with (
        disk_of(100_000),
        pytest.raises(ConfigError, match=r"^teacher.cache: cannot keep the answers \(.*the next run"),
    ):
        keep_answers(*parts(tree))
    assert keep_answers(*parts(tree)).kept.missing(1) == []


def test_answers_that_the_disk_does_not_hold_are_not_begun(tmp_path, seen, monkeypatch):
    monkeypatch.setattr(module_of.shutil, "disk_usage", lambda folder: type("Disk", (), {"free": 1000}))
    with pytest.raises(ConfigError, match=r"1 draws of 100 images, .* has 0.00 GB left: keep fewer draws"):
        keep_answers(*parts(tree_of(tmp_path, 1)))
    assert sum(seen) == 2


def test_a_run_waits_for_another_that_makes_the_same_answers(tmp_path, seen, monkeypatch, capsys):
    """The other run makes them while this one waits; this one then makes none."""
    tree = tree_of(tmp_path, 1)
    folder = keep_answers(*parts(tree)).kept.folder
    note = folder / "draw-0000.json"
    whole, held = note.read_text(), FileLock(folder / "lock", thread_local=False, is_singleton=False)
    note.unlink()
    held.acquire()
    acquire = FileLock.acquire

    def waited(self, timeout=None, **settings):
        if timeout is None:
            note.write_text(whole)
            held.release()
        return acquire(self, timeout=timeout, **settings)

    monkeypatch.setattr(FileLock, "acquire", waited)
    seen.clear()
    keep_answers(*parts(tree))
    assert sum(seen) == 2
    assert "waiting for another run" in capsys.readouterr().out


def test_a_teacher_whose_answers_depend_on_the_batch_is_refused(tmp_path):
    module, trainer, tree, data = parts(tree_of(tmp_path, 1))
    module.teacher = ShuffledTeacher(module.teacher.extractor, "shuffled", 0)
    with pytest.raises(ConfigError, match="depend on more than the image"):
        keep_answers(module, trainer, tree, data)


def test_a_run_keeps_answers_and_reads_them(tmp_path, seen):
    paths = [f"teacher.weights={tmp_path}/w.safetensors", f"paths.runs={tmp_path}", f"paths.run={tmp_path}/run"]
    smoke = ["callback=[checkpoint]", "logger=[csv]", "epochs=1", "trainer.limit_train_batches=null"]
    cfg = composed([*WORDS, *smoke, *paths, "teacher.cache=1"])
    tree = plain(cfg)
    network = build(tree["teacher"]["model"], build_data(tree).info, group="model").network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    train(cfg)
    assert [path.name for path in tmp_path.glob("answers/small_cnn-*/*.bin")] == ["draw-0000.bin"]
    assert sum(seen) <= 2 + 100 + 10  # the record, the draw, and the validation images for the header


def test_smoothed_labels_see_the_same_draws_and_keep_no_answers(tmp_path, seen, monkeypatch):
    paths = [f"teacher.weights={tmp_path}/w.safetensors", f"paths.runs={tmp_path}", f"paths.run={tmp_path}/run"]
    smoke = ["callback=[checkpoint]", "logger=[csv]", "epochs=2", "trainer.limit_train_batches=null"]
    terms = ["loss=[ce,kl]", "teacher.cache=1", "control=label_smoothing"]
    cfg = composed([*WORDS, *smoke, *paths, *terms])
    tree = plain(cfg)
    network = build(tree["teacher"]["model"], build_data(tree).info, group="model").network
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    step, images = Distill.training_step, []

    def watched(self, batch, *rest):
        images.append(dict(zip(batch.index.tolist(), batch.image.flatten(1).sum(1).tolist(), strict=True)))
        return step(self, batch, *rest)

    monkeypatch.setattr(Distill, "training_step", watched)
    train(cfg)
    first, second = (functools.reduce(operator.or_, images[part]) for part in (slice(0, 4), slice(4, 8)))
    assert first.keys() & second.keys()
    assert all(first[index] == second[index] for index in first.keys() & second.keys())
    assert not (tmp_path / "answers").exists()
