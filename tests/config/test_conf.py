"""CE takes what the distillation term leaves: the complement of a number and of a schedule."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kdbias.config import conf
from kdbias.losses.schedule import Schedule

LOSS = Path(__file__).parents[2] / "conf" / "loss"


def composed(*names, **loss):
    """Merge files of conf/loss as ``loss=[...]`` does."""
    conf.register()
    parts = [OmegaConf.load(LOSS / f"{name}.yaml") for name in names]
    root = OmegaConf.create({"loss": OmegaConf.merge(*parts, loss)})
    return OmegaConf.to_container(root, resolve=True)["loss"]


def test_a_number():
    loss = composed("ce", "kl", alpha=0.3)
    assert (loss["ce"]["weight"], loss["kl"]["weight"]) == pytest.approx((0.7, 0.3))


def test_alone_ce_has_weight_one():
    assert composed("ce")["ce"]["weight"] == 1
    assert composed("ce", "dkd")["ce"]["weight"] == 1


def test_a_schedule():
    loss = composed("ce", "kl", alpha={"kind": "cosine", "start": 0.0, "end": 0.6})
    ce, kl = Schedule.of(loss["ce"]["weight"]), Schedule.of(loss["kl"]["weight"])
    assert (ce(0.0), kl(0.0)) == (1.0, 0.0)
    assert (ce(1.0), kl(1.0)) == pytest.approx((0.4, 0.6))
    assert ce(0.3) + kl(0.3) == pytest.approx(1.0)


def test_twice_is_the_same():
    spec = {"kind": "constant", "value": 0.2}
    assert Schedule.of(conf.complement(conf.complement(spec)))(0.0) == 0.2


@pytest.mark.parametrize("wrong", ["0.5", True, None, [1]])
def test_anything_else_is_an_error(wrong):
    with pytest.raises(ValueError, match="a number or a schedule"):
        conf.complement(wrong)


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "/x", ".hidden", "..", "", "a\\b", "a\nb", "x" * 101, "$HOME", "a;b", 3, None]
)
def test_a_name_that_is_no_folder_leads_nowhere(name):
    with pytest.raises(ValueError, match="name: must be the name of a folder"):
        conf.run_dir(None, "runs", name, "now")


def test_a_run_lies_under_its_name_or_where_it_is_resumed():
    assert conf.run_dir(None, "runs", "EXP-1, seed 3 β=.5", "now").endswith("/now")
    assert conf.run_dir("there", "runs", "../x", "now") == "there"
