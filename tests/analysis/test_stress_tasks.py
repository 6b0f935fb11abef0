"""``task=build_stress`` and ``task=show_stress``, from the config to files."""

import pytest
from config_base import composed

from kdbias.analysis import tasks
from kdbias.config.errors import ConfigError

DATA = ["data=cues", "data.train=60", "data.val=20", "data.test=24"]


def run(task, tmp_path, *chosen):
    paths = [f"paths.runs={tmp_path}/runs", f"out={tmp_path}/out"]
    tasks.run(composed([f"task={task}", *DATA, *chosen, *paths], "analyze"))


def test_sets_are_built_and_read_by_the_same_name(tmp_path, capsys):
    chosen = ["stress=[scramble,grey]", "stress.scramble.grid=2", "strengths=[.5,1]", "images=20"]
    run("build_stress", tmp_path, *chosen)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("s  ")[1].split(" in ")[0] for line in lines[:-1]] == [
        f"{name}, strength {strength}: 20 images" for name in ("scramble", "grey") for strength in ("0.5", "1")
    ]
    assert lines[-1] == f"{tmp_path}/runs/stress"
    built = {path.name.split("-")[0] for path in (tmp_path / "runs/stress").iterdir()}
    assert built == {"scramble", "grey"}


def test_the_grid_has_a_row_for_each_set(tmp_path, capsys):
    run("show_stress", tmp_path, "stress=[noise,rotate]", "strengths=[.5,1]", "images=2")
    assert capsys.readouterr().out.strip().endswith("show_stress.png")
    drawn = (tmp_path / "out/show_stress.svg").read_text()
    assert drawn.count("<image") == 2 * 2 * 3


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ([], "stress: no set is named"),
        (["stress=[noise]", "+stress.noise.sigmas=2"], "did you mean sigma"),
        (["stress=[noise]", "stress.noise.sigma=-1"], "stress.noise.sigma: must be above 0"),
        (["stress=[scramble]", "stress.scramble.grid=5"], "do not divide"),
        (["stress=[noise]", "strengths=[2]"], "strengths"),
        (["stress=[noise]", "images=0"], "images"),
        (["+stress.noise.sigma=1"], "stress.noise: has settings but is not selected"),
    ],
)
def test_mistakes_are_named_before_anything_is_built(tmp_path, chosen, says):
    with pytest.raises(ConfigError, match=says):
        run("build_stress", tmp_path, *chosen)
    assert not (tmp_path / "runs/stress").exists()


def test_a_task_without_data_says_so(tmp_path):
    with pytest.raises(ConfigError, match="data=NAME"):
        tasks.run(composed(["task=build_stress", "stress=[noise]", f"paths.runs={tmp_path}"], "analyze"))


def test_data_that_is_missing_or_damaged_is_one_line(tmp_path):
    none = ["data=cifar10", f"data.root={tmp_path}/none", "data.download=false", f"paths.runs={tmp_path}/runs"]
    for task in ("build_stress", "show_stress", "show_data"):
        with pytest.raises(ConfigError, match="data: no data set at"):
            tasks.run(composed([f"task={task}", *none, "stress=[noise]"], "analyze"))
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / "own" / split / name).mkdir(parents=True)
            (tmp_path / "own" / split / name / "0.png").write_bytes(b"no image")
    broken = ["data=image_folder", f"data.root={tmp_path}/own", "data.val=1", "data.size=32", f"out={tmp_path}/out"]
    for task in ("build_stress", "show_stress", "show_data"):
        with pytest.raises(ConfigError, match=r"0\.png cannot be read as an image"):
            tasks.run(composed([f"task={task}", *broken, "stress=[noise]", f"paths.runs={tmp_path}/runs"], "analyze"))
