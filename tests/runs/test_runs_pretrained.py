"""``pretrained: auto``: decided once, hashed, saved and handed on as what it came to. Nothing here asks a network."""

import json
from types import SimpleNamespace

import pytest
from config_base import composed
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from kdbias.checks.plan import describe_data, describe_network
from kdbias.config.build import selected
from kdbias.config.conf import conf_dir
from kdbias.config.errors import ConfigError
from kdbias.config.spec import Tree, plain, spec_hash
from kdbias.controls.none import label_terms
from kdbias.controls.self import copy_recipe
from kdbias.models import pretrained
from kdbias.models.checkpoint import read_spec
from kdbias.runs import sweep
from kdbias.runs.parallel import planned
from kdbias.runs.pretrained import as_saved, settled
from kdbias.runs.resuming import resumed
from kdbias.runs.teacher_recipe import recipe
from kdbias.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.* starts from scratch")

TEACHER = ["experiment=exp2_convnext_kl", "data=cues"]
STUDENT = ["experiment=teacher_timm", "data=cues", "model.name=test_resnet", "model.pretrained=auto"]
CONVNEXT = "convnextv2_tiny.fcmae_ft_in1k"


class Hub:
    """Stands for timm's weights: there or not, and which networks' were asked for."""

    def __init__(self):
        self.there, self.asked = True, []

    def download(self, name, classes, arguments):
        self.asked.append(name)
        if not self.there:
            raise pretrained.MissingWeights("no connection")


@pytest.fixture
def hub(monkeypatch):
    found = Hub()
    monkeypatch.setattr(pretrained, "_download", found.download)
    pretrained.obtainable.cache_clear()
    yield found
    pretrained.obtainable.cache_clear()


@pytest.fixture
def online(hub):
    return hub


@pytest.fixture
def offline(hub):
    hub.there = False
    return hub


def later(hub, there: bool) -> None:
    """Begin another process, with a connection or without."""
    hub.there = there
    pretrained.obtainable.cache_clear()


def test_offline_and_online_are_two_runs_and_each_is_the_run_that_says_so(offline):
    tree = plain(composed(TEACHER))
    with pytest.warns(UserWarning, match=f"{CONVNEXT} starts from scratch: no connection") as caught:
        (scratch, overrides), again = settled(tree), settled(tree)
    assert (len(caught), offline.asked) == (1, [CONVNEXT])
    assert again == (scratch, overrides)
    assert overrides == ["++teacher.model.pretrained=false"]
    assert tree["teacher"]["model"]["pretrained"] == "auto"
    assert spec_hash(scratch) == spec_hash(composed([*TEACHER, *overrides]))
    later(offline, True)
    there, overrides = settled(tree)
    assert spec_hash(there) == spec_hash(composed([*TEACHER, *overrides])) != spec_hash(scratch)
    assert settled(there) == (there, [])


def test_what_a_teachers_model_takes_from_the_teacher_is_decided_in_both(online):
    found, overrides = settled(plain(composed([*STUDENT, "teacher=timm", "teacher.pretrained=auto"])))
    teacher = found["teacher"]
    assert [node["pretrained"] for node in (found["model"], teacher, teacher["model"])] == [True, True, True]
    assert overrides == [f"++{key}.pretrained=true" for key in ("model", "teacher.model", "teacher")]
    assert online.asked == ["test_resnet", "resnet18"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=exp1_resnet_kl"],
        [*STUDENT, "model.pretrained=true"],
        [*STUDENT, "model.weights=imagenet.safetensors"],
        [*TEACHER, "teacher.weights=trained.ckpt"],
        [*TEACHER, "teacher.model.weights=imagenet.safetensors"],
        *([*TEACHER, f"control={control}"] for control in ("none", "self", "same_family", "random")),
    ],
)
def test_nothing_is_asked_where_nothing_depends_on_it(online, overrides):
    tree = plain(composed(overrides))
    found, decided = settled(tree)
    assert found is tree
    assert decided == online.asked == []


def test_a_control_that_asks_the_teacher_needs_its_weights(online):
    assert settled(plain(composed([*TEACHER, "control=shuffled"])))[1] == ["++teacher.model.pretrained=true"]


def test_a_sweep_tells_its_jobs_what_it_decided(online, monkeypatch, tmp_path):
    told = []
    hydra = SimpleNamespace(
        runtime=SimpleNamespace(output_dir=str(tmp_path), choices={"hydra/launcher": "lanes"}),
        sweep=SimpleNamespace(dir=str(tmp_path)),
        overrides=SimpleNamespace(task=list(STUDENT)),
        job=SimpleNamespace(num=0),
    )
    monkeypatch.setattr(sweep.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(sweep, "single_run", lambda overrides, folder, key, **_: told.append((overrides, key)))
    cfg, names = composed(STUDENT), []
    for there in (True, False):
        later(online, there)
        sweep.run_job(cfg)
        names.append(sweep.job_name("x", _root_=cfg))
    assert [overrides[-1] for overrides, _ in told] == ["++model.pretrained=true", "++model.pretrained=false"]
    assert [key for _, key in told] == [spec_hash(composed(overrides)) for overrides, _ in told]
    assert names[0] != names[1]
    assert online.asked == ["test_resnet"] * 2
    assert sweep.job_name("x", _root_=composed([*STUDENT, "model.name=resnet81"])).startswith("x-")


def chosen(overrides: list[str]) -> Tree:
    return {**plain(composed(overrides)), "chosen": {"data": "cues", "trainer": "cpu", "overrides": overrides}}


def test_a_teacher_is_trained_as_its_run_says_or_else_as_its_recipe_comes_to(online, tmp_path):
    tree, _ = settled(chosen(TEACHER))
    later(online, False)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        there = recipe(tree, tmp_path, "train")
        assert online.asked == [CONVNEXT]  # by the run, not again by the recipe
        del tree["teacher"]["model"]["pretrained"]
        scratch = recipe(tree, tmp_path, "train")
    assert [found.overrides[-1] for found in (there, scratch)] == [
        "++model.pretrained=true",
        "++model.pretrained=false",
    ]
    assert there.folder != scratch.folder


def test_the_copy_of_control_self_starts_as_the_student_does(online, tmp_path):
    overrides = [*STUDENT, f"paths.teachers={tmp_path}"]
    tree, _ = settled(chosen(overrides))
    later(online, False)
    student = describe_network(tree["model"], describe_data(tree["data"])).info
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        found = copy_recipe(tree, label_terms(dict(selected(tree["loss"])), student, 0.1), 1000, "train")
    assert "++model.pretrained=true" in found.overrides


def test_a_lane_is_told_and_finds_its_run_again(online, tmp_path):
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        (run, tree), (again, _) = (planned("a", STUDENT, tmp_path) for _ in range(2))
        later(online, False)
        other, _ = planned("a", STUDENT, tmp_path)
    assert run == again
    assert run.folder != other.folder
    assert run.overrides == tuple(tree["chosen"]["overrides"]) == (*STUDENT, "++model.pretrained=true")


def test_a_run_that_goes_on_keeps_what_it_decided(online, tmp_path):
    saved, _ = settled(plain(composed([*STUDENT, f"paths.run={tmp_path}"])))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    OmegaConf.save(saved, tmp_path / "config.yaml")
    later(online, False)
    overrides = [*STUDENT, "trainer.log_every=3", f"resume={tmp_path}"]
    found = resumed(composed(overrides), overrides)
    assert (found.model.pretrained, found.trainer.log_every) == (True, 3)
    assert online.asked == ["test_resnet"]
    overrides[3] = "model.pretrained=false"
    with pytest.raises(ConfigError, match=r"model\.pretrained: True -> False"):
        resumed(composed(overrides), overrides)
    assert as_saved(plain(composed(overrides)), saved) == {}


def test_a_run_says_how_it_started(offline, tmp_path):
    small = ["trainer=smoke", "data.train=200", "data.val=40", "data.test=40", f"paths.run={tmp_path}"]
    cfg = composed([*STUDENT, *small])
    with pytest.warns(UserWarning, match="test_resnet starts from scratch"):
        train(cfg)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["spec"]["model"]["pretrained"] is False
    assert read_spec(tmp_path / "checkpoints" / "best.ckpt")["model"]["pretrained"] is False
    saved = OmegaConf.load(tmp_path / "config.yaml")
    explicit = composed([*STUDENT[:-1], "model.pretrained=false", *small])
    assert result["spec_hash"] == spec_hash(saved) == spec_hash(explicit) != spec_hash(cfg)
    assert offline.asked == ["test_resnet"]
