"""Experiments in a folder: one control for every row of a direction, names of folders, recipes and sweeps."""

from pathlib import Path

import pytest
from config_base import composed
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict

from kdbias import cli
from kdbias.config.conf import is_folder_name, is_option
from kdbias.config.saved import require_known_choices
from kdbias.config.spec import flat, plain, spec, spec_hash
from kdbias.controls.base import applied
from kdbias.runs.sweep import job_name
from kdbias.runs.teacher_recipe import recipe_overrides
from kdbias.train import build_data

CONF = Path(cli.conf_dir())
HOME = CONF / "experiment"
ROWS = sorted(path.relative_to(HOME).with_suffix("").as_posix() for path in HOME.glob("*/*.yaml"))
TAUGHT = [row for row in ROWS if not row.endswith("/independent")]
DIRECTIONS = {"cnn_to_vit": {"lm", "crd", "vlfkd", "cskd"}, "vit_to_cnn": {"lm", "crd", "capd", "sskd"}}
OWN = ("loss", "teacher", "module", "control")


def test_every_method_of_both_directions_has_a_row_and_a_control():
    found = {way: {row.partition("/")[2] for row in ROWS if row.startswith(way)} for way in DIRECTIONS}
    assert found == {way: names | {"independent"} for way, names in DIRECTIONS.items()}


@pytest.mark.parametrize("row", TAUGHT)
def test_a_row_and_its_control_differ_in_teacher_and_method_alone(row):
    way, _, method = row.partition("/")
    documented = ["model=deit_tiny", "loss.ce.dist=true"] if method == "cskd" else []
    ours = spec(composed([f"experiment={row}"]))
    control = spec(composed([f"experiment={way}/independent", *documented]))
    mine, theirs = ({k: v for k, v in flat(each).items() if k.split(".")[0] not in OWN} for each in (ours, control))
    if method == "cskd":  # only its term trains the dense logits
        assert mine.pop("model.inference") == "dense"
        assert theirs.pop("model.inference") == "mean"
    if method == "sskd":  # it makes its views itself, by the same crop and flip
        mine = {k: v for k, v in mine.items() if not k.startswith("augment.")}
        theirs = {k: v for k, v in theirs.items() if not k.startswith("augment.")}
    assert mine == theirs


@pytest.mark.parametrize("row", [row for row in TAUGHT if row.split("/")[1] not in ("capd", "sskd")])
def test_control_none_of_a_row_is_its_control(row):
    way, _, method = row.partition("/")
    documented = ["model=deit_tiny", "loss.ce.dist=true"] if method == "cskd" else []
    tree = plain(composed([f"experiment={row}", "control=none", "data=cues"]))
    control = plain(composed([f"experiment={way}/independent", *documented, "data=cues"]))
    _, used = applied(tree, build_data(tree).info)
    for key in ("model", "module", "optim", "augment", "batch_size", "epochs", "callback"):
        assert used[key] == control[key], key
    assert used["teacher"]["name"] is None
    assert used["loss"]["ce"] == control["loss"]["ce"] | {"weight": 1.0}


@pytest.mark.parametrize("row", ROWS)
def test_the_name_of_a_row_names_a_folder(row):
    assert is_option(row)
    assert composed([f"experiment={row}"]).name == row.replace("/", "_")
    assert is_folder_name(composed([f"experiment={row}"]).name)


def test_jobs_of_a_sweep_over_rows_have_folders_of_their_own():
    names = [
        job_name(f"experiment={row},seed={seed}", _root_=composed([f"experiment={row}", f"seed={seed}"]))
        for row in ("cnn_to_vit/lm", "vit_to_cnn/lm")
        for seed in (0, 1)
    ]
    assert [name.rpartition("-")[0] for name in names] == [
        "experiment-cnn_to_vit_lm_seed-0",
        "experiment-cnn_to_vit_lm_seed-1",
        "experiment-vit_to_cnn_lm_seed-0",
        "experiment-vit_to_cnn_lm_seed-1",
    ]
    assert len(set(names)) == 4


def test_a_saved_row_can_be_read_again(tmp_path):
    chosen = {"data": "cues", "trainer": "cpu", "overrides": ["experiment=cnn_to_vit/lm", "preset=as_published"]}
    require_known_choices({"chosen": chosen, "teacher": {"name": "resnet18", "recipe": "cnn_to_vit/lm"}}, tmp_path)


def test_a_recipe_in_a_folder_is_hashed_by_its_content_and_composes():
    row = "vit_to_cnn/independent"
    chosen = ["experiment=cnn_to_vit/lm", "data=cues", f"teacher.recipe={row}"]
    cfg = composed(chosen)
    assert spec(cfg)["teacher"]["recipe"].startswith(f"{row}@")
    assert spec_hash(cfg) != spec_hash(composed(chosen[:2]))
    with open_dict(cfg):
        cfg.chosen = {"data": "cues", "trainer": "cpu", "overrides": chosen}
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        recipe = compose("train", recipe_overrides(plain(cfg), "train"))
    assert (recipe.name, recipe.model._target_) == ("vit_to_cnn_independent", cfg.teacher.model._target_)
