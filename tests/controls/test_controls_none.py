"""No teacher and the same architecture, and a copy of the student that is trained in this way."""

import pytest
from config_base import composed
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from kdbias.checks.check import check
from kdbias.checks.plan import describe_data, describe_network
from kdbias.config.build import selected
from kdbias.config.conf import conf_dir
from kdbias.config.spec import Tree, plain, spec_hash
from kdbias.controls.base import applied
from kdbias.controls.none import NO_TEACHER, label_terms
from kdbias.controls.self import Self, copy_recipe

CUES = ["data=cues"]


def without(*overrides: str) -> Tree:
    """The config of an experiment as its control changes it."""
    tree = plain(composed([*overrides, *CUES, "control=none"]))
    return applied(tree, describe_data(tree["data"]))[1]


def same_terms(found: Tree, baseline: str) -> bool:
    return dict(selected(found["loss"])) == dict(selected(plain(composed([f"experiment={baseline}", *CUES]).loss)))


def test_an_experiment_without_its_teacher_is_its_baseline():
    assert same_terms(without("experiment=exp1_resnet_kl"), "baseline_dist")
    assert same_terms(without("experiment=exp3_dino"), "baseline")


def test_a_schedule_between_labels_and_teacher_is_gone():
    found = without("experiment=adaptive_kl")
    assert (found["loss"]["ce"]["weight"], found["loss"]["ce"]["dist"], list(found["loss"])) == (1.0, True, ["ce"])


def test_an_experiment_without_labels_gets_them():
    found = without("experiment=demo_kl", "control.label_smoothing=0")
    expected = {"_target_": "kdbias.losses.ce.CE", "label_smoothing": 0, "weight": 1.0, "dist": False}
    assert found["loss"] == {"ce": expected}


def test_terms_that_need_no_teacher_stay():
    cfg = composed(["experiment=exp1_resnet_kl", *CUES, "loss.ce.label_smoothing=.3"])
    student = describe_network(plain(cfg.model), describe_data(plain(cfg.data))).info
    labels = {"_target_": "kdbias.losses.ce.CE", "weight": 0.7}
    kept = label_terms({"kl": plain(cfg.loss.kl), "ce": plain(cfg.loss.ce), "more": labels}, student, 0.1)
    assert kept["ce"]["label_smoothing"] == 0.3
    assert kept["more"] == labels
    assert "kl" not in kept


def test_labels_train_the_answers_of_two_heads():
    """A student that was to answer at its places too gives the mean of both heads, as its baseline does."""
    dense = ["experiment=exp1_resnet_kl", "loss=[ce,cskd]", "model.inference=dense"]
    assert without(*dense)["model"] == without("experiment=exp1_resnet_kl")["model"]
    assert without("experiment=exp1_resnet_kl", "model.inference=cls")["model"]["inference"] == "cls"


def test_no_teacher_is_what_its_config_says():
    assert plain(OmegaConf.load(f"{conf_dir()}/teacher/none.yaml")) == NO_TEACHER


def recipe(*overrides: str, tmp_path, seed=1000):
    """The composed config that trains the copy of a run's student."""
    cfg = composed([*overrides, f"paths.teachers={tmp_path}"])
    data = describe_data(plain(cfg.data))
    with open_dict(cfg):
        cfg.chosen = {"data": "cues", "trainer": "smoke", "overrides": list(overrides)}
    loss = label_terms(dict(selected(plain(cfg.loss))), describe_network(plain(cfg.model), data).info, 0.1)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        found = copy_recipe(plain(cfg), loss, seed, "train")
        return found, compose("train", found.overrides)


RUN = [
    "experiment=adaptive_kl",
    "data=cues",
    "trainer=smoke",
    "data.train=200",
    "data.val=40",
    "optim.clip=2",
    "seed=3",
]


@pytest.mark.parametrize("stressed", [["augment.teacher_stress=scramble"], ["augment.teacher_strength=.5"]])
def test_a_copy_has_no_view_of_a_teacher(tmp_path, stressed):
    plain_copy, _ = recipe(*RUN, "control=self", tmp_path=tmp_path)
    run = [*RUN, "control=self", "augment.teacher_stress=scramble", *stressed]
    assert check(composed(run)) == []
    found, copy = recipe(*run, tmp_path=tmp_path)
    assert check(copy) == []
    assert copy.augment.teacher_stress is None
    assert found.key == plain_copy.key


def test_the_copy_is_trained_as_the_run_without_teacher_from_another_seed(tmp_path):
    found, copy = recipe(*RUN, "control=self", "control.offset=5", "+sweep=family_accuracy", tmp_path=tmp_path, seed=8)
    assert check(copy) == []
    assert (copy.seed, copy.teacher.name, copy.optim.clip, copy.data.train) == (8, None, 2, 200)
    assert "control" not in copy
    assert plain(copy.loss) == {"ce": {**plain(composed(["loss=[ce]"]).loss.ce), "weight": 1.0, "dist": True}}
    assert plain(copy.model) == plain(composed(RUN).model)
    alone = composed(["experiment=baseline_dist", *RUN[1:-1], "seed=8"])
    assert found.key == spec_hash(alone)
    assert found.folder.name == f"self-cues-{found.key}"


def test_teachers_and_terms_share_one_copy(tmp_path):
    first, _ = recipe(*RUN, "control=self", tmp_path=tmp_path)
    others = ["teacher=resnet20", "teacher.layers=[0,1]", "loss.kl.temperature=2", "loss=[ce,hard_kl]"]
    second, _ = recipe(*RUN, *others, "control=self", tmp_path=tmp_path)
    assert first.key == second.key
    third, _ = recipe(*RUN, "control=self", "loss.ce.label_smoothing=0", tmp_path=tmp_path)
    assert first.key != third.key


def test_the_copy_of_a_student_that_answers_at_its_places_does_so_with_two_heads(tmp_path):
    dense = ["loss=[ce,cskd]", "model.inference=dense"]
    found, copy = recipe(*RUN, *dense, "control=self", tmp_path=tmp_path)
    assert check(copy) == []
    assert found.key == recipe(*RUN, "control=self", tmp_path=tmp_path)[0].key
    assert copy.model.inference == "mean"
    tree = plain(composed([*RUN, *dense, "control=self"]))
    assert applied(tree, describe_data(tree["data"]))[1]["teacher"]["model"]["inference"] == "mean"


def test_the_copy_has_no_probe_of_a_teacher(tmp_path):
    probes = "callback=[checkpoint,probe_attention,probe_cka_teacher]"
    _, copy = recipe(*RUN, probes, "control=self", tmp_path=tmp_path)
    assert check(copy) == []
    assert "probe_attention" in copy.callback
    assert "probe_cka_teacher" not in copy.callback


def test_a_copy_from_the_students_own_seed_is_refused():
    with pytest.raises(ValueError, match=r"offset: 0 would give the copy the student's own seed"):
        Self(offset=0)
