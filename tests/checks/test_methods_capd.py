"""What the check says of a config of CAPD."""

import pytest
import torch
from config_base import composed

from kdbias.checks.check import check

RIGHT = ["method=capd", "loss=[]", "teacher=vit_small_cifar", "model=small_cnn", "data=cues", "callback=[checkpoint]"]
AS_CODE = ["module.projector=linear", "module.partial=false", "module.matched=logits", "module.adversary=patchgan"]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("changes", [[], AS_CODE, ["model=resnet18", "module.layer=2"], ["module.adversary=none"]])
def test_a_right_config_has_no_problem(changes: list[str]) -> None:
    assert check(composed([*RIGHT, *changes])) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("teacher=resnet20", "teacher: CAPD needs its qkv, but resnet20 has no attention: choose a vision transformer"),
        ("teacher=none", "teacher: CAPD learns from one: set teacher=NAME"),
        ("teacher=ssl_vit", "teacher: CAPD needs its logits, but ssl_vit has no classifier"),
        ("loss=[ce]", "loss: CAPD has a loss of its own and reads no ce: set loss=[]"),
        ("model=vit", "model: CAPD makes attention for a network that has none, and this one has: choose a CNN"),
        ("module.layer=3", "module.layer: must be nearest or one of the student's layers, 0 (layer1, 32x32)"),
        ("module.adversary=cnn", "module.adversary: must be one of mlp, patchgan, none"),
        ("module.weights.tokens=-1", "module.weights.tokens: must be a number of at least 0, got -1"),
        ("module.weight=0", "module.weight: stays 0"),
        ("trainer.accumulate=2", "trainer.accumulate: CAPD makes a step with each batch: set it to 1"),
        ("augment.view=clean", "augment.view: clean shows the teacher another crop than the student"),
        ("+module.heads=4", "module.heads: kdbias.modules.capd.CAPD takes no 'heads'"),
    ],
)
def test_what_it_cannot_work_with_is_one_problem(change: str, text: str) -> None:
    found = check(composed([*RIGHT, change]))
    assert [problem.startswith(text) for problem in found] == [True], found
