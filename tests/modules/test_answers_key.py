"""What decides the answers of a teacher that ``teacher.cache`` keeps: files of folders, code and releases."""

import os
from typing import Any

import pytest
import torch
from config_base import composed
from PIL import Image

from kdbias.config.build import build
from kdbias.config.spec import plain
from kdbias.data.base import ImageData
from kdbias.data.image_folder import image_folder
from kdbias.models.kept_record import record_of
from kdbias.models.teacher import Teacher
from kdbias.modules import keep_answers as module_of
from kdbias.stress.describe import made_by
from kdbias.train import build_data

WORDS = ["experiment=exp1_resnet_kl", "data=cues", "data.train=20", "data.val=5", "data.test=5", "augment=light"]
ROTATE = {"_target_": "kdbias.stress.rotate.Rotate"}


def described(data: ImageData, tree: dict[str, Any], teacher: Teacher | None = None) -> dict[str, Any]:
    torch.manual_seed(0)
    teacher = teacher or Teacher(build(tree["teacher"]["model"], data.info, group="model"), "taught")
    record = record_of(teacher(torch.zeros(2, 3, data.info.size, data.info.size)), (0,), "exact")
    return module_of.description(teacher, record, tree, data, "32-true", torch.device("cpu"), 1)


def stressed(**augment: Any) -> dict[str, Any]:
    tree = plain(composed([*WORDS, *(f"augment.{key}={value}" for key, value in augment.items())]))
    return described(build_data(tree), tree)


def test_an_image_of_a_folder_that_is_written_over_has_answers_of_its_own(tmp_path, monkeypatch):
    """Also one whose pixels are not sampled."""
    monkeypatch.setattr(module_of, "SAMPLE", 1)
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), "black").save(tmp_path / place / f"{number}.png")
    tree = plain(composed(WORDS))
    data = build_data(tree)

    def now() -> dict[str, Any]:
        data.source = image_folder(root=str(tmp_path), size=32, val=2)
        return described(data, tree)

    before = now()
    assert now() == before
    images, _ = data.source.images("train")
    Image.new("RGB", (32, 32), "white").save(images.root / os.fsdecode(images.files[3]))
    after = now()
    assert after["images"] == before["images"]
    assert after != before


@pytest.mark.parametrize("name", ["rotate", "smooth_grey"])
def test_the_code_and_the_releases_of_a_named_stress_set_decide_the_answers(name, monkeypatch):
    behind: list[set[str]] = []
    monkeypatch.setattr(module_of, "code_digest", lambda builders: behind.append(set(builders)) or "code")
    about = stressed(teacher_stress=name)
    node = about["augment"]["teacher_stress"]
    sets = {node["_target_"], *(part["_target_"] for part in node.get("parts", []))}
    assert {builder for builder in behind[0] if ".stress." in builder} == {"kdbias.stress.view.view", *sets}
    assert about["stress"] == made_by(node)
    assert "numpy" in about["stress"]


def test_other_code_of_a_stress_set_has_answers_of_its_own(monkeypatch):
    before = stressed(teacher_stress="rotate")
    monkeypatch.setattr(module_of, "made_by", lambda node: made_by(ROTATE) | {"numpy": "0"})
    assert stressed(teacher_stress="rotate") != before


def test_the_students_stress_set_does_not_decide_the_answers():
    assert stressed(student_stress="rotate") == stressed()


def test_another_release_of_timm_has_answers_of_its_own(monkeypatch):
    before = stressed()
    monkeypatch.setattr(module_of.timm, "__version__", "0")
    assert stressed() != before
