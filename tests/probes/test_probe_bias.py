"""``probe=bias`` on images and a network whose answers are known, so that every number is known too."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from kdbias.batch import DataInfo
from kdbias.data.augment import Augment, to_float
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.teacher import Teacher
from kdbias.probes.bias import BiasProbe
from kdbias.probes.bias_answers import OWN, Answers, Columns
from kdbias.probes.bias_rows import TEACHER, Shown, row
from kdbias.probes.bias_sets import chosen, wanted
from kdbias.probes.bias_shown import CONSTRUCTED, DrawnCues
from kdbias.stress.own_images import OwnImages
from kdbias.stress.split import StressedSplit

N = 60
INFO = DataInfo(3, 32, 10, tuple("abcdefghij"), 100, (0.5,) * 3, (0.5,) * 3)


class Plain:
    """Images of one colour: the red of an image is 25 levels times its class."""

    info = INFO

    def __init__(self, first: int = 0) -> None:
        self.target = (torch.arange(N) + first) % 10

    def prepare(self) -> None:
        pass

    def split(self, name):
        image = torch.zeros(N, 3, 32, 32, dtype=torch.uint8)
        image[:, 0] = (25 * self.target)[:, None, None].to(torch.uint8)
        return image, self.target


@pytest.fixture
def red_reader(tiny_cnn, monkeypatch):
    """A network that answers with the class that the red of an image stands for, and ranks classes by nearness."""
    forward = type(tiny_cnn).forward

    def answer(self, image):
        features = forward(self, image)
        red = image[:, 0].mean((1, 2)) * 255 / 25
        object.__setattr__(features, "logits", -(red[:, None] - torch.arange(10)).abs())
        return features

    monkeypatch.setattr(type(tiny_cnn), "forward", answer)
    return tiny_cnn


def measured(network, tmp_path, source=None, shown=None, **settings):
    split = StressedSplit(source or Plain(), "test", N, tmp_path)
    data = ImageData(shown or source or Plain(), Augment(), batch_size=10, eval_batch_size=25)
    return BiasProbe(split, **settings)(network, data.batches("test"))


def test_what_a_set_leaves_and_takes_is_known(red_reader, tmp_path):
    found = measured(red_reader, tmp_path, stress=["rotate", "scramble", "grey"], strengths=[0.5, 1.0])
    assert found.scalars["accuracy"] == 1
    for name in ("rotate", "scramble"):  # images of one colour do not change
        assert found.scalars[f"retention_{name}"] == found.scalars[f"ratio_{name}"] == 1
        assert found.scalars[f"reliance_area_{name}"] == 0
    # grey: red becomes .299 of itself, halfway .65, so class c is taken for round(.299 c) or round(.65 c)
    classes = np.arange(N) % 10
    right = {share: np.round(share * 25 * classes) / 25 for share in (1 - 0.701 / 2, 0.299)}
    half, full = (float((np.abs(red - classes) < 0.5).mean()) for red in right.values())
    assert found.scalars["accuracy_grey"] == pytest.approx(full)
    assert found.scalars["ratio_grey"] == pytest.approx(full)
    retained = [(one - 0.1) / 0.9 for one in (half, full)]
    assert found.scalars["retention_grey"] == pytest.approx(retained[1])
    lost = [1 - one for one in retained]
    assert found.scalars["reliance_area_grey"] == pytest.approx(0.5 * (lost[0] / 2 + (lost[0] + lost[1]) / 2))
    strengths = [one["strength"] for one in found.meta["versions"] if one["set"] == "grey"]
    assert strengths == [0.5, 1.0]
    assert all(one["n"] == N for one in found.meta["versions"])
    assert found.meta["seed"] == 0


def test_agreement_with_a_teacher_that_is_the_network(red_reader, tmp_path):
    found = measured(red_reader, tmp_path, stress=["grey"], strengths=[1.0], teacher=Teacher(red_reader, "itself"))
    assert found.scalars["agreement_grey"] == 1
    assert found.scalars["kappa_grey"] == 1
    same = measured(red_reader, tmp_path, stress=["rotate"], strengths=[1.0], teacher=Teacher(red_reader, "itself"))
    assert math.isnan(same.scalars["kappa_rotate"])
    assert "right on all 60 images" in same.meta["reasons"]["kappa_rotate"]
    assert "agreement_grey" not in measured(red_reader, tmp_path, stress=["grey"]).scalars


def test_a_network_at_chance_has_a_reason_for_every_nan(tiny_cnn, tmp_path):
    found = measured(tiny_cnn, tmp_path, stress=["noise", "shape", "conflict", "fog"], teacher=Teacher(tiny_cnn, "t"))
    none = {key for key, value in found.scalars.items() if math.isnan(value)}
    assert {"retention_noise", "ratio_noise", "reliance_area_noise"} <= none <= found.meta["reasons"].keys()
    assert "not above chance" in found.meta["reasons"]["retention_noise"]
    assert "reference network" in found.meta["reasons"]["mce"]
    assert "mce" not in found.scalars
    assert found.scalars["error_fog"] == found.scalars["mean_error"]
    assert "leaves the texture alone" in found.meta["reasons"]["sensitivity_texture"]


def test_images_of_another_split_are_refused(red_reader, tmp_path):
    with pytest.raises(ValueError, match="are not those of the split"):
        measured(red_reader, tmp_path, shown=Plain(first=1), stress=["noise"])


def test_a_set_that_the_images_refuse_is_left_out_with_the_reason(red_reader, tmp_path):
    found = measured(red_reader, tmp_path, stress=["rotate", "folder", {"odd": {"_target_": ROTATE, "grid": 5}}])
    assert found.meta["left_out"].keys() == {"folder", "odd"}
    assert "do not divide" in found.meta["left_out"]["odd"]
    with pytest.raises(ValueError, match=r"no set to measure on: folder: stress\.folder\.root is not set"):
        measured(red_reader, tmp_path, stress=["folder"])


ROTATE = "kdbias.stress.rotate.Rotate"
FOLDER = "kdbias.stress.folder.Folder"


def test_a_result_is_decided_by_the_files_of_a_folder_and_by_what_makes_a_set(tmp_path, monkeypatch):
    def decided():
        node = {"_target_": "kdbias.probes.bias.BiasProbe"}
        drawn = {"drawn": {"_target_": FOLDER, "root": str(tmp_path / "drawn")}}
        return BiasProbe.decided_by(node | {"stress": ["noise", "superpixel", drawn]})["stress"]

    def drawn():
        return decided()["drawn"]

    found = [drawn()]  # the folder is not there yet
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "drawn" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "drawn" / name)
        found.append(drawn())
    Image.new("RGB", (32, 32), (9, 9, 9)).resize((40, 40)).save(tmp_path / "drawn" / "b" / "1.png")
    found.append(drawn())
    (tmp_path / "drawn" / "b").rename(tmp_path / "drawn" / "c")
    found.append(drawn())
    assert len({json.dumps(one) for one in found}) == len(found)
    assert drawn() == drawn()
    before = decided()
    monkeypatch.setattr("kdbias.stress.describe._release", lambda name: f"{name} of tomorrow")
    after = decided()
    assert before["superpixel"] != after["superpixel"]
    assert after["superpixel"][2]["scikit-image"] == "scikit-image of tomorrow"


def test_a_set_with_images_of_its_own_needs_no_fingerprint(monkeypatch):
    class Drawn:
        def images(self, info, strength):
            raise NotImplementedError

    monkeypatch.setattr("kdbias.probes.bias_sets.build", lambda node, group: Drawn())
    assert isinstance(Drawn(), OwnImages)
    node = {"_target_": "kdbias.probes.bias.BiasProbe", "stress": ["noise"]}
    assert BiasProbe.decided_by(node)["stress"]["noise"][2] == {}


def test_a_set_that_cannot_be_built_here_decides_the_result_too(monkeypatch):
    def lacks(node, group):
        raise ImportError("pip install it")

    node = {"_target_": "kdbias.probes.bias.BiasProbe", "stress": ["noise"]}
    there = BiasProbe.decided_by(node)
    monkeypatch.setattr("kdbias.probes.bias_sets.build", lacks)
    lacking = BiasProbe.decided_by(node)
    assert lacking["stress"]["noise"][2] == {"lacks": "pip install it"}
    assert lacking != there


def test_a_set_that_should_have_been_there_is_named_as_failed(red_reader, tmp_path):
    given = ["rotate", {"drawn": {"_target_": FOLDER, "root": str(tmp_path / "none")}}]
    found = measured(red_reader, tmp_path, stress=given)
    assert found.meta["failed"] == ["drawn"] == list(found.meta["left_out"])
    assert measured(red_reader, tmp_path, stress=["rotate"]).meta["failed"] == []


@pytest.mark.parametrize("size", [30, 250, 300, 600, 1000])
def test_cues_are_drawn_by_batches_as_at_once(size):
    source = cues(train=20, val=10, test=10)
    drawn = DrawnCues(source, 620)
    batches = list(drawn.batches(size, torch.device("cpu")))
    assert max(len(batch.target) for batch in batches) <= size
    whole = source.variant("test", 620)
    assert torch.equal(torch.cat([batch.image for batch in batches]), to_float(whole.image))
    assert torch.equal(torch.cat([batch.target for batch in batches]), whole.target)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(620))
    for shown in drawn.shown:
        changed = source.variant(CONSTRUCTED[shown.name][0], 620)
        assert torch.equal(torch.cat([shown.version(batch) for batch in batches]), to_float(changed.image))
        if shown.name == "conflict":
            assert torch.equal(shown.notes["texture"], changed.texture)


def test_columns_are_kept_in_their_order():
    kept, parts = Columns(2, torch.int64), [torch.randint(9, (2, k)) for k in (0, 1, 700, 500, 5000)]
    assert kept.array().shape == (2, 0)
    for part in parts:
        kept.add(part)
    assert np.array_equal(kept.array(), torch.cat(parts, 1).numpy())


def test_sets_by_name_and_by_strength():
    found, _ = chosen(["grey", {"noise": [1, 0.5]}, {"rotate": {"grid": 8, "strengths": [1]}}], (0.25, 1.0), 32, 3)
    assert [(one.name, one.strengths) for one in found] == [
        ("grey", (0.25, 1.0)),
        ("noise", (0.5, 1.0)),
        ("rotate", (1.0,)),
    ]
    assert found[2].stress.grid == 8
    (fog,), _ = chosen(["fog"], (1.0,), 32, 3)
    assert fog.strengths == (0.2, 0.4, 0.6, 0.8, 1.0)
    assert len(wanted(["corruption"])) == 15


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stress": ["gray"]}, "no set 'gray': did you mean grey"),
        ({"stress": ["grey", "grey"]}, "grey is named twice"),
        ({"stress": "grey"}, "a list"),
        ({"strengths": [0.0, 1.0]}, "above 0"),
        ({"stress": [{"grey": [2]}]}, "above 0, up to 1"),
        ({"reference": "nowhere"}, "probe.bias.reference: there is no checkpoint"),
    ],
)
def test_mistakes_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        BiasProbe(StressedSplit(Plain(), "test"), **settings)


def test_agreement_is_of_answers_and_kappa_of_being_right():
    own, theirs, target = np.array([[0, 1, 2, 3]]), np.array([[0, 2, 2, 0]]), np.array([0, 0, 2, 3])
    answers = Answers({OWN: own, TEACHER: theirs}, {}, target, np.arange(4))
    found = row(Shown("x", 1.0, lambda batch: batch.image), 0, answers, np.ones(4, bool), 10, "").scores
    assert found["agreement"].value == 0.5
    assert found["kappa"].value == pytest.approx((0.75 - 0.5) / 0.5)
