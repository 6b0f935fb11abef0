"""Hydra reads a yaml once in a process of pytest, again when it has changed; what one is given is no other's."""

import read_once
from hydra import compose, initialize_config_dir
from omegaconf import open_dict


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
