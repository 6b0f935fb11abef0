"""SSKD: what the check says of its config."""

import pytest
import torch
from config_base import composed

from kdbias.checks.check import check

RIGHT = [
    "method=sskd",
    "loss=[]",
    "teacher=small_cnn",
    "model=small_cnn",
    "augment=none",
    "data=cues",
    "callback=[checkpoint]",
]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    "change", [[], ["teacher=vit_small_cifar"], ["model=vit_tiny"], ["model=deit_tiny", "module.weights=[1,1,1,1]"]]
)
def test_a_right_config_has_no_problem(change: list[str]) -> None:
    assert check(composed([*RIGHT, *change])) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("loss=[ce]", "loss: SSKD has a loss of its own and reads no ce: set loss=[]"),
        ("teacher=none", "teacher: SSKD learns from one: set teacher=NAME"),
        ("teacher=ssl_vit", "teacher: SSKD needs its logits, but ssl_vit has no classifier"),
        ("augment=light", "augment.crop: SSKD makes its views itself (module.views), and crop, flip would come twice"),
        ("augment.flip=true", "augment.flip: SSKD makes its views itself (module.views), and flip would come twice"),
        (
            "loader.repeats=3",
            "loader.repeats: SSKD takes all images of a batch for different ones, copies of one image",
        ),
        ("augment.view=clean", "augment.view: SSKD shows both networks the views that it makes: set it to same"),
        ("module.ratio_ss=2", "module.ratio_ss: must lie in [0, 1], got 2: it is the share of wrong rows to keep"),
        ("module.weights=ours", "module.weights: must be code, paper, supplement, or four numbers"),
        ("module.head.weights=nowhere.pth", "module.head.weights: there is no file nowhere.pth: correct the path"),
        ("+module.head.epoch=3", "module.head.epoch: there is no such setting"),
        ("module.views.crop=-1", "module.views.crop: must be a whole number of at least 0"),
        ("+module.views.rotate=3", "module.views.rotate: kdbias.data.rotations.Rotations takes no 'rotate'"),
        ("model.classes=null", "model: SSKD needs the student's logits, but it has no classifier"),
        ("control=shuffled", "control: shuffled works on the terms of loss=[...]"),
    ],
)
def test_what_it_cannot_work_with_is_one_problem(change: str, text: str) -> None:
    found = check(composed([*RIGHT, change]))
    assert [problem.startswith(text) for problem in found] == [True], found


def test_mixed_images_are_refused_with_the_augmentation_that_it_can_take() -> None:
    mixed = ["augment.mixup=0.8", "augment.mix_probability=1.0"]
    (found,) = check(composed([*RIGHT, *mixed]))
    assert found.startswith("augment.mix_probability: SSKD needs one class for each image")
    assert found.endswith("choose augment=none")


def test_digits_must_not_be_mirrored_by_its_views_either() -> None:
    (found,) = check(composed([*RIGHT, "data=mnist"]))
    assert found == "module.views.flip: digits are not mirror images: set module.views.flip=false"
    assert check(composed([*RIGHT, "data=mnist", "module.views.flip=false"])) == []
