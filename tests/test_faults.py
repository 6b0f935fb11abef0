"""A sample of ``make faults``: malformed files, attacks, random configs; none ends in an error that is not meant."""

import sys
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parents[1] / "benchmarks" / "faults")


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, FOLDER)
    import attacks
    import configs
    import malformed
    from tally import Clock

    yield attacks, configs, malformed, Clock
    sys.path.remove(FOLDER)


def test_malformed_files_are_refused_or_change_nothing(parts, tmp_path):
    _, _, malformed, clock = parts
    found = malformed.malformed(tmp_path, clock.of(60), rounds=0)
    assert sum(tally.tried for tally in found) > 400
    assert {tally.kind: tally.lost for tally in found if tally.lost} == {}


def test_a_random_config_never_makes_the_check_raise(parts, tmp_path):
    _, configs, _, clock = parts
    checked, _ = configs.configs(tmp_path, clock.of(60), seed=7, count=25, trained=0)
    assert checked.tried == 25
    assert checked.lost == []


def test_attack_files_do_no_harm(parts, tmp_path):
    attacks, _, _, clock = parts
    (tally,) = attacks.attacks(tmp_path, clock.of(120), every=4)
    assert tally.tried > 20
    assert tally.lost == []
