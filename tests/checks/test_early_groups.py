"""A group in the place of a number is a problem, not a value that nobody looks at."""

import pytest
from config_base import composed
from omegaconf import open_dict

from kdbias.checks.check import check


@pytest.mark.parametrize("key", ["seed", "epochs", "trainer.deterministic", "trainer.devices", "aim"])
def test_a_group_in_the_place_of_a_value_is_named(key: str) -> None:
    cfg = composed(["experiment=baseline", "data=cues"])
    *outer, last = key.split(".")
    node = cfg
    for part in outer:
        node = node[part]
    with open_dict(node):
        node[last] = {"x": 0}
    assert any(problem.startswith(f"{key}: must be") for problem in check(cfg)), check(cfg)
