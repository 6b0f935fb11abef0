"""``task=tensorboard``: runs by the names that they were given."""

import pytest

from kdbias.analysis.tensorboard import FOLDER, names, tensorboard
from kdbias.config.errors import ConfigError
from kdbias.runs.listing import Listed


def made(folder, name, seed, events=True):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: {name}\nseed: {seed}\n")
    if events:
        (folder / "tensorboard").mkdir()
        (folder / "tensorboard" / "events").write_text(name)


def test_links_have_the_names_of_runs_and_are_made_anew(tmp_path, capsys):
    made(tmp_path / "first" / "2026-01-01", "first", 0)
    made(tmp_path / "second" / "2026-01-02", "second", 1)
    made(tmp_path / "third" / "2026-01-03", "third", 1, events=False)
    for _ in range(2):
        tensorboard({"paths": {"runs": str(tmp_path)}})
        links = {path.name: path for path in (tmp_path / FOLDER).iterdir()}
        assert set(links) == {"first seed 0", "second seed 1"}
        assert (links["first seed 0"] / "events").read_text() == "first"
    assert f"tensorboard --logdir {tmp_path / FOLDER}" in capsys.readouterr().out
    assert (tmp_path / "first" / "2026-01-01" / "tensorboard" / "events").is_file()


def test_names_have_what_is_swept_are_counted_and_lead_nowhere():
    found = [Listed("a", "kl", "0", swept="temperature=4"), Listed("b", "../kl", "0"), Listed("c", "../kl", "0")]
    assert names(found) == ["kl seed 0 temperature=4", "..-kl seed 0 (1)", "..-kl seed 0 (2)"]


def test_no_events_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"paths\.runs: no run in"):
        tensorboard({"paths": {"runs": str(tmp_path)}})
