"""Stress sets in the views of training images: who sees what, by which draws, and what is refused."""

import numpy as np
import pytest
import torch
from config_base import composed
from loading import COUNT, random_images, resident, workers

from kdbias.checks.check import check
from kdbias.config.build import build
from kdbias.config.spec import spec, spec_hash
from kdbias.config.stress_names import stress_node
from kdbias.data.augment import Augment, to_float
from kdbias.data.resident import ResidentLoader
from kdbias.data.stress_views import slow_views
from kdbias.runs.teacher_recipe import _kept
from kdbias.stress.stress_set import StressSet

LIGHT = {"erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "mix_probability": 0.0}
STILL = LIGHT | {"crop": 0, "flip": False}
MIXED = {"erasing": 0.5, "mixup": 0.8, "cutmix": 1.0, "mix_probability": 1.0}


def first(info, make=resident, **settings):
    return next(iter(make(info, augment=Augment(**settings))))


def uint8(image):
    return (image * 255).round().to(torch.uint8)


def smoothed(image):
    stress: StressSet = build(stress_node("smooth"), group="stress")
    made = [stress(one.permute(1, 2, 0).numpy(), 0, 1.0, np.random.default_rng()) for one in uint8(image)]
    return to_float(torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2))


def by_index(batches, part):
    return {int(i): image for batch in batches for i, image in zip(batch.index, getattr(batch, part), strict=True)}


@pytest.mark.parametrize(("who", "other"), [("teacher_image", "image"), ("image", "teacher_image")])
def test_one_sees_the_stressed_image_and_the_other_the_same_crop_clean(tiny_info, who, other):
    name = "teacher_stress" if who == "teacher_image" else "student_stress"
    plain, found = first(tiny_info, **LIGHT), first(tiny_info, **LIGHT, **{name: "smooth"})
    assert torch.equal(getattr(found, other), plain.image)
    assert torch.equal(getattr(found, who), smoothed(plain.image))
    assert not torch.equal(found.image, found.teacher_image)
    assert torch.equal(found.target, plain.target)


def test_a_set_changes_the_painted_image_before_it_is_mixed(tiny_info):
    whole = first(tiny_info, crop=0, flip=False, erasing=0, cutmix=0, mix_probability=1.0, teacher_stress="smooth")
    plain = first(tiny_info, crop=0, flip=False, erasing=0, cutmix=0, mix_probability=1.0)
    assert torch.equal(whole.image, plain.image)
    assert torch.equal(whole.target, plain.target)
    share = float(plain.target[0].max())
    images, _ = random_images()
    own = to_float(images[plain.index])
    partner = (plain.image - own * share) / (1 - share)
    expected = smoothed(own) * share + smoothed(partner) * (1 - share)
    assert torch.allclose(whole.teacher_image, expected, atol=0.51 / 255)


@pytest.mark.parametrize("view", ["same", "photometric", "clean"])
@pytest.mark.parametrize("stage", [LIGHT, MIXED], ids=["light", "mixed"])
def test_strength_0_is_no_stress_bit_for_bit(tiny_info, view, stage):
    none = {"teacher_stress": "scramble", "teacher_strength": 0.0, "student_stress": "smooth", "student_strength": 0}
    for make in (resident, workers):
        plain, found = (first(tiny_info, make, view=view, **stage, **more) for more in ({}, none))
        for a, b in zip(plain, found, strict=True):
            assert torch.equal(a, b)
        assert (found.teacher_image is found.image) == (plain.teacher_image is plain.image)


def test_draws_are_of_seed_epoch_and_index_whatever_the_batch(tiny_info):
    augment = Augment(**STILL, teacher_stress="scramble")

    def loader(size, seed=1):
        return ResidentLoader(
            *random_images(), info=tiny_info, batch_size=size, seed=seed, augment=augment, shuffle=True
        )

    small, large = loader(8), loader(24)
    one, other = by_index(small, "teacher_image"), by_index(large, "teacher_image")
    assert one.keys() == other.keys() == set(range(COUNT))
    assert all(torch.equal(one[i], other[i]) for i in one)
    large.sampler.set_epoch(1)
    later = by_index(large, "teacher_image")
    assert sum(torch.equal(later[i], one[i]) for i in one) == 0
    reseeded = by_index(loader(24, seed=2), "teacher_image")
    assert sum(torch.equal(reseeded[i], one[i]) for i in one) == 0


@pytest.mark.parametrize("make", [resident, workers])
def test_ranks_together_and_a_resumed_epoch_are_the_whole(tiny_info, make):
    augment = Augment(**MIXED, teacher_stress="scramble", student_stress="noise")
    whole = list(make(tiny_info, augment=augment))
    parts = [list(make(tiny_info, augment=augment, rank=rank, world=2)) for rank in (0, 1)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for key in ("image", "teacher_image", "target"):
            assert torch.equal(getattr(batch, key), torch.cat([getattr(share, key) for share in shares]))
    begun = make(tiny_info, augment=augment)
    iterator = iter(begun)
    next(iterator), next(iterator)
    resumed = make(tiny_info, augment=augment)
    resumed.load_state_dict(begun.state_dict())
    for batch, again in zip(whole[2:], resumed, strict=True):
        assert torch.equal(batch.teacher_image, again.teacher_image)


def test_equal_sets_of_both_are_one_tensor_and_others_are_not(tiny_info):
    both = first(tiny_info, **LIGHT, teacher_stress="scramble", student_stress="scramble")
    assert both.image is both.teacher_image
    apart = first(tiny_info, **LIGHT, teacher_stress="scramble", student_stress={"name": "scramble", "grid": 8})
    assert not torch.equal(apart.image, apart.teacher_image)


def test_positions_are_asked_for_only_where_a_set_draws_by_them():
    Augment().draw(4, 32, 0, 0, 0)
    with pytest.raises(ValueError, match="positions"):
        Augment(teacher_stress="grey").draw(4, 32, 0, 0, 0)


def test_the_cost_of_a_set_that_takes_single_images_is_measured(tiny_info):
    lines = slow_views(Augment(teacher_stress="shape", student_stress="smooth_scramble").stress, tiny_info)
    assert len(lines) == 1
    assert lines[0].startswith("augment.teacher_stress changes one image at a time")
    assert "ms each" in lines[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("conflict", "teacher_stress: conflict: it takes the spectrum of other images"),
        ("texture", "teacher_stress: texture: it takes the spectrum of other images"),
        ("{name: texture, engine: gatys}", "teacher_stress: texture: gatys needs the weights of VGG-19"),
        ("folder", "teacher_stress: folder: it has images of its own"),
        ("zoom_blur", "teacher_stress: zoom_blur: it takes more than 20 ms an image"),
        (
            "{name: smooth, protocol: burgert}",
            "teacher_stress: smooth: protocol: burgert filters at 224 px",
        ),
        ("smoth", "teacher_stress: smoth: there is no such stress set: did you mean smooth?"),
        ("{name: smooth, filtr: gaussian}", "teacher_stress: smooth: there is no setting filtr: it has filter, "),
        ("[smooth]", "teacher_stress: ['smooth']: give the name of a stress set"),
        ("{name: scramble, grid: 5}", "teacher_stress: 5 cells to a side do not divide images of 32 pixels"),
        ("smooth augment.teacher_strength=2", "teacher_strength: must be a number in [0, 1], got 2"),
        ("fog augment.teacher_strength=.5", "teacher_stress: fog: a corruption has .2, .4, .6, .8 and 1"),
        ("null augment.teacher_strength=.5", "teacher_strength: nothing reads it"),
        ("scramble loss=[ce,kl,token]", "teacher_stress: it moves parts of the image in one view, and loss=[token]"),
        ("smooth experiment=baseline", "teacher_stress: no teacher would see it"),
        ("smooth experiment=vit_to_cnn/sskd", "teacher_stress: SSKD makes its views itself"),
        ("grey data=mnist augment.flip=false augment.policy=none", "teacher_stress: the images have one channel"),
        ("scramble experiment=vit_to_cnn/capd", "teacher_stress: it moves parts of the image in one view, and CAPD"),
    ],
)
def test_what_cannot_be_a_view_is_refused_in_one_line(settings, says):
    opened, *words = settings.split(" augment.") if "{" in settings else [settings.split()[0]]
    words = [f"augment.{word}" for word in words] if "{" in settings else settings.split()[1:]
    base = ["experiment=exp1_kl", "trainer=cpu"]
    problems = check(composed([*base, f"augment.teacher_stress={opened}", *words]))
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"augment.{says}")


@pytest.mark.parametrize(
    "words",
    [
        ["augment.teacher_stress=smooth", "augment.teacher_strength=.5"],
        ["augment.teacher_stress={name: scramble, grid: 8}", "augment.student_stress=gaussian_noise"],
        ["loss=[ce,kl,token]", "augment.teacher_stress=smooth_grey"],
        ["loss=[ce,kl,token]", "augment.teacher_stress=scramble", "augment.student_stress=scramble"],
        ["loss=[ce,kl,token]", "loss.token.allow_misaligned=true", "augment.teacher_stress=scramble"],
        ["augment.teacher_stress=scramble", "control=none"],
        ["augment.student_stress={_target_: kdbias.stress.chain.Chain, parts: [{_target_: kdbias.stress.grey.Grey}, "
         "{_target_: kdbias.stress.superpixel.Superpixel, segments: 50}]}"],
    ],
)  # fmt: skip
def test_views_that_make_sense_pass_the_check(words):
    assert check(composed(["experiment=exp1_kl", "trainer=cpu", *words])) == []


@pytest.mark.parametrize("name", ["default", "light", "mnist", "none", "published", "randaugment", "trivialaugment"])
def test_the_hash_changes_only_when_a_set_is_named(name):
    base = ["experiment=exp1_kl", f"augment={name}"]
    plain = composed(base)
    assert not {key for key in spec(plain)["augment"] if "stress" in key or "strength" in key}
    assert spec_hash(plain) == spec_hash(composed([*base, "augment.teacher_strength=1"]))
    smooth = spec_hash(composed([*base, "augment.teacher_stress=smooth"]))
    node = "{" + ",".join(f"{k}: {'null' if v is None else v}" for k, v in stress_node("smooth").items()) + "}"
    assert smooth == spec_hash(composed([*base, f"augment.teacher_stress={node}"]))
    others = [["augment.student_stress=smooth"], ["augment.teacher_stress=smooth", "augment.teacher_strength=.5"]]
    assert len({spec_hash(plain), smooth, *(spec_hash(composed([*base, *words])) for words in others)}) == 4


def test_the_teachers_own_training_takes_no_set_of_its_students_views():
    assert _kept("augment.policy=none")
    for word in (
        "augment.teacher_stress=smooth",
        "augment.student_stress={name: smooth}",
        "augment.teacher_strength=0",
    ):
        assert not _kept(word)
