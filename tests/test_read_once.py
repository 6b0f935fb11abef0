"""Hydra reads a yaml once in a process of pytest, again when it has changed; what one is given is no other's."""

from contextlib import contextmanager

import pytest
import read_once
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf, open_dict

from kdbias import cli


@contextmanager
def as_hydra_does(monkeypatch):
    """Nothing is kept inside the block."""
    with monkeypatch.context() as changed:
        changed.setattr(ConfigRepository, "load_config", read_once.READ)
        changed.setattr(config_loader_impl, "create_defaults_list", read_once.LISTED)
        changed.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", read_once.JOINED)
        changed.setattr(defaults_list, "_create_interpolation_map", read_once.CHOICES)
        yield


def test_a_config_is_read_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    found, real = [], read_once.READ
    monkeypatch.setattr(read_once, "READ", lambda repository, path: found.append(path) or real(repository, path))
    (tmp_path / "one.yaml").write_text("a: 1\nb: {c: 2}\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        first = compose("one")
        with open_dict(first):
            first.b.c, first.d = 3, 4
        assert compose("one") == {"a": 1, "b": {"c": 2}}
        assert found.count("one") == 1
        (tmp_path / "one.yaml").write_text("a: 10\n")
        assert compose("one") == {"a": 10}
    assert found.count("one") == 2


def test_what_a_group_offers_is_seen_when_it_comes_changes_and_goes(tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "one.yaml").write_text("defaults: [{group: a}, _self_]\nown: 1\n")
    (tmp_path / "group" / "a.yaml").write_text("x: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("one") == {"group": {"x": 1}, "own": 1}
        with pytest.raises(ConfigCompositionException):
            compose("one", ["group=b"])
        (tmp_path / "group" / "b.yaml").write_text("x: 2\n")
        assert compose("one", ["group=b"]).group.x == 2
        assert compose("one", ["group=b", "own=5"]) == {"group": {"x": 2}, "own": 5}
        (tmp_path / "group" / "a.yaml").write_text("x: [3]\n")
        assert compose("one").group.x == [3]
        (tmp_path / "group" / "b.yaml").unlink()
        with pytest.raises(ConfigCompositionException):
            compose("one", ["group=b"])


def test_a_group_that_another_choice_names_is_found(tmp_path):
    for name in "ab":
        for group in ("first", "second"):
            (tmp_path / group).mkdir(exist_ok=True)
            (tmp_path / group / f"{name}.yaml").write_text(f"is: {name}\n")
    (tmp_path / "one.yaml").write_text("defaults: [{first: a}, {second: '${first}'}, _self_]\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        for chosen, name in ([], "a"), (["first=b"], "b"):
            assert compose("one", chosen) == {"first": {"is": name}, "second": {"is": name}}


def test_a_config_that_a_program_stores_is_seen(tmp_path):
    (tmp_path / "one.yaml").write_text("defaults: [stored_by_a_test]\n")
    store = ConfigStore.instance()
    try:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            store.store("stored_by_a_test", {"a": 1})
            assert compose("one") == {"a": 1}
            store.store("stored_by_a_test", {"a": 2})
            assert compose("one") == {"a": 2}
    finally:
        store.repo.pop("stored_by_a_test.yaml", None)


COMMANDS = (
    ("train", ["experiment=exp3_deit_dist", "epochs=3", "++loss.a=1", "~callback.ema"]),
    ("train", ["epochs=4", "+callback=probe_cka"]),
    ("train", ["~logger"]),
    ("train", ["modle=3"]),
    ("train", ["model=no"]),
    ("train", ["epochs=1,2"]),
    ("train", ["+data@other=cues"]),
    ("analyze", ["task=probe", "probe=[cka]", "hydra.job.name=x"]),
)


@pytest.mark.parametrize("times", [1, 2])
def test_configs_and_errors_are_hydras_own(times, monkeypatch):
    def told(program: str, overrides: list[str]) -> str:
        try:
            return OmegaConf.to_yaml(compose(program, overrides, return_hydra_config=True))
        except ConfigCompositionException as error:
            return f"{type(error).__name__} {error}"

    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        with as_hydra_does(monkeypatch):
            expected = [told(*command) for command in COMMANDS]
        assert [told(*command) for command in COMMANDS] == expected
    assert 2 < sum("Exception" in one for one in expected) < len(expected)
