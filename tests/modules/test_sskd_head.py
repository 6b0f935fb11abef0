"""The teacher's head of SSKD: it learns, it is trained once for what decides it, and it goes on where it was."""

from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
import torch
from processes import found_by
from sskd_runs import CNN, make_teacher
from torch import nn

from kdbias.config.build import build
from kdbias.config.spec import spec_hash
from kdbias.data.base import ImageData
from kdbias.data.resident import Resident
from kdbias.data.rotations import Rotations
from kdbias.models.teacher import Teacher
from kdbias.modules import sskd_training
from kdbias.modules.sskd_head import HeadSettings, contrast
from kdbias.modules.sskd_training import ensure_head, teacher_digest

DATA = {"_target_": "kdbias.data.cues.cues", "train": 160, "val": 32, "test": 32}
SETTINGS = HeadSettings(epochs=4, batch_size=16)
CPU = torch.device("cpu")


def wanted(folder: Path, teacher: Teacher, settings=SETTINGS, views=None, limit=None, **data) -> Path:
    node = {**DATA, **data}
    tree = {"data": node, "paths": {"teachers": str(folder)}, "trainer": {"limit_train_batches": limit}}
    images = ImageData(build(node), sskd_training.PLAIN, batch_size=16, eval_batch_size=32)
    return ensure_head(tree, teacher, images, views or Rotations(), settings, CPU)


def head_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_it_learns_to_find_the_upright_image(tmp_path, capsys):
    teacher = make_teacher({**CNN, "widths": [16, 32]})
    before = {name: value.clone() for name, value in teacher.extractor.state_dict().items()}
    wanted(tmp_path, teacher, HeadSettings(epochs=12, batch_size=16))
    line = next(line for line in capsys.readouterr().out.splitlines() if "validation" in line)
    accuracy, chance = (float(word.strip("),")) for word in line.split() if word[:2] in ("0.", "1."))
    assert chance == pytest.approx(1 / 16, abs=1e-3)
    assert accuracy > 4 * chance
    assert same(before, teacher.extractor.state_dict())
    assert not teacher.extractor.training


def test_it_is_found_by_what_decides_it_and_trained_for_anything_else(tmp_path, capsys):
    quick = HeadSettings(epochs=1, batch_size=16)
    first = wanted(tmp_path, make_teacher(), quick)
    assert capsys.readouterr().out.count("training it first (1 epochs)") == 1
    written = first.read_bytes()
    assert wanted(tmp_path, make_teacher(), quick) == first
    assert capsys.readouterr().out == f"SSKD's head of cnn found: {first}\n"
    assert first.read_bytes() == written
    other = make_teacher()
    with torch.no_grad():
        next(other.extractor.network.parameters())[0, 0, 0, 0] += 1e-3
    places = [
        first,
        wanted(tmp_path, other, quick),
        wanted(tmp_path, make_teacher(), HeadSettings(epochs=1, batch_size=16, seed=1)),
        wanted(tmp_path, make_teacher(), quick, Rotations(crop=2)),
        wanted(tmp_path, make_teacher(), quick, limit=2),
        wanted(tmp_path, make_teacher(), quick, train=128),
    ]
    assert len(set(places)) == len(places)
    assert not any(same(head_of(first), head_of(path)) for path in places[1:])


def said(folder: Path, rank: int, world: int) -> str:
    with redirect_stdout(StringIO()) as out:
        wanted(folder / "teachers", make_teacher())
    return out.getvalue()


def test_copies_of_an_image_are_no_other_images(tmp_path):
    """A run with repeated augmentation has them in a batch; the head is the same without."""
    images = [ImageData(build(DATA), sskd_training.PLAIN, batch_size=16, eval_batch_size=32, loader=one)
              for one in (Resident(), Resident(repeats=3))]  # fmt: skip
    seen = [list(sskd_training._Images(one, Rotations(), SETTINGS, None, CPU).epoch(0)) for one in images]
    assert all(torch.equal(one, two) for one, two in zip(*seen, strict=True))


def test_two_processes_that_want_it_at_once_train_it_once(tmp_path):
    out = "".join(found_by(partial(said, tmp_path), 2, tmp_path, "forkserver"))
    assert (out.count("training it first"), out.count("cnn found: ")) == (1, 1)


@dataclass(frozen=True)
class Broken(Rotations):
    """Views whose making fails once, in the middle of epoch 2."""

    def draw(self, count, seed, epoch, step):
        if epoch == 2 and step == 1 and not failed:
            failed.append(epoch)
            raise KeyboardInterrupt
        return super().draw(count, seed, epoch, step)


failed: list[int] = []


def test_an_interrupted_training_goes_on_from_its_last_epoch_bit_for_bit(tmp_path, capsys):
    whole = wanted(tmp_path / "whole", make_teacher())
    failed.clear()
    with pytest.raises(KeyboardInterrupt):
        wanted(tmp_path / "two", make_teacher(), views=Broken())
    assert not list((tmp_path / "two").glob("*/head.pth"))
    capsys.readouterr()
    path = wanted(tmp_path / "two", make_teacher(), views=Broken())
    assert [word.split("/")[0] for word in capsys.readouterr().out.split("epoch ")[1:]] == ["3", "4"]
    assert same(head_of(path), head_of(whole))
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "head.pth"]


def test_a_damaged_state_of_an_interrupted_training_is_left_aside(tmp_path, capsys):
    failed.clear()
    with pytest.raises(KeyboardInterrupt):
        wanted(tmp_path, make_teacher(), views=Broken())
    part = next(tmp_path.glob("*/part.pth"))
    part.write_bytes(part.read_bytes()[:-100])
    path = wanted(tmp_path, make_teacher(), views=Broken())
    assert "the head is trained from the beginning" in capsys.readouterr().out
    assert same(head_of(path), head_of(wanted(tmp_path / "whole", make_teacher())))


@pytest.mark.parametrize(
    "content",
    [[1], {}, {"epoch": "2"}, {"epoch": 2, "head": {}}, {"epoch": 2, "head": nn.Linear(2, 2).state_dict()}, None],
    ids=["a list", "nothing", "an epoch in words", "an empty head", "another head", "another optimiser"],
)
def test_a_whole_state_of_something_else_is_left_aside_and_nothing_of_it_is_taken(tmp_path, content, capsys):
    head, optimizer = nn.Linear(3, 3), torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)
    if content is None:  # its head would fit
        content = {"epoch": 2, "head": nn.Linear(3, 3).state_dict(), "optimizer": {"state": {}, "param_groups": []}}
    before = {name: value.clone() for name, value in head.state_dict().items()}
    torch.save(content, tmp_path / "part.pth")
    assert sskd_training._restored({"head": head, "optimizer": optimizer}, tmp_path / "part.pth") == 0
    assert "the head is trained from the beginning" in capsys.readouterr().out
    assert same(head.state_dict(), before)


def test_a_loss_that_is_not_finite_leaves_no_head(tmp_path):
    with pytest.raises(FloatingPointError, match=r"in epoch \d: lower module\.head\.lr"):
        wanted(tmp_path, make_teacher(), HeadSettings(epochs=3, batch_size=16, lr=1e10))
    assert not list(tmp_path.glob("*/head.pth"))


def test_the_digest_covers_tensors_and_how_an_image_is_read():
    teacher = make_teacher()
    assert teacher_digest(teacher) == teacher_digest(make_teacher())
    teacher.extractor.statistics = ((0.5,) * 3, (0.3,) * 3)
    assert teacher_digest(teacher) != teacher_digest(make_teacher())


def test_the_loss_is_that_of_a_loop():
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses, found = [], []
    for i in range(3):
        for turn in range(1, 4):
            scores = torch.stack([nn.functional.cosine_similarity(features[4 * i + turn], features[4 * j], 0)
                                  for j in range(3)])  # fmt: skip
            losses.append(scores.logsumexp(0) - scores[i])
            found.append(float(scores.argmax() == i))
    loss, share = contrast(features)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert float(share) == pytest.approx(sum(found) / 9)


def test_the_spec_hash_takes_a_given_head_by_its_content(tmp_path):
    def hashed(name: str) -> str:
        return spec_hash({"module": {"_target_": "x", "head": {"epochs": 60, "weights": str(tmp_path / name)}}})

    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    assert hashed("a") == hashed("b") != hashed("c")
