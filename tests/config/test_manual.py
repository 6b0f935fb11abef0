"""``--help`` says what is in the yamls: settings with their comments, options, tasks."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kdbias.analysis.tasks import TASKS
from kdbias.config import manual
from kdbias.config.conf import conf_dir


@pytest.mark.parametrize("config", ["train", "analyze"])
def test_every_setting_and_every_comment_of_the_table_of_contents_is_there(config):
    page = manual.page(config)
    path = Path(conf_dir(), f"{config}.yaml")
    for key in set(map(str, OmegaConf.load(path))) - {"defaults", "hydra"}:
        assert f"\n  {key}: " in page
    settings = path.read_text().partition("\n\n")[2].partition("\nhydra:")[0]
    for comment in (line.partition(" # ")[2] for line in settings.splitlines()):
        assert comment in page


def test_every_task_has_its_line():
    page = manual.page("analyze")
    for task in TASKS:
        assert any(line.split()[:1] == [task] and len(line.split()) > 3 for line in page.splitlines()), task


def test_the_options_of_a_group_are_there():
    words = manual.page("train").replace(",", " ").split()
    for group in ("model", "teacher", "loss", "experiment"):
        home = Path(conf_dir(), group)
        for path in home.rglob("*.yaml"):
            assert path.relative_to(home).with_suffix("").as_posix() in words


def test_a_group_and_an_option_have_pages_of_their_own():
    assert "\n  ce        Cross-entropy with the labels" in manual.page("train", ["--help", "loss"])
    text = Path(conf_dir(), "loss", "ce.yaml").read_text().rstrip()
    assert manual.page("train", ["--help", "loss=ce"]) == f"loss/ce.yaml:\n{text}"
    assert manual.page("train", ["--help", "loss=../loss/ce"]) == manual.page("train")


@pytest.mark.parametrize(
    ("option", "meaning"),
    [
        ("teacher=dinov2", "DINOv2 ViT-S/14 (Oquab et al. 2023), self-supervised; gives features alone."),
        (
            "study=structure",
            "Do the features (EXP-3) or the answers (EXP-2) of a CNN make a small vision transformer more accurate, "
            "and more local?",
        ),
        ("trainer=gpu", "python train.py trainer=gpu"),
        ("callback=early_stopping", "stops training when the objective has not improved for `patience` validations"),
    ],
)
def test_an_option_has_its_first_sentence_whole_however_its_lines_break(option, meaning):
    group, _, name = option.partition("=")
    page = manual.page("train", ["--help", group])
    assert f" {name} {meaning} " in f"{' '.join(page.split())} "
    assert max(map(len, page.splitlines())) <= manual.WIDTH


@pytest.mark.parametrize(("typed", "asks"), [(["--help"], True), (["seed=1", "-h"], True), (["--hydra-help"], False)])
def test_help_is_asked_for_by_its_two_names(typed, asks):
    assert manual.asked(typed) == asks
