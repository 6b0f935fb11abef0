"""The demo's page from made-up Results, and the plan of its runs."""

import re

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdbias.analysis.demo import plan_runs, write
from kdbias.checks.check import check
from kdbias.cli import conf_dir, register
from kdbias.config.spec import plain
from kdbias.probes.base import Result
from kdbias.report.demo_examples import demo_examples, goes_by
from kdbias.report.demo_results import DemoNetwork, DemoResults
from kdbias.report.demo_tables import gain_table, index_table, networks_table
from kdbias.report.demo_words import attention_sentence, headline, lead
from kdbias.report.page import Code

N = 500
FIGURES = ("cues", "shape-share", "accuracy", "attention", "training-accuracy", "training-loss")


def network(accuracy: float, share: float, attention: float | None, seed: int = 0) -> DemoNetwork:
    rng = np.random.default_rng([seed, int(1000 * share)])
    right, decided = rng.random(N) < accuracy, rng.random(N) < 0.9
    by_shape = decided & (rng.random(N) < share)
    shape, texture = np.arange(N) % 10, (np.arange(N) + 3) % 10
    answer = np.where(by_shape, shape, np.where(decided, texture, (shape + 1) % 10))
    alone = {cue: rng.random(N) < 0.5 for cue in ("shape", "texture")}
    cues = Result(
        "cues",
        {
            "shape_share": float(by_shape.sum() / decided.sum()),
            "decided": float(decided.mean()),
            **{f"accuracy_{cue}": float(values.mean()) for cue, values in alone.items()},
        },
        {
            "decided": decided,
            "by_shape": by_shape,
            "shape": shape,
            "texture": texture,
            "answer": answer,
            **{f"right_{cue}": values for cue, values in alone.items()},
        },
        {"n": N},
    )
    test = Result("test", {"accuracy": float(right.mean())}, {"right": right}, {"n": N, "classes": 10})
    epochs = np.array([0.0, 1.0])
    metrics = {"epoch": epochs, "val/accuracy": 0.3 + 0.1 * epochs, "train/loss": 2 - epochs}
    return DemoNetwork(test, cues, metrics, None if attention is None else attended(attention))


def attended(distance: float) -> Result:
    arrays = {
        "distance": np.full((6, 4), distance),
        "entropy": np.full((6, 4), 4.0),
        "uniform_distance": np.asarray(4.136),
        "uniform_entropy": np.asarray(4.159),
    }
    return Result("attention", {"distance": distance}, arrays, {"n": 100, "grid": [8, 8]})


def measured(student_share: float = 0.6, seeds: int = 2, teacher_share: float = 0.98) -> DemoResults:
    return DemoResults(
        teacher=network(0.9, teacher_share, None),
        control=[network(0.7, 0.2, 3.0, seed) for seed in range(seeds)],
        student=[network(0.6, student_share, 3.3 + 0.01 * seed, seed) for seed in range(seeds)],
        untrained=attended(4.1),
        how=["Made up.", Code("python analyze.py task=demo")],
        shown=np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
        shapes=[f"shape {number}" for number in range(10)],
        textures=[f"texture {number}" for number in range(10)],
    )


def test_page_stands_alone_with_everything_beside_it(tmp_path):
    clear = measured()
    path = write(clear, tmp_path)
    assert path == tmp_path / "demo.html"
    html = path.read_text()
    assert lead(clear).startswith("The student took over ")
    first = html[: html.index("<h2>")]
    assert first.index("cue-conflict image") < first.index("<img") < first.index('class="number"')
    assert headline(clear).value in first.replace("\N{NO-BREAK SPACE}", " ")
    assert (html.count("data:image/png;base64,"), html.count("data:image/svg+xml;base64,")) == (6, 5)
    assert "http" not in html
    alts = re.findall(r'alt="([^"]*)"', html)
    assert len(alts) == 11
    assert all(re.search(r"\d", alt) for alt in alts)
    for part in ("Networks", "Transfer index", "Student - control, percentage points", "untrained network is at 4.10"):
        assert part in html
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
    }
    assert "| network |" in (tmp_path / "demo.md").read_text()


def test_lead_of_one_seed_and_of_a_teacher_with_nothing_to_give():
    one = measured(seeds=1)
    assert "one seed says nothing of other seeds" in lead(one)
    assert "one seed each: no difference shown" in attention_sentence(one)
    tables = [table(one).markdown() for table in (networks_table, index_table, gain_table)]
    assert not any("1 seeds" in text or "nan" in text for text in [lead(one), *tables])
    refused = measured(teacher_share=0.2, student_share=0.2)
    assert "Whether a preference was inherited cannot be said" in lead(refused)
    assert "there is nothing to transfer" in index_table(refused).markdown()


@pytest.mark.parametrize(
    ("made", "value", "says"),
    [
        ({}, "50 %", "came over to the student"),
        ({"student_share": 0.05}, "\N{MINUS SIGN}", "moved away"),
        ({"student_share": 0.2}, "open", "No difference shown"),
        ({"teacher_share": 0.2, "student_share": 0.2}, "no number", "cannot be said"),
    ],
)
def test_the_main_number_claims_no_more_than_is_shown(made, value, says):
    number = headline(measured(**made))
    assert value in number.value
    assert says in number.sentence
    assert ("it would lie between" in number.sentence) == (value not in ("open", "no number"))


def test_examples_say_which_cue_each_network_goes_by():
    found = measured()
    example = demo_examples(found)[2]
    assert example.caption == "shape 2 filled with texture 5"
    for name, network in (("teacher", found.teacher), ("control", found.control[0]), ("student", found.student[0])):
        cues = network.cues.arrays
        expected = "shape" if cues["by_shape"][2] else "texture" if cues["decided"][2] else "neither"
        assert example.answers[name] == goes_by(network.cues, 2) == expected
        assert f"the {name} names" in example.says


def test_tables_pair_students_and_controls_by_seed():
    found = measured()
    student, control = (np.mean([n.test.scalars["accuracy"] for n in of]) for of in (found.student, found.control))
    table = gain_table(found)
    assert table.rows[0][1].estimate.value == pytest.approx(student - control)
    assert [row[0] for row in networks_table(found).rows] == [
        "student, seed 0",
        "student, seed 1",
        "teacher",
        "control, seed 0",
        "control, seed 1",
    ]
    over_seeds, *each = index_table(found).rows
    assert "2 seeds show too little noise" in over_seeds[-1].reason
    assert len(each) == 2
    assert index_table(measured(seeds=3)).rows[0][-1].value == pytest.approx(0.5, abs=0.1)


def test_plan_pairs_one_network_and_recipe_with_and_without_teacher(tmp_path):
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        study = plain(compose("analyze", ["study=demo"]).study)
        plan = plan_runs(study, tmp_path, tmp_path / "demo")
        student, control = (compose("train", [f"experiment={name}"]) for name in ("demo_kl", "demo_control"))
        teacher = compose("train", plan.teacher.overrides)
    assert plan.tree["loss"]["kl"]["temperature"] == 1.0
    assert len({run.folder for run in plan.all}) == len(plan.all) == 1 + 2 * len(study["seeds"])
    assert check(OmegaConf.create(plan.tree)) == []
    for key in ("data", "augment", "model", "optim", "epochs", "batch_size"):
        assert student[key] == control[key], key
    assert (teacher.data.shape_reliability, teacher.data.texture_reliability) == (1.0, 0.0)
    assert teacher.data.preset == student.data.preset == "demo"
    assert plan.teacher.epochs == teacher.epochs
    assert student.loss.alpha == student.loss.kl.temperature == 1.0
