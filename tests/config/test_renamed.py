"""Keys of before: files with them are read and hashed as ever, commands with them are refused by the new name."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError
from kdbias.config.renamed import RENAMED, now_named, once_named, refuse_old_names
from kdbias.config.spec import spec_hash
from kdbias.runs.run_folder import CONFIG, saved_config

KNN = {"callback": {"knn": {"images": 1024}}, "control": {"images": 2000}}
ONCE = {"callback": {"knn": {"pictures": 1024}}, "control": {"pictures": 2000}}


def test_a_run_of_before_is_the_same_run():
    assert spec_hash(KNN) == spec_hash(ONCE) == "fcf496e4cd4118f2"
    assert once_named(KNN) == ONCE
    assert now_named(ONCE) == KNN


def test_a_saved_config_is_read_by_the_names_of_today(tmp_path):
    once = {"probe_pictures": 8, "chosen": {"overrides": ["probe_pictures=8", "+probe.cues.pictures=4", "seed=1"]}}
    OmegaConf.save(OmegaConf.create(once), tmp_path / CONFIG)
    saved = saved_config(tmp_path)
    assert saved.probe_images == 8
    assert list(saved.chosen.overrides) == ["probe_images=8", "+probe.cues.images=4", "seed=1"]


@pytest.mark.parametrize("once", ["probe_pictures=8", "+callback.knn.pictures=4", "pictures=2"])
def test_a_command_with_an_old_name_is_refused_by_the_new_one(once):
    key = once.lstrip("+").partition("=")[0]
    now = ".".join([*key.split(".")[:-1], RENAMED[key.split(".")[-1]]])
    with pytest.raises(ConfigError, match=f"{key}: is called .?{now} now"):
        refuse_old_names(["task=probe", once])
    refuse_old_names(["image=pictures=2.png", "name=pictures"])


def test_the_programs_ask():
    code = "import sys; from kdbias import cli; sys.argv = ['x', 'probe_pictures=3']; cli.{}()"
    for program in ("train", "analyze"):
        done = subprocess.run([sys.executable, "-c", code.format(program)], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].strip() == "probe_pictures: is called probe_images now"
        assert "Traceback" not in done.stderr


def test_no_config_of_the_package_has_an_old_name():
    for path in Path(conf_dir()).rglob("*.yaml"):
        for name in RENAMED:
            assert f" {name}:" not in f" {path.read_text()}", path
