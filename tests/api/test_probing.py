"""``kdbias.probe`` and ``Results``, on the networks of the zoo, on networks in memory, on tensors."""

import copy
import csv

import numpy as np
import pytest
import timm
import torch

import kdbias
from kdbias.data.cues import cues


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def student():
    return kdbias.load_student("demo-student")


@pytest.fixture(scope="module")
def images():
    image, target = cues(train=100, val=20, test=60, preset="demo").split("test")
    return image.float() / 255, target


def test_a_network_of_the_zoo_brings_images_and_teacher(tmp_path):
    found = kdbias.probe("demo-student", probes=["accuracy", "agreement"], count=100)
    assert list(found) == ["accuracy", "agreement"]
    assert found["accuracy"].meta["n"] == 100
    assert found["agreement"].scalars["teacher_accuracy"] > found["accuracy"].scalars["accuracy"] > 0.3
    again = kdbias.probe("demo-student", probes="accuracy", count=100)
    assert again["accuracy"].scalars == found["accuracy"].scalars
    with pytest.raises(kdbias.ConfigError, match="agreement: demo-control is left out, it had no teacher"):
        kdbias.probe("demo-control", probes="agreement", count=100)


def test_images_by_name_or_with_settings():
    named = {"cues": {"train": 100, "val": 20, "test": 60, "preset": "demo"}}
    assert kdbias.probe("demo-teacher", named)["accuracy"].meta["n"] == 60
    with pytest.raises(kdbias.ConfigError, match=r"^data: there is no cue"):
        kdbias.probe("demo-teacher", "cue")


def test_tensors_give_what_the_same_images_give(student, images, tmp_path):
    image, target = images
    named = {"cues": {"train": 100, "val": 20, "test": 60, "preset": "demo"}}
    expected = kdbias.probe("demo-student", named, ["accuracy", "attention"], cache=False)
    for network in ("demo-student", student):
        for given in (image, (255 * image).round().to(torch.uint8), image.numpy()):
            found = kdbias.probe(network, (given, target), ["accuracy", "attention"])
            assert np.array_equal(found["accuracy"].arrays["answer"], expected["accuracy"].arrays["answer"])
            assert found["attention"].scalars == pytest.approx(expected["attention"].scalars, rel=1e-5)
    assert list(tmp_path.iterdir()) == []  # nothing tells such a network or image again


def test_floats_are_not_rounded_to_bytes(student):
    image = torch.full((2, 3, 32, 32), 0.5) + torch.tensor([0.0, 1e-4]).view(2, 1, 1, 1)
    found = kdbias.probe(student, (image, torch.tensor([0, 0])))
    assert len(set(found["accuracy"].arrays["confidence"].tolist())) == 2


def test_a_network_stays_as_it_was(images):
    network = kdbias.load_student("demo-student").train()
    before = copy.deepcopy(network.state_dict())
    kdbias.probe(network, images[0], "attention")
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_of_timm_is_read_with_its_own_statistics():
    network = timm.create_model("test_vit", pretrained=False, num_classes=4)
    found = kdbias.probe(network, (torch.rand(6, 3, 160, 160), torch.arange(6) % 4))
    assert found["accuracy"].meta["classes"] == 4


WRONG = {
    "no labels": (lambda s, x, y: kdbias.probe(s, x), "accuracy reads labels: give"),
    "normalised": (lambda s, x, y: kdbias.probe(s, (x - 0.5, y)), r"must be uint8, or floats in \[0, 1\]"),
    "not finite": (lambda s, x, y: kdbias.probe(s, (x * torch.nan, y)), r"must be uint8, or floats in \[0, 1\]"),
    "of another size": (lambda s, x, y: kdbias.probe(s, (x[..., :16], y)), "reads 32 px"),
    "no batch": (lambda s, x, y: kdbias.probe(s, (x[0], y)), r"must be \(N, 3, H, W\)"),
    "another label": (lambda s, x, y: kdbias.probe(s, (x, y + 5)), r"labels must lie in 0\.\.9"),
    "too few labels": (lambda s, x, y: kdbias.probe(s, (x, y[:3])), r"labels must be \(60,\)"),
    "none": (lambda s, x, y: kdbias.probe(s), "a network in memory has none of its own"),
    "nothing to learn from": (lambda s, x, y: kdbias.probe(s, (x, y), "knn"), "tensors are measured alone"),
    "other classes": (
        lambda s, x, y: kdbias.probe(timm.create_model("test_vit", num_classes=4), {"cues": {"train": 100, "val": 20}}),
        "^images: the network knows 4 classes, and the data has 10",
    ),
    "a typo": (lambda s, x, y: kdbias.probe(s, (x, y), "attn"), "probe: there is no attn"),
    "a setting": (lambda s, x, y: kdbias.probe(s, (x, y), {"cka": {"image": 2}}), "probe.cka.image"),
    "a module": (lambda s, x, y: kdbias.probe(torch.nn.Linear(2, 2), (x, y)), "network: Linear is no network of timm"),
    "no network": (lambda s, x, y: kdbias.probe(3, (x, y)), "network: is of the type int: give a run, a path, demo-"),
    "no path": (lambda s, x, y: kdbias.probe("nowhere"), "network: .*nowhere.* is not there"),
    "no path with images": (lambda s, x, y: kdbias.probe("nowhere", (x, y)), "network: there is no checkpoint"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_measured_is_one_line(name, student, images, tmp_path):
    call, message = WRONG[name]
    with pytest.raises(kdbias.ConfigError, match=message) as caught:
        call(student, *images)
    assert "\n" not in str(caught.value)


def test_results_are_a_table_a_file_and_figures(student, images, tmp_path):
    found = kdbias.probe(student, images, ["accuracy", "attention"])
    share = f"{found['accuracy'].scalars['accuracy']:.3f}"
    assert f"{share} [" in repr(found)
    assert "<table" in found._repr_html_()
    with found.to_csv(tmp_path / "found.csv").open() as file:
        rows = {(row["probe"], row["measure"]): row for row in csv.DictReader(file)}
    assert float(rows["accuracy", "accuracy"]["value"]) == found["accuracy"].scalars["accuracy"]
    assert float(rows["accuracy", "accuracy"]["value low"]) < float(rows["accuracy", "accuracy"]["value high"])
    other = kdbias.probe("demo-control", images, ["accuracy", "attention"])
    assert {"accuracy", "attention"} <= found.figures(control=other).keys()


def test_a_notebook_shows_figures_and_tables(tmp_path):
    images = {"cues": {"train": 20, "val": 10, "test": 60, "preset": "demo"}}
    figure = kdbias.stress_figure(images, ["smooth", "noise"], count=2, strengths=[1.0])
    small, large = kdbias.show(figure, dpi=50), kdbias.show(figure)
    assert small._repr_png_().startswith(b"\x89PNG")
    assert len(small._repr_png_()) < len(large._repr_png_())
    assert small.save(tmp_path / "stress.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(kdbias.ConfigError, match=r"^stress: there is no smoth"):
        kdbias.stress_figure(images, "smoth")
    found = kdbias.probe("demo-student", images, trainer="cpu")
    with pytest.raises(kdbias.ConfigError, match=r"^student: has no Result of the probe bias"):
        kdbias.transfer(found, found, found)
