"""Mistakes in values, builders and arguments are named with key and remedy, all at once; what is right passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from config_base import Mistake, assert_named_once, composed, config
from torch import nn

from kdbias.checks.check import ConfigError, check, require_valid
from kdbias.cli import conf_dir
from kdbias.config import conf
from kdbias.models.description import _described


@pytest.fixture(autouse=True)
def known_resolvers() -> None:
    conf.register()


def test_a_right_config_has_no_problems() -> None:
    assert check(config()) == []
    require_valid(config())


PROBE = {"_target_": "kdbias.callbacks.probe.ProbeCallback", "name": "a"}
MESSAGES: dict[str, Mistake] = {
    "a target outside of the package": (
        {"model._target_": "os.system"},
        "model._target_",
        ("must name a builder of this package, under kdbias.models, got 'os.system'",),
    ),
    "a target that does not resolve": (
        {"loss.kl._target_": "kdbias.losses.kl.KLL"},
        "loss.kl._target_",
        ("must name a builder", "'kdbias.losses.kl.KLL' is none", "correct the name"),
    ),
    "a figure that does not resolve": (
        {
            "callback.p": {
                **PROBE,
                "probe": {"_target_": "kdbias.probes.cka.CKAProbe"},
                "figure": "kdbias.report.no.x",
            }
        },
        "callback.p.figure",
        ("'kdbias.report.no.x' does not resolve", "correct the name"),
    ),
    "a builder of another group": (
        {"loss.kl._target_": "kdbias.models.deit.vit"},
        "loss.kl._target_",
        ("under kdbias.losses, got 'kdbias.models.deit.vit'",),
    ),
    "a builder of the same room and another group": (
        {"optim.schedule._target_": "kdbias.modules.trainer.trainer"},
        "optim.schedule._target_",
        ("must name what builds a schedule, and 'kdbias.modules.trainer.trainer' builds a trainer",),
    ),
    "a builder where nothing is built": (
        {"paths.run": {"_target_": "kdbias.models.deit.vit"}},
        "paths.run._target_",
        ("nothing is built at this place",),
    ),
    "a target that is no builder": (
        {"loss.kl._target_": "kdbias.losses.kl.soft_kl"},
        "loss.kl._target_",
        ("marked by @kdbias.builder, and 'kdbias.losses.kl.soft_kl' is none",),
    ),
    "an unknown argument": (
        {"loss.kl.temperatur": 2},
        "loss.kl.temperatur",
        ("takes no 'temperatur'", "did you mean temperature?", "it takes weight, temperature, reduction, standardize"),
    ),
    "an argument that the program gives": ({"trainer.epochs": 3}, "trainer.epochs", ("set by the program itself",)),
    "a missing value": ({"batch_size": "???"}, "batch_size", ("is missing (???): set batch_size=VALUE",)),
    "an interpolation that does not resolve": (
        {"loss.kl.temperature": "${loss.tau}"},
        "loss.kl.temperature",
        ("the interpolation ${loss.tau} does not resolve",),
    ),
    "an entry that is not selected": (
        {"loss.cka": {"weight": 2}},
        "loss.cka",
        ("has settings (weight) but is not selected: select it (loss=[ce,kl,cka]) or drop the settings (",),
    ),
    "a callback that is not selected": (
        {"callback.ema": {"decay": 0.9}},
        "callback.ema",
        ("has settings (decay) but is not selected: select it (callback=[ema])",),
    ),
}


@pytest.mark.parametrize(("changes", "key", "parts"), MESSAGES.values(), ids=MESSAGES.keys())
def test_a_mistake_is_named_once_with_its_key_and_remedy(changes, key: str, parts: tuple[str, ...]) -> None:
    assert_named_once(changes, key, parts)


def test_a_missing_argument() -> None:
    (problem,) = check(config(drop="model.heads"))
    assert problem == "model.heads: kdbias.models.deit.vit needs it: set model.heads=VALUE"


def test_an_alpha_that_only_cross_entropy_reads() -> None:
    assert check(composed(["experiment=demo_kl", "loss=[ce,rkd]"])) == [
        "loss.kl: has settings (temperature) but is not selected: select it (loss=[ce,rkd,kl]) or drop the settings "
        "('~loss.kl' if a yaml has them)",
        "loss.alpha: cross-entropy has the weight 1 - loss.alpha = 0, and no term of loss=[ce,rkd] has the rest: drop "
        "it ('~loss.alpha'), or set loss.ce.weight",
    ]
    dropped = ["experiment=demo_kl", "loss=[ce,rkd]", "~loss.kl"]
    for words in (["~loss.alpha"], ["loss.alpha=.5"], ["loss.ce.weight=1"]):
        assert check(composed([*dropped, *words])) == []
    for terms in ("ce,kl", "ce,hard_kl", "ce,cskd", "kl"):
        assert not [one for one in check(composed(["experiment=baseline", f"loss=[{terms}]"])) if "alpha" in one]


def test_no_loss_at_all() -> None:
    assert check(config(drop="loss")) == ["loss: no term is selected: name at least one, as in loss=[ce]"]


def test_all_problems_come_at_once_one_a_line() -> None:
    wrong = {"loss.kl.temperatur": 2, "batch_size": "???", "model.layers": [9], "optim.optimizer.lr": -1}
    with pytest.raises(ConfigError) as caught:
        require_valid(config({**wrong, "loss.cka": {"weight": 1}}))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the config has 5 problems:"
    keys = {line.strip().partition(": ")[0] for line in lines[1:]}
    assert keys == {"loss.kl.temperatur", "batch_size", "model.layers", "optim.optimizer.lr", "loss.cka"}


@pytest.mark.parametrize(
    "name",
    sorted(
        path.relative_to(Path(conf_dir(), "experiment")).with_suffix("").as_posix()
        for path in Path(conf_dir(), "experiment").rglob("*.yaml")
    ),
)
def test_every_experiment_is_right(name: str) -> None:
    assert check(composed([f"experiment={name}"])) == []


def test_a_check_leaves_random_numbers_alone_and_makes_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    _described.cache_clear()  # what another test had described would not be built here
    devices: set[str] = set()
    original = nn.Linear.__init__

    def watched(self: nn.Linear, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        devices.add(self.weight.device.type)

    monkeypatch.setattr(nn.Linear, "__init__", watched)
    before = torch.get_rng_state()
    assert check(config()) == []
    assert torch.equal(before, torch.get_rng_state())
    assert devices == {"meta"}
