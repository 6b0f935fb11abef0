"""A config becomes plain types where it comes in, and every task gets these."""

from importlib import import_module
from pathlib import Path

import pytest
from config_base import composed
from matplotlib.text import Text
from omegaconf import OmegaConf

from kdbias.analysis import tasks
from kdbias.analysis.labels import free
from kdbias.analysis.probe_configs import shipped, wanted
from kdbias.analysis.show_data import mixture, views_figure
from kdbias.data.augment import Augment
from kdbias.data.cues import cues
from kdbias.data.mix import Mix

FOLDER = Path(tasks.__file__).parent


def kinds(value) -> set[type]:
    """The types in a tree."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {type(value)}.union(*map(kinds, inside))


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_gets_the_resolved_config_as_plain_types(task, monkeypatch):
    given = []
    monkeypatch.setattr(import_module(f"kdbias.analysis.{task}"), task, given.append)
    chosen = ["data=cues", "teacher=resnet56", "trainer=cpu", "study=demo", "runs=[a,b]", "out=here"]
    cfg = composed([f"task={task}", *chosen], "analyze")
    tasks.run(cfg)
    assert given == [OmegaConf.to_container(cfg, resolve=True)]
    assert kinds(given[0]) == {dict, list, str, int, float, bool, type(None)}


def test_only_where_a_config_comes_in_is_it_known_to_be_one_of_hydra():
    entries = ["study_launch", "tasks"]  # a launcher calls the first in a job of its own
    assert [path.stem for path in sorted(FOLDER.glob("*.py")) if "DictConfig" in path.read_text()] == entries


def test_the_probes_of_a_task_are_the_chosen_ones_or_those_of_their_files():
    own = {"_target_": "kdbias.probes.attention.AttentionProbe", "collapse": 2.0}
    found = wanted({"probe": {"attention": own}}, ["attention", "cka"])
    assert found == {"attention": own, "cka": shipped()["cka"]}
    assert wanted({}, ["attention"]) == {"attention": shipped()["attention"]} != {"attention": own}
    assert set(free()) < set(shipped())
    assert kinds(shipped()) <= {dict, list, str, int, float, bool, type(None)}


def test_a_stress_set_shows_in_the_view_that_it_changes():
    source = cues(train=20, val=10, test=10)
    image, target = source.split("test")

    def words(augment):
        figure = views_figure(image[:3] / 255, target[:3], augment, source.info, 0)
        return [text.get_text() for text in figure.findobj(Text)]

    light = {"erasing": 0.0, "mix_probability": 0.0}
    assert not [word for word in words(Augment(**light)) if "teacher" in word and "sees" not in word]
    found = words(Augment(**light, teacher_stress="scramble", teacher_strength=0.5))
    assert len([word for word in found if word.endswith("\nteacher")]) == 3
    assert "one augmented image for both, teacher_stress=scramble at 0.5" in " ".join(" ".join(found).split())


def test_training_images_are_drawn_beside_both_views(tmp_path, capsys):
    chosen = ["data=cues", "data.train=60", "data.val=20", "data.test=20", "images=4"]
    tasks.run(composed(["task=show_data", *chosen, f"out={tmp_path}"], "analyze"))
    assert capsys.readouterr().out.strip().endswith("show_data.png")
    assert (tmp_path / "show_data.png").stat().st_size > 5_000
    assert (tmp_path / "show_data.svg").is_file()


def test_a_mixed_step_says_what_was_mixed():
    assert mixture(Mix(0.724, None)) == "MixUp: 72 % own,\n28 % left neighbour"
    assert mixture(Mix(0.75, (0, 0, 4, 4))) == "CutMix: 75 % own,\n25 % left neighbour"
