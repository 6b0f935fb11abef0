"""A method with a teacher and a loss of its own: what the check says of its config."""

from typing import Any

import pytest
import torch
from config_base import composed
from omegaconf import open_dict

from kdbias.checks.check import check
from kdbias.config.build import allow, builder
from kdbias.config.errors import ArgumentError
from kdbias.models.teacher import Teacher
from kdbias.modules.taught import Taught


@builder("module")
class Method(Taught):
    """Needs one class for each image, the teacher's logits, and a positive weight."""

    needs = frozenset({"logits", "qkv", "hard_target"})

    def __init__(self, spec: dict[str, Any], teacher: Teacher | None, weight: float = 1.0) -> None:
        super().__init__(spec, teacher)
        if weight <= 0:
            raise ArgumentError("weight", "must be above 0")


RIGHT = ["loss=[]", "teacher=vit_small_cifar", "model=small_cnn", "augment=light", "data=cues", "callback=[checkpoint]"]


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("kdbias.config.build._allowed", [])
    allow(__name__)


def problems(*changes: str, **arguments: Any) -> list[str]:
    cfg = composed([*RIGHT, *changes])
    with open_dict(cfg):
        cfg.module = {"_target_": f"{__name__}.Method", **arguments}
    return check(cfg)


def test_a_right_config_has_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("loss=[ce]", "loss: Method has a loss of its own and reads no ce: set loss=[]"),
        ("teacher=none", "teacher: Method learns from one: set teacher=NAME"),
        ("teacher=resnet20", "teacher: Method needs its qkv, but resnet20 has no attention"),
        ("teacher=ssl_vit", "teacher: Method needs its logits, but ssl_vit has no classifier"),
        ("augment=default", "augment.mix_probability: Method needs one class for each image"),
        ("model.classes=null", "model: Method needs the student's logits, but it has no classifier"),
    ],
)
def test_what_a_method_cannot_work_with_is_one_problem(change: str, text: str) -> None:
    found = problems(change)
    assert [problem.startswith(text) for problem in found] == [True], found


def test_its_arguments_are_tried_on_networks_without_weights() -> None:
    assert problems(weight=-1.0) == ["module.weight: must be above 0"]
    assert problems(wieght=3)[0].startswith(f"module.wieght: {__name__}.Method takes no 'wieght': did you mean weight?")
