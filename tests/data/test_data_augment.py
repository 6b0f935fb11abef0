from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torchvision.transforms.v2 import functional as reference

from kdbias.config.build import build
from kdbias.data.augment import Augment, to_float
from kdbias.data.autoaugment import perform
from kdbias.data.geometry import crop_flip
from kdbias.data.policies import policy_of

MOVES = ("Shear", "Translate", "Rotate")
FILL = torch.tensor([125, 123, 114], dtype=torch.uint8)
ALL = Augment(rotate=10, translate=0.1, policy="cifar10", cutout=8, erasing=0.5, mix_probability=1.0)
ARRAYS = {"motion", "corner", "flip", "actions", "cutout", "erasing"}


@pytest.fixture
def images():
    return torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(augment, step=0):
    return augment.draw(9, 32, seed=3, epoch=1, step=step)


def test_conversion_is_torchvisions(images):
    assert torch.equal(to_float(images), reference.to_dtype(images, torch.float32, scale=True))
    assert to_float(images.new_full((1,), 255)) == 1


def test_all_off_is_the_plain_image(images):
    off = Augment(crop=0, flip=False, erasing=0, mixup=0, cutmix=0)
    student, teacher = off.views(images, drawn(off), FILL)
    assert torch.equal(student, to_float(images))
    assert teacher is student


def test_draws_are_a_function_of_seed_epoch_and_step():
    first, again, other = drawn(ALL), drawn(ALL), drawn(ALL, step=1)
    for key in ARRAYS:
        assert np.array_equal(getattr(first, key), getattr(again, key))
        assert not np.array_equal(getattr(first, key), getattr(other, key))
    assert first.mix == again.mix != other.mix


@pytest.mark.parametrize("off", ["crop", "flip", "rotate", "policy", "cutout", "erasing", "mixup"])
def test_switching_a_stage_off_leaves_other_draws_alone(off):
    nothing = {"policy": "none", "flip": False}.get(off, 0)
    first, other = drawn(ALL), drawn(replace(ALL, **{off: nothing}))
    touched = {"crop": "corner", "rotate": "motion", "policy": "actions", "mixup": "mix"}.get(off, off)
    for key in ARRAYS - {touched}:
        assert np.array_equal(getattr(first, key), getattr(other, key))


def test_crop_and_flip_draws_are_uniform():
    draws = Augment().draw(20_000, 32, seed=0, epoch=0, step=0)
    assert np.bincount(draws.corner.ravel(), minlength=9) / 40_000 == pytest.approx(np.full(9, 1 / 9), abs=0.01)
    assert draws.flip.mean() == pytest.approx(0.5, abs=0.015)


def test_the_stages_in_order_give_images_in_range(images):
    student, teacher = ALL.views(images, drawn(ALL), FILL)
    assert student.shape == (8, 3, 32, 32)
    assert student.dtype == torch.float32
    assert 0 <= student.min() < student.max() <= 1
    assert teacher is student


def test_photometric_view_differs_only_where_something_was_painted(images):
    augment = replace(ALL, policy="none", view="photometric", mixup=0, cutmix=0)
    draws = drawn(augment)
    student, teacher = augment.views(images, draws, FILL)
    bare = replace(augment, cutout=0, erasing=0)
    assert torch.equal(teacher, bare.views(images, drawn(bare), FILL)[0])
    changed = (student != teacher).any(dim=1)
    for boxes in (draws.cutout, draws.erasing):
        for row, (top, left, bottom, right) in enumerate(boxes.tolist()):
            changed[row, top:bottom, left:right] = False
    assert not changed.any()
    assert not torch.equal(student, teacher)


def test_photometric_view_is_mixed_with_the_same_share(images):
    augment = replace(ALL, policy="none", view="photometric")
    bare = replace(augment, cutout=0, erasing=0)
    assert torch.equal(augment.views(images, drawn(augment), FILL)[1], bare.views(images, drawn(bare), FILL)[0])


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "randaugment", "trivialaugment"])
@pytest.mark.parametrize("channels", [3, 1])
def test_photometric_view_has_the_geometry_of_the_policy_alone(policy, channels):
    augment = Augment(policy=policy, erasing=0, mixup=0, cutmix=0, view="photometric")
    given = torch.randint(
        0, 256, (200, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    draws = augment.draw(200, 32, seed=0, epoch=0, step=0)
    student, teacher = augment.views(given, draws, FILL[:channels])
    chosen = policy_of(augment.policy, augment.operations, augment.magnitude)
    names = [[chosen.actions[code].operation for code in row] for row in draws.actions]
    expected = crop_flip(given, draws.corner, draws.flip, padding=4)
    for row, (image, codes) in enumerate(zip(expected, draws.actions, strict=True)):
        for name, code in zip(names[row], codes, strict=True):
            if name.startswith(MOVES):
                image = perform(image[None], np.array([[code]]), chosen)[0]
        assert torch.equal(teacher[row], to_float(image))
    moved_alone = [all(name.startswith((*MOVES, "Identity")) for name in row) for row in names]
    assert torch.equal(student[moved_alone], teacher[moved_alone])
    assert 0 < sum(moved_alone) < 200
    assert not torch.equal(student, teacher)


@pytest.mark.parametrize("view", ["same", "photometric", "clean"])
def test_a_slice_of_the_batch_gives_a_slice_of_the_images(images, view):
    augment = replace(ALL, mixup=0, cutmix=0, view=view)
    draws, rows = drawn(augment), np.array([2, 3, 7])
    whole = augment.views(images, draws, FILL)
    part = augment.views(images[rows], draws.take(rows), FILL)
    for ours, theirs in zip(part, whole, strict=True):
        assert torch.equal(ours, theirs[rows])


def test_photometric_view_without_painting_is_the_same_tensor(images):
    augment = Augment(erasing=0, view="photometric")
    student, teacher = augment.views(images, drawn(augment), FILL)
    assert teacher is student


def test_clean_view_is_untouched(images):
    augment = replace(ALL, view="clean")
    student, teacher = augment.views(images, drawn(augment), FILL)
    assert torch.equal(teacher, to_float(images[1:]))
    assert not torch.equal(student, teacher)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": -1}, "crop: must be a whole number of at least 0, got -1"),
        ({"crop": 2.5}, "crop: must be a whole number of at least 0, got 2.5"),
        ({"magnitude": 9.5}, "magnitude: must be a whole number in 0..30, got 9.5"),
        ({"flip": "on"}, "flip: must be true or false, got 'on'"),
        ({"erasing": 1.5}, r"erasing: must lie in \[0, 1\]"),
        ({"mix_probability": -0.1}, r"mix_probability: must lie in \[0, 1\], got -0.1"),
        ({"view": "other"}, "view: must be one of same, photometric, clean"),
        (
            {"policy": "CIFAR10"},
            "policy: must be one of none, cifar10, imagenet, svhn, randaugment, trivialaugment",
        ),
        ({"policy": None}, "policy: must be one of"),
        ({"operations": 0}, "operations: must be a whole number of at least 1, got 0"),
        ({"magnitude": 31}, r"magnitude: must be a whole number in 0..30, got 31"),
    ],
)
def test_a_value_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


def test_mixes_only_where_something_is_mixed():
    assert Augment().mixes
    assert not Augment(mix_probability=0).mixes
    assert not Augment(mixup=0, cutmix=0).mixes


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("default", "cifar10"),
        ("published", "cifar10"),
        ("randaugment", "randaugment"),
        ("trivialaugment", "trivialaugment"),
        ("light", "none"),
        ("mnist", "none"),
        ("none", "none"),
    ],
)
def test_configs_take_their_policy(name, policy):
    spec = OmegaConf.to_container(OmegaConf.load(Path(__file__).parents[2] / f"conf/augment/{name}.yaml"))
    augment = build(spec)
    assert augment.policy == policy
    made = augment.draw(8, 28, seed=0, epoch=0, step=0)
    student, teacher = augment.views(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), made, FILL[:1])
    assert student.shape == teacher.shape == (8 - (made.mix is not None), 1, 28, 28)
