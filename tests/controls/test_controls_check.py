"""Controls that do not go with a run, and settings that no control can have, are named with key and remedy."""

from typing import Any

import pytest
from config_base import Attention, Mistake, assert_named_once, composed, config, headless
from hydra import compose, initialize_config_dir
from planting import plant

from kdbias import cli
from kdbias.checks.check import check
from kdbias.config import conf

CONTROLS = "kdbias.controls"
DINO = {
    "teacher.model": {"_target_": "kdbias.models.deit.headless"},
    "loss.kl": {"_target_": "kdbias.losses.token.Token"},
    "loss.ce.dist": True,
}
VIT = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 2, "heads": 2}


def control(name: str, builder: str, **settings: Any) -> dict[str, Any]:
    return {"control": {"_target_": f"{CONTROLS}.{name}.{builder}", **settings}}


def graded(wanted: float, **teachers: Any) -> dict[str, Any]:
    return control("accuracy_matched", "AccuracyMatched", accuracy=wanted, among="graded", graded=teachers)


SMOOTH = control("label_smoothing", "LabelSmoothing")
MATCHED = control("accuracy_matched", "AccuracyMatched", accuracy=0.9)
FAMILY = control("same_family", "SameFamily", vit="vit_small_cifar", cnn="resnet56")
HYBRID = {"_target_": "kdbias.models.timm_network.timm_network", "name": "edgenext_xx_small", "size": 64}
GRADED = {"among": "graded", "graded": {"resnet20": {"weight": "w"}}}
MESSAGES: dict[str, Mistake] = {
    "a run without teacher": (
        control("shuffled", "Shuffled") | {"teacher.name": None, "loss.kl": None, "loss.ce.dist": True},
        "control",
        ("shuffled changes the teacher, and this run has none: choose an experiment that distils",),
    ),
    "labels for tokens": (
        SMOOTH | {"loss.token": {"_target_": "kdbias.losses.token.Token"}, "augment.mix_probability": 0.0},
        "control",
        ("label_smoothing gives logits, and token needs the teacher's tokens: leave token out",),
    ),
    "a confidence that is divided out": (
        SMOOTH | {"loss.kl.standardize": True},
        "control",
        ("label_smoothing matches the teacher's confidence, which loss.kl.standardize=true removes",),
    ),
    "two temperatures": (
        SMOOTH | {"loss.dist": {"_target_": "kdbias.losses.dist.DIST", "temperature": 1.0}},
        "control.temperature",
        ("the terms have different temperatures (kl 4, dist 1): set the one to match at",),
    ),
    "labels of what the teacher does not see": (
        SMOOTH | {"augment.view": "clean"},
        "control",
        ("augment.view=clean", "set augment.view=same or augment.mix_probability=0"),
    ),
    "many images alone in their class": (
        control("shuffled", "Shuffled") | {"batch_size": 20},
        "control",
        ("shuffled: of 20 images of 10 classes 14% would be alone", "raise batch_size"),
    ),
    "images of each process": (
        control("shuffled", "Shuffled") | {"trainer.devices": 2},
        "control",
        ("shuffled: of 25 images",),
    ),
    "a teacher of the family already": (
        FAMILY | {"teacher.model": VIT},
        "control",
        ("same_family: small has the student's family (vit) already",),
    ),
    "a family's teacher of the other family": (
        control("same_family", "SameFamily", vit="resnet20", cnn="resnet56"),
        "control.vit",
        ("resnet20 has the family cnn and the student vit: name a teacher of the student's family",),
    ),
    "a student of a family that has no named teacher": (
        FAMILY
        | {"model": {"_target_": "kdbias.models.timm_network.timm_network", "name": "edgenext_xx_small", "size": 64}},
        "control",
        (
            "same_family: the student's family is hybrid, and teachers are named for vit and cnn alone",
            "leave control out",
        ),
    ),
    "a family's teacher that is none": (
        control("same_family", "SameFamily", vit="none", cnn="resnet56"),
        "control.vit",
        ("this teacher has no network: name one that has",),
    ),
    "weights in place of a teacher that is trained on images of its own": (
        control("same_family", "SameFamily", vit="vit_small_cifar", cnn="resnet56", weights=__file__)
        | {"teacher.data": {"texture_reliability": 0.0}},
        "control.weights",
        ("may come from other images than those that small was trained on", "leave it out", "drop teacher.data"),
    ),
    "a family's teacher that is not there": (
        control("same_family", "SameFamily", vit="vit_smal_cifar", cnn="resnet56"),
        "control.vit",
        ("there is no conf/teacher/vit_smal_cifar.yaml",),
    ),
    "weights that are not there": (
        control("self", "Self", weights="no/such.ckpt"),
        "control.weights",
        ("there is no file no/such.ckpt",),
    ),
    "an accuracy in percent": (
        control("accuracy_matched", "AccuracyMatched", accuracy=91.7),
        "control.accuracy",
        ("must be in (0, 1], got 91.7; .917 is 91.7 %",),
    ),
    "a teacher without accuracy": (MATCHED | DINO, "control", ("accuracy_matched: small has no classifier",)),
    "a teacher whose training is not there": (
        MATCHED | {"teacher.weights": __file__},
        "control.among",
        ("no checkpoints of its training lie beside", "leave teacher.weights out to have it trained"),
    ),
    "a setting of a graded teacher that nothing reads": (
        control("accuracy_matched", "AccuracyMatched", accuracy=0.9, **GRADED),
        "control.graded.resnet20.weight",
        ("nothing reads it: the settings are weights and accuracy",),
    ),
    "a graded teacher that is not there": (
        control("accuracy_matched", "AccuracyMatched", accuracy=0.9, among="graded", graded={"resnet21": {}}),
        "control.graded.resnet21",
        ("there is no conf/teacher/resnet21.yaml",),
    ),
    "a graded teacher without classifier": (
        control("accuracy_matched", "AccuracyMatched", accuracy=0.9, among="graded", graded={"ssl_resnet": {}}),
        "control.graded.ssl_resnet",
        ("has no classifier for these images",),
    ),
    "an accuracy of weights that are not given": (
        graded(0.9, resnet20={"accuracy": 0.9}),
        "control.graded.resnet20.accuracy",
        ("needs weights that have this accuracy", "add control.graded.resnet20.weights=PATH, or leave it out"),
    ),
    "a graded accuracy in percent": (
        graded(0.9, resnet20={"weights": __file__, "accuracy": 91.7}),
        "control.graded.resnet20.accuracy",
        ("must be in (0, 1], got 91.7; .917 is 91.7 %",),
    ),
    "no graded accuracy near enough, where all are given": (
        graded(0.9, **{name: {"weights": __file__, "accuracy": 0.85} for name in ("resnet20", "resnet32")}),
        "control.accuracy",
        ("control.accuracy=0.9: the nearest of resnet20 0.8500, resnet32 0.8500 is 0.0500 away", "raise control.tol"),
    ),
    "an untrained teacher from a seed that is none": (
        control("random", "Random", seed=-1),
        "control.seed",
        ("must be a whole number from 0 to 2**32 - 1, or null for the run's, got -1",),
    ),
    "a copy from a seed that is none": (
        control("self", "Self", offset=-5) | {"seed": 2},
        "control.offset",
        ("-5 makes the copy's seed -3, which must be a whole number from 0 to 2**32 - 1",),
    ),
    "an untrained teacher of a checkpoint that is not there": (
        control("random", "Random") | {"teacher.weights": "no/such.ckpt"},
        "teacher.weights",
        ("there is no file no/such.ckpt",),
    ),
    "no graded teacher": (
        control("accuracy_matched", "AccuracyMatched", accuracy=0.9, among="graded"),
        "control.graded",
        ("names no teacher",),
    ),
    "a term that the copy of the student does not serve": (
        control("self", "Self", weights=__file__)
        | {
            "loss.a": {"_target_": "kdbias.losses.kl.Attention"},
            "model": {"_target_": "kdbias.models.resnet_cifar.small_cnn"},
            "teacher.model": VIT,
        },
        "loss.a",
        ("needs the teacher's qkv, but self has no attention",),
    ),
}


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    plant(monkeypatch, "model", "kdbias.models.deit", headless)
    plant(monkeypatch, "loss", "kdbias.losses.kl", Attention)


@pytest.mark.parametrize(
    "builder", ["none.NoTeacher", "self.Self", "label_smoothing.LabelSmoothing", "shuffled.Shuffled"]
)
def test_what_works_on_terms_refuses_a_loss_of_its_own(builder):
    module = {"_target_": "kdbias.modules.ssl_simclr.SimCLR"}
    problems = check(config({"control": {"_target_": f"{CONTROLS}.{builder}"}, "module": module}))
    kind = builder.partition(".")[0]
    assert (
        f"control: {kind} works on the terms of loss=[...], and {module['_target_']} trains by a loss of its own"
        in problems
    )


@pytest.mark.parametrize("case", MESSAGES)
def test_message(case):
    assert_named_once(*MESSAGES[case])


@pytest.mark.parametrize(
    "changes",
    [
        control("none", "NoTeacher") | {"loss.kl.temperature": 4.0},
        control("shuffled", "Shuffled"),
        control("random", "Random"),
        SMOOTH | {"loss.dist": {"_target_": "kdbias.losses.dist.DIST", "temperature": 4.0}},
        control("label_smoothing", "LabelSmoothing", temperature=2.0)
        | {"loss.dist": {"_target_": "kdbias.losses.dist.DIST", "temperature": 1.0}},
        SMOOTH | {"augment.view": "clean", "augment.mix_probability": 0.0},
        MATCHED,
        graded(0.9, resnet20={"weights": __file__, "accuracy": 0.89}),
        graded(0.9, resnet20={"weights": __file__, "accuracy": 0.5}, resnet32={}),  # known once it is trained
        FAMILY,
        FAMILY | {"teacher.data": {"texture_reliability": 0.0}},
        control("self", "Self"),
        control("self", "Self", offset=-2) | {"seed": 2},
    ],
)
def test_a_control_that_makes_sense_passes(changes):
    assert check(config(changes)) == []


def test_the_wanted_accuracy_must_be_given():
    problems = check(composed(["experiment=exp1_kl", "control=accuracy_matched"]))
    assert problems
    assert all(problem.startswith("control.accuracy: ") for problem in problems)


@pytest.mark.parametrize("teacher", ["resnet56", "vit_small_cifar"])
def test_a_job_of_the_sweep_passes_the_check(teacher):
    params = composed_params()
    assert teacher in params["teacher"].split(",")
    job = [f"{key}={value.split(',')[0]}" for key, value in params.items() if key != "teacher"]
    cfg = composed(["+sweep=family_accuracy", *job, f"teacher={teacher}", "control.tolerance=.05"])
    assert (cfg.name, cfg.control.accuracy, cfg.teacher.name) == ("exp1_kl", 0.88, teacher)
    assert check(cfg) == []


def composed_params() -> dict[str, str]:
    """What the sweep of families and accuracies crosses, as Hydra's sweeper gets it."""
    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        cfg = compose("train", ["+sweep=family_accuracy"], return_hydra_config=True)
    assert str(cfg.hydra.mode).endswith("MULTIRUN")
    return {key: str(value) for key, value in cfg.hydra.sweeper.params.items()}
