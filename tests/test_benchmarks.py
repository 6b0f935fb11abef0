"""The two benchmarks that plan whole matrices: every row composes and passes the check, and the tables are right."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdbias import cli
from kdbias.batch import DataInfo
from kdbias.checks.check import check
from kdbias.config.spec import plain
from kdbias.stress import corruption_frost

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name):
    """Import a benchmark."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(FOLDER))  # as of the folder of a script that is run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


reproduce, tables = script("reproduce"), script("reproduce_table")
preference, drawing = script("preference"), script("preference_figure")
INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 500, (0.5,) * 3, (0.2,) * 3)
SMALL = ["model=vit", "model.layers=[1,3,5]", "data.limit=1000", "trainer=cpu"]


@pytest.fixture
def composing():
    cli.register()
    with initialize_config_dir(cli.conf_dir(), version_base="1.3"):
        yield


def problems(monkeypatch, module, run):
    """Give what the check says of a run as it is planned."""
    kept = []
    planned = module.planned
    monkeypatch.setattr(module, "planned", lambda *args: kept.append(planned(*args)) or kept[-1])
    made = run()
    monkeypatch.setattr(module, "planned", planned)
    return made, check(OmegaConf.create(kept[-1][1]))


@pytest.mark.parametrize("name", reproduce.Planner(Path(), None, SMALL).rows(list(reproduce.ROWS)))
def test_every_row_of_the_matrix_passes_the_check(name, composing, tmp_path, monkeypatch):
    plan = reproduce.Planner(tmp_path, None, SMALL)
    run, found = problems(monkeypatch, reproduce, lambda: plan.run(name, 3, 2))
    assert found == []
    assert run.epochs == 2
    assert "seed=3" in run.overrides


def test_one_small_student_has_no_control_with_a_dist_token():
    rows = list(reproduce.ROWS)
    assert reproduce.Planner(Path(), None, []).rows(rows) == rows
    assert set(rows) - set(reproduce.Planner(Path(), None, SMALL).rows(rows)) == {"control_dist"}


def test_a_row_stands_beside_the_control_of_its_own_architecture(tmp_path):
    assert reproduce.Planner(tmp_path, None, []).beside("exp1") == "control_dist"
    assert reproduce.Planner(tmp_path, None, []).beside("exp3_ssl") == "control"
    assert reproduce.Planner(tmp_path, None, SMALL).beside("exp1") == "control"


def test_weights_are_taken_from_the_folder_where_they_are(tmp_path):
    (tmp_path / "resnet56_cifar10.safetensors").touch()
    plan = reproduce.Planner(tmp_path, tmp_path, [])
    weights = reproduce.quoted(str(tmp_path / "resnet56_cifar10.safetensors"))
    assert plan._files(reproduce.ROWS["exp1"], "exp1") == [f"teacher.weights={weights}"]
    assert plan._files(reproduce.ROWS["exp2_efficientnet"], "exp2_efficientnet") == []
    graded = plan._files(reproduce.ROWS["accuracy_matched"], "accuracy_matched")
    assert "control.accuracy=0.9173" in graded
    assert "control.graded.resnet56.accuracy=0.9339" in graded
    assert not any("resnet20.weights" in one for one in graded)


def test_the_table_of_the_matrix_pairs_images_over_the_mean_of_seeds(tmp_path):
    rng = np.random.default_rng(0)
    control = rng.random((2, 4000)) < 0.5
    better = control | (rng.random((2, 4000)) < 0.2)
    rows = {
        "control": tables.Seen(control, [4.0, 4.1], 300.0, 60.0, "-"),
        "exp3_ssl": tables.Seen(better, [3.5, 3.6], 200.0, 90.0, "ssl_vit"),
        "exp1": tables.Seen(control, [], 200.0, 90.0, "resnet56"),
    }
    made = tables.table(rows, reproduce.Planner(tmp_path, None, SMALL).beside, 7, [0, 1])
    first, second, third = made.rows
    assert first[4] == "-"
    assert second[4].estimate.value == pytest.approx(better.mean() - control.mean())
    assert second[4].shown
    assert not third[4].shown
    assert second[5].estimate.value == pytest.approx(second[4].estimate.value)  # the same mean, over two seeds
    gaps = better.mean(1) - control.mean(1)
    assert second[5].estimate.high - second[5].estimate.low > 5 * abs(gaps[0] - gaps[1])  # t of one degree of freedom
    assert third[6] == "-"
    assert "2 seeds, 7 epochs" in made.markdown()
    assert "no difference shown" in made.markdown()


def test_exp1_is_compared_with_each_control_of_its_teacher():
    rng = np.random.default_rng(0)
    base = rng.random((2, 3000)) < 0.5
    rows = {
        "control": tables.Seen(base, [], 300.0, 60.0, "-"),
        "exp1": tables.Seen(base | (rng.random((2, 3000)) < 0.2), [], 300.0, 60.0, "resnet56"),
        "self": tables.Seen(base, [], 300.0, 60.0, "self"),
    }
    made = tables.isolated(rows, reproduce.CONTROLS)
    assert [line[0] for line in made.rows] == ["self"]
    _, by_seed, images, p, seeds = made.rows[0]
    assert images.shown
    assert 0 < p < 0.01
    ahead = rows["exp1"].right.mean(1) - base.mean(1)
    assert by_seed == f"{100 * ahead[0]:+.2f}, {100 * ahead[1]:+.2f}"
    assert seeds.estimate.value == pytest.approx(ahead.mean())
    assert seeds.estimate.high - seeds.estimate.low > 5 * abs(ahead[0] - ahead[1])  # t of one degree of freedom
    assert tables.isolated({"exp1": rows["exp1"], "control": rows["control"]}, reproduce.CONTROLS) is None


def test_differences_of_opposite_sign_in_two_seeds_are_no_equality():
    """The mean over seeds is 0 over images to half a point, and says nothing of the recipe."""
    right = np.arange(3000)
    rows = {
        "exp1": tables.Seen(np.stack([right < 1500, right < 1300]), [], 300.0, 60.0, "resnet56"),
        "label_smoothing": tables.Seen(np.stack([right < 1460, right < 1340]), [], 300.0, 60.0, "resnet56"),
    }
    _, by_seed, images, _, seeds = tables.isolated(rows, reproduce.CONTROLS).rows[0]
    assert by_seed == "+1.33, -1.33"
    assert not images.shown
    assert not seeds.shown
    assert seeds.estimate.high - seeds.estimate.low > 0.1


def test_wrong_rows_are_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--out", str(tmp_path), "--rows", "control,exp9"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "no row exp9; there are control, control_dist, exp1" in capsys.readouterr().err


def test_the_hours_decide_the_epochs_once(tmp_path, monkeypatch, composing):
    plan = reproduce.Planner(tmp_path, None, SMALL)
    result = {"spec": {"data": {"train": 1000}}, "images_per_second": 10.0}  # 100 s an epoch
    monkeypatch.setattr(reproduce, "train", lambda wanted, lanes: None)
    monkeypatch.setattr(reproduce.run_folder, "result", lambda folder, key: result)
    args = reproduce.argparse.Namespace(rows=["control"], seeds=[0, 1], hours=1.0, trial=3, table_only=False)
    assert reproduce.epochs_allowed(plan, args, 2) == 36  # 3,600 s on two lanes for two seeds
    kept = json.loads((tmp_path / "epochs.json").read_text())
    assert kept == {"epochs": 36, "seconds_per_epoch": {"control": 100.0}}
    args.hours = 5.0
    assert reproduce.epochs_allowed(plan, args, 2) == 36
    (tmp_path / "epochs.json").unlink()
    args.hours = 0.01
    with pytest.raises(SystemExit, match="less than one epoch"):
        reproduce.epochs_allowed(plan, args, 2)


def test_a_table_without_training_needs_to_know_the_epochs(tmp_path, monkeypatch, composing):
    monkeypatch.setattr(reproduce, "train", lambda *_: pytest.fail("it trains"))
    args = reproduce.argparse.Namespace(rows=["control"], seeds=[0], hours=1.0, trial=3, table_only=True)
    with pytest.raises(SystemExit, match=r"epochs.json is not there.*give --epochs"):
        reproduce.epochs_allowed(reproduce.Planner(tmp_path, None, SMALL), args, 2)


def test_the_trial_does_not_train_a_teacher_to_its_end(tmp_path, monkeypatch, composing):
    tried = []
    monkeypatch.setattr(reproduce, "train", lambda wanted, lanes: tried.extend(wanted))
    result = {"spec": {"data": {"train": 1000}}, "images_per_second": 10.0}
    monkeypatch.setattr(reproduce.run_folder, "result", lambda folder, key: result)
    args = reproduce.argparse.Namespace(rows=["exp3_ssl"], seeds=[0], hours=1.0, trial=3, table_only=False)
    reproduce.epochs_allowed(reproduce.Planner(tmp_path, None, SMALL), args, 1)
    assert compose("train", list(tried[0].overrides)).teacher.epochs == 1


@pytest.mark.parametrize(
    ("gpu", "common", "expected"),
    [(True, [], 1), (True, ["trainer=cpu"], 7), (False, [], 7)],
)
def test_one_run_at_a_time_on_a_gpu_unless_told(monkeypatch, gpu, common, expected):
    monkeypatch.setattr(reproduce.torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(reproduce.parallel, "lanes", lambda wanted: wanted or 7)
    assert reproduce.lanes_of(None, common) == expected
    assert reproduce.lanes_of(3, common) == 3


PAIRS = [("vit", method) for method in preference.METHODS if preference.ONLY.get(method, "vit") == "vit"]
PAIRS += [("cnn", method) for method in ("kl_alone", "exp3", "self", "crd", "sskd", "capd")]


@pytest.mark.parametrize(("student", "method"), PAIRS)
def test_every_method_of_the_preference_table_passes_the_check(student, method, composing, tmp_path, monkeypatch):
    plan = preference.Planner(tmp_path, preference.Setting(600, {"cnn": 2, "vit": 2}, 600, 2))
    teacher = plan.teacher(1.0, 0.0, "teacher", "vit" if method == "capd" else "cnn")
    control = plan.control(student, 5)
    for run in (teacher, control):
        (run.folder / "checkpoints").mkdir(parents=True)
        spec = {"model": plain(compose("train", list(run.overrides)).model), "data": INFO.to_dict()}
        content = {"label": run.label, "hyper_parameters": {"spec": spec}}
        torch.save(content, run.folder / "checkpoints" / "best.ckpt")
    run, found = problems(monkeypatch, preference, lambda: plan.student(student, method, 5, teacher, control))
    assert found == []
    assert run.folder.parent == tmp_path / "runs"


def test_a_run_is_probed_again_on_another_number_of_images(tmp_path, monkeypatch):
    probed = []

    class Probe:
        def __init__(self, source, images):
            self.images = images

        def __call__(self, network):
            probed.append(self.images)
            decided = {"decided": np.arange(self.images) % 5 == 0}
            return preference.Result("cues", {"shape_share": 0.5, "decided": 0.2}, decided, {"n": self.images})

    right = np.arange(100) < 70
    preference.Result("test", {"accuracy": 0.7}, {"right": right}, {"n": 100}).save(tmp_path / "probes")
    result = {"seconds": 1.0}
    monkeypatch.setattr(preference, "CueProbe", Probe)
    monkeypatch.setattr(preference, "load_student", lambda path: None)
    monkeypatch.setattr(preference.run_folder, "result", lambda folder, key: result)
    run = preference.Run("kl-0", (), tmp_path, "key", 1)
    found = [preference.measured(run, n) for n in (100, 100, 200, 200)]
    assert [one["accuracy"] for one in found] == [0.7] * 4
    assert all(one["chance_p"] < 0.01 < one["decided_p"] for one in found)
    assert probed == [100, 200]


def test_two_kinds_of_rows_are_compared_by_their_means_and_pair_by_pair():
    """The means of the kinds differ by .5 in each seed, within .02; one pair differs by nothing that is shown."""
    shares = {
        "kl": preference.Shares([0.90, 0.91, 0.92, 0.90], [0.95, 0.96, 0.97, 0.95]),
        "dist": preference.Shares([0.80, 0.80, 0.81, 0.82], [0.85, 0.85, 0.86, 0.87]),
        "cka": preference.Shares([0.40, 0.40, 0.42, 0.41], [0.4, 0.4, 0.41, 0.42]),
        "gram": preference.Shares([0.30, 0.90, 0.20, 0.95], [0.3, 0.9, 0.2, 0.95]),
    }
    kinds = dict([preference.parse_kinds("logits=kl,dist"), preference.parse_kinds("geometry=cka,gram")])
    made = preference.kinds_table("cnn", shares, kinds)
    assert [row[0] for row in made.rows] == [
        "logits − geometry, means", "kl − cka", "kl − gram", "dist − cka", "dist − gram",
    ]  # fmt: skip
    first = [np.mean([shares[row].plain[seed] for row in ("kl", "dist")]) for seed in range(4)]
    second = [np.mean([shares[row].plain[seed] for row in ("cka", "gram")]) for seed in range(4)]
    assert made.rows[0][1].estimate.value == pytest.approx(np.mean(first) - np.mean(second))
    assert made.rows[1][1].estimate.value == pytest.approx(0.5, abs=0.01)
    text = made.markdown()
    assert "| kl − cka | +0.500" in text
    assert "| kl − gram | no diff" in text
    assert "Holm" in text
    with pytest.raises(ValueError, match="no such row here: token"):
        preference.kinds_table("cnn", shares, {"logits": ["kl"], "geometry": ["token"]})
    with pytest.raises(ValueError, match="two kinds"):
        preference.kinds_table("cnn", shares, {"logits": ["kl"]})
    guessing = dict(shares, gram=preference.Shares(shares["gram"].plain, None))
    rows = {row[0]: row for row in preference.kinds_table("cnn", guessing, kinds).rows}
    assert [rows[name][2].refused for name in ("kl − gram", "logits − geometry, means")] == [True, True]
    assert rows["kl − gram"][1].estimate == made.rows[2][1].estimate
    assert rows["kl − cka"][2].estimate == made.rows[1][2].estimate
    one = {name: preference.Shares(each.plain[:1], each.certain[:1]) for name, each in shares.items()}
    assert all(row[1:] == ["-", "-"] for row in preference.kinds_table("cnn", one, kinds).rows)
    with pytest.raises(preference.argparse.ArgumentTypeError, match="NAME=ROW"):
        preference.parse_kinds("kl,dist")


def test_a_row_that_guesses_has_no_share_without_guesses():
    run = {"shape_share": 0.5, "decided": 0.19, "decided_p": 0.4}
    assert preference.shares([run]) == preference.Shares([0.5], None)
    assert preference.shares([run | {"decided": 0.9, "decided_p": 0.0}]).certain == [pytest.approx(0.5)]


def test_kinds_are_checked_before_anything_is_trained(tmp_path, monkeypatch):
    words = ["--out", str(tmp_path / "x"), "--methods", "kl", "--kinds", "logits=kl", "geometry=cka"]
    monkeypatch.setattr(sys, "argv", ["preference.py", *words])
    with pytest.raises(ValueError, match="no such row here: cka"):
        preference.main()
    assert not (tmp_path / "x").exists()


def test_the_preference_table_has_the_index_over_seeds():
    def one(share, accuracy, decided=0.9, chance_p=0.0, decided_p=0.0):
        run = {"shape_share": share, "accuracy": accuracy, "decided": decided}
        return run | {"chance_p": chance_p, "decided_p": decided_p}

    scores = {"control": [one(0.2, 0.7), one(0.22, 0.71), one(0.21, 0.72)]}
    scores["kl"] = [one(0.6, 0.65, 0.5), one(0.62, 0.66, 0.5), one(0.61, 0.67, 0.5)]
    scores["random"] = [one(0.5, 0.1, chance_p=0.4), one(0.5, 0.12), one(0.5, 0.11)]
    scores["dkd"] = [one(0.5, 0.2, 0.21, decided_p=0.1), one(0.5, 0.2, 0.3), one(0.52, 0.2, 0.3)]
    made = preference.table("cnn", scores, one(1.0, 0.9))
    control, student, guessing, unsure, teacher = made.rows
    assert [cell.refused for cell in guessing[-2:]] == [True, True]
    assert "its decisions are guesses" in guessing[-1].reason
    assert [cell.refused for cell in unsure[-2:]] == [False, True]
    assert (control[-2:], teacher[-2:]) == (["0", "0"], ["1", "1"])
    assert student[-2].value == pytest.approx(0.4 / 0.79)
    # of ten classes: (8 decided share - (1 - decided)) / (10 decided - 2)
    shares = [(8 * 0.5 * 0.61 - 0.5) / 3, (8 * 0.9 * 0.21 - 0.1) / 7, (8 * 0.9 - 0.1) / 7]
    assert student[-1].value == pytest.approx((shares[0] - shares[1]) / (shares[2] - shares[1]))
    assert student[2].estimate.value == pytest.approx(-0.05)
    scores["control"][1]["chance_p"] = 0.012
    with_another = preference.table("cnn", scores | {"kl": scores["kl"]}, one(1.0, 0.9), {"kl": one(0.8, 0.9)})
    assert with_another.rows[1][-2].refused  # the control is at chance now
    assert with_another.rows[-1][0] == "the teacher of kl"
    beside_a_guesser = preference.table("cnn", scores, one(1.0, 0.9)).rows[1]
    assert "of the students without teacher is not above chance" in beside_a_guesser[-2].reason


def test_the_figure_reads_what_the_table_writes_and_sorts_losses_by_index(tmp_path):
    def one(share, decided=0.9, chance_p=0.0):
        run = {"shape_share": share, "accuracy": 0.7, "decided": decided}
        return run | {"chance_p": chance_p, "decided_p": 0.0}

    scores = {"control": [one(0.2), one(0.25), one(0.21)], "gram": [one(0.2), one(0.24), one(0.22)]}
    scores |= {"kl": [one(0.6), one(0.5), one(0.55)], "shuffled": [one(0.3), one(0.3), one(0.31)]}
    scores |= {"random": [one(0.5, chance_p=0.3), one(0.5), one(0.5)]}
    made = preference.table("cnn", scores, one(1.0))
    (tmp_path / "cnn.csv").write_text(made.csv())
    found = drawing.read(tmp_path / "cnn.csv")
    assert drawing.ordered({"CNN": found}) == (
        ["no teacher", "kl", "gram", "shuffled", "random", "the teacher"],
        [1, 3, 5],
    )
    assert found["kl"] == [made.rows[2][-2], made.rows[2][-1], made.rows[2][1]]
    assert found["the teacher"][0].value == 1
    assert "guesses" in found["random"][0].reason


def test_both_ways_of_crd_give_one_loss_and_one_gradient(monkeypatch, capsys):
    small = ["--batch", "4", "--bank", "60", "--dim", "8", "--negatives", "30", "--rounds", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["crd.py", *small])
    script("crd").main()
    result = json.loads(capsys.readouterr().out)
    assert result["loss_difference"] < 1e-6
    assert result["gradient_difference"] < 1e-5
    assert result["gathered_over_dense"] > 0
    assert set(result["seconds"]) == {"dense", "gathered"}


def test_the_page_of_mistakes_is_read_as_it_is_written():
    made = script("mistakes")
    commands = made.known(made.PAGE.read_text(encoding="utf-8"))
    assert len(commands) == len(set(commands)) > 100
    assert all(command.split(".py")[0].split()[-1] in ("train", "analyze") for command in commands)
    answers = [made.Answer(command, "a < b | c" * 90, 0.5, 1, []) for command in [*commands, "train.py 'loss=[a|b]'"]]
    text = made.page(answers, made.date(2026, 11, 29))
    assert made.known(text) == [answer.command for answer in answers]
    assert "2026-11-29: " in text
    assert max(map(len, text.splitlines())) < 1000


def test_what_cannot_be_built_here_is_named_before_the_sets_are_timed(shared_data, monkeypatch, capsys):
    timing = script("stress")
    monkeypatch.setattr(corruption_frost, "find_spec", lambda name: None)
    monkeypatch.setattr(timing, "timed", lambda stress, source, images, workers: {"seconds": 1.0, "cpu": 1.0})
    monkeypatch.setattr(sys, "argv", ["stress.py", "--root", str(shared_data), "--images", "8", "--sets", "corruption"])
    timing.main()
    found = json.loads(capsys.readouterr().out)
    assert list(found["refused"]) == ["frost"]
    assert "pip install" in found["refused"]["frost"]
    assert len(found["sets"]) == 14


def test_the_table_of_learning_has_each_method_beside_its_own_control():
    made = script("learning")

    def runs(*accuracies):
        return [{"test": {"accuracy": one}, "metrics": {"val/accuracy": 0.1}, "seconds": 10.0} for one in accuracies]

    scores = {"independent": runs(0.5, 0.52), "lm": runs(0.4, 0.52), "independent_dist": runs(0.2, 0.3)}
    found = made.table("cnn_to_vit", scores | {"cskd": runs(0.3, 0.3)}, "note")
    by_name = {row[0]: row for row in found.rows}
    assert by_name["lm"][1] == "40.0, 52.0"
    assert by_name["lm"][4] == pytest.approx(0.8)  # the worse of two seeds
    assert by_name["cskd"][4] == pytest.approx(1.0)  # beside the control with a DIST token
    assert by_name["independent_dist"][3] == by_name["independent"][3] == "-"
    assert found.markdown()
