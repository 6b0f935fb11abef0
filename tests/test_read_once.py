"""Hydra reads a yaml once in a process of pytest, again when it has changed; what one is given is no other's."""

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from omegaconf import open_dict


def test_a_config_is_read_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    read, load = [], FileConfigSource.load_config
    monkeypatch.setattr(
        FileConfigSource, "load_config", lambda self, config_path: read.append(config_path) or load(self, config_path)
    )
    (tmp_path / "one.yaml").write_text("a: 1\nb: {c: 2}\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        first = compose("one")
        with open_dict(first):
            first.b.c, first.d = 3, 4
        assert compose("one") == {"a": 1, "b": {"c": 2}}
        assert read == ["one"]
        (tmp_path / "one.yaml").write_text("a: 10\n")
        assert compose("one") == {"a": 10}
    assert read == ["one", "one"]
