"""task=demo is the study of its name with one seed: the same runs, the same page, in one command."""

import shlex

import numpy as np
import pytest
from config_base import composed
from hydra import initialize_config_dir

from kdbias.analysis import demo as task
from kdbias.analysis import study as studies
from kdbias.analysis import study_train
from kdbias.analysis.examples import examples
from kdbias.analysis.results import Measured
from kdbias.analysis.run_teacher import composing
from kdbias.analysis.status import study_of
from kdbias.analysis.study_node import hypotheses
from kdbias.checks.words import study_words
from kdbias.config.build import build
from kdbias.config.conf import conf_dir
from kdbias.config.spec import plain
from kdbias.probes.base import Result


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Give what ``task=demo`` trains and reports, without training or reporting it."""
    seen = {}
    monkeypatch.setattr(task, "train", lambda found, **more: seen.update(study=found, **more))
    monkeypatch.setattr(task, "report", lambda tree: seen.update(tree=tree))

    def run(*words):
        tree = plain(composed(["task=demo", f"paths.runs={tmp_path}", *words], "analyze"))
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            task.demo(tree)
        return seen

    return run


def test_the_demo_is_the_study_of_its_name_with_one_seed(begun, tmp_path):
    seen = begun()
    found = seen["study"]
    assert [(one.group, one.seed) for one in found.runs] == [("student", 0), ("control", 0)]
    node = plain(composed(["study=demo", "study.seeds=[0]"], "analyze").study)
    with composing():
        same = studies.plan(node, [], tmp_path)
    assert [one.run.folder for one in found.runs] == [one.run.folder for one in same.runs]
    assert [one.run.key for one in found.runs] == [one.run.key for one in same.runs]
    assert seen["tree"]["study"] == found.node
    record = studies.load(tmp_path / "studies" / "demo")  # task=status and task=report know what was started
    assert (record.node, record.chosen, record.order[0].folder) == (found.node, found.chosen, found.order[0].folder)
    assert found.command == "python train.py -m study=demo 'study.seeds=[0]'"
    assert found.again == f"{found.command} paths.runs={tmp_path}"


def test_the_demo_takes_a_study_with_its_seeds_and_overrides(begun):
    found = begun("study=demo", "study.seeds=[0,2]", 'study.overrides=["epochs=1","data.train=1000"]')["study"]
    assert {one.seed for one in found.runs} == {0, 2}
    assert {one.run.epochs for one in found.runs} == {1}
    words = ["study=demo", "study.seeds=[0,2]", "study.overrides=['epochs=1','data.train=1000']"]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        again = study_train.composed(words, [f"paths.runs={found.folder.parents[1]}"])
    assert [one.run.key for one in again.runs] == [one.run.key for one in found.runs]
    assert again.chosen == found.chosen == tuple(words[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["study.common=['trainer=cpu','epochs=2','data.train=1000']", "study.lanes=3"],
        ["study.overrides=['callback=[checkpoint,throughput]']", "study.images=100", "study.conflict_images=40"],
        ["~study.hypotheses.shape_alone", "~study.hypotheses.texture_alone", "study.hypotheses.inherits.sd=.1"],
        ["~study.hypotheses", "~study.runs.control", "+study.runs.more={experiment:demo_kl,overrides:['epochs=3']}"],
        ['study.about="it\'s: ours, 100 %"', "+study.probes.cka={}", "study.seeds=[1]"],
    ],
)
def test_the_command_to_go_on_gives_the_very_same_study(words, begun, tmp_path):
    if "study.hypotheses.inherits.sd=.1" in words:
        words = [*words, "study.hypotheses.inherits.seeds=null"]
    found = begun("study=demo", *words)["study"]
    typed = shlex.split(found.again)[3:]
    of_study = list(study_words(typed))
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        again = study_train.composed(of_study, [word for word in typed if word not in of_study])
    assert again == found
    assert task.started(found) is None  # its own record, which has no run more


def test_the_demo_leaves_the_record_and_the_page_of_more_seeds(begun, tmp_path, capsys):
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        three = study_train.composed(["study=demo", "study.lanes=1"], [f"paths.runs={tmp_path}"])
    studies.save(three)
    seen = begun()
    assert {one.seed for one in seen["study"].runs} == {0}  # it trains its own seed alone
    assert study_of(seen["tree"]) == studies.load(three.folder)  # and the page is about all three
    assert study_of(seen["tree"]).node == three.node
    assert "was started with seeds 0, 1, 2: its page shows all that are done" in capsys.readouterr().out
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        other = study_train.composed(["study=demo"], [f"paths.runs={tmp_path}", "epochs=1"])
    studies.save(other)  # the runs of the demo are none of these
    assert study_of(begun()["tree"]).command == seen["study"].command
    (three.folder / studies.RECORD).write_text("{")
    assert study_of(begun()["tree"]).command == seen["study"].command
    studies.save(three)
    assert study_of(begun("study=demo", "study.seeds=[0]")["tree"]).command == seen["study"].command  # as it was typed


def test_student_and_control_have_one_network_and_recipe(begun):
    student, control = (composed(one.run.overrides) for one in begun()["study"].runs)
    teacher = composed(begun()["study"].runs[0].teacher.overrides)
    for key in ("data", "augment", "model", "optim", "epochs", "batch_size"):
        assert student[key] == control[key], key
    assert student.model.conv_stem == "deep"
    assert student.loss.alpha == student.loss.kl.temperature == 1.0
    assert (teacher.data.shape_reliability, teacher.data.texture_reliability) == (1.0, 0.0)
    assert teacher.data.preset == student.data.preset == "demo"


def test_the_examples_are_images_of_the_data_with_the_answers_of_the_first_seed():
    node = {"_target_": "kdbias.data.cues.cues", "train": 20, "val": 10, "test": 20, "preset": "demo"}
    images = build(node, group="data").variant("conflict", 8)
    cues = {"shape": images.shape.numpy(), "texture": images.texture.numpy()}

    def by(cue, **more):
        return Result("cues", {}, {**cues, "answer": cues[cue], **more})

    networks = [
        Measured(f"{label}-{seed}", label, "network", {"source": node}, {"cues": by(cue)})
        for seed, cue in ((0, "shape"), (1, "texture"))
        for label in ("student", "control")
    ]
    claims = hypotheses(plain(composed(["study=demo"], "analyze").study))
    found = examples(claims, networks, {"student": {"cues": by("texture")}})
    assert len(found) == 6
    assert found[5].answers == {"teacher": "texture", "control": "shape", "student": "shape"}
    np.testing.assert_array_equal(found[5].image, images.image[5].permute(1, 2, 0).numpy())
    assert examples(claims, networks[::2], {}) == []  # no control was measured
    assert examples([], networks, {}) == []
    strange = {"student": {"cues": by("shape", shape=cues["shape"][::-1])}}
    assert examples(claims, networks, strange) == []  # it was asked about other images
