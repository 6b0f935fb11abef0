"""The ground truth of a transferred preference: teachers of known preference, students that learn from logits alone.

Five small networks, 6 epochs of 1,000 images each, every one on images of its own. An index towards the texture
teacher is left out: the preference of a control lies too near to that of the teacher.
"""

import copy
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.data.resident import ResidentLoader
from kdbias.functional import soft_kl
from kdbias.functional.cue import shape_share
from kdbias.models.features import Extractor
from kdbias.models.resnet_cifar import small_cnn
from kdbias.probes.bias import BiasProbe
from kdbias.stats import transfer_index_images
from kdbias.stress.split import StressedSplit

EPOCHS, BATCH, RATE = 6, 64, 5e-3
AUGMENT = Augment(crop=1, flip=True, erasing=0.0, mixup=0.0, cutmix=0.0)


def fit(seed: int, shape: float, texture: float, teacher: Extractor | None = None) -> Extractor:
    """Train a small CNN on 1,000 images of its own, by cross-entropy or by the teacher's logits alone."""
    source = cues(
        train=1_000, val=0, test=1, seed=seed, preset="demo", shape_reliability=shape, texture_reliability=texture
    )
    torch.manual_seed(seed)
    student = small_cnn(source.info).to(memory_format=torch.channels_last)
    images, labels = source.split("train")
    loader = ResidentLoader(
        images, labels, info=source.info, batch_size=BATCH, seed=seed, augment=AUGMENT, shuffle=True, drop_last=True
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * len(loader), pct_start=0.2)
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            logits = student(batch.image).logits
            if teacher is None:
                loss = F.cross_entropy(logits, batch.target)
            else:
                with torch.no_grad():
                    target = teacher(batch.teacher_image).logits
                loss = soft_kl(logits, target, temperature=1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return student.eval()


@cache
def conflict() -> tuple[Tensor, Tensor, Tensor]:
    """2,000 conflict images, with the class of the shape and that of the texture."""
    return cues(preset="demo", seed=99).variant("conflict", 2_000)


def decisions(network: Extractor) -> np.ndarray:
    """Whether each conflict image was decided for shape, and for either cue: ``(n, 2)``."""
    image, shape, texture = conflict()
    with torch.no_grad():
        logits = torch.cat([network(part.float() / 255).logits for part in image.split(250)])
    _, decided, by_shape = shape_share(logits, shape, texture)
    return torch.stack([by_shape, decided], dim=1).double().numpy()


@dataclass(frozen=True)
class Truth:
    """The decisions of each network, and the teacher itself that only shape was reliable for."""

    shape: np.ndarray
    texture: np.ndarray
    control: np.ndarray
    from_shape: np.ndarray
    from_control: np.ndarray
    teacher: Extractor
    networks: dict[str, Extractor]


@pytest.fixture(scope="module")
def truth():
    shape, texture, control = fit(1, 1.0, 0.0), fit(4, 0.0, 1.0), fit(2, 0.8, 0.8)
    return Truth(
        shape=decisions(shape),
        texture=decisions(texture),
        control=decisions(control),
        from_shape=decisions(student := fit(3, 0.8, 0.8, teacher=shape)),
        from_control=decisions(fit(7, 0.8, 0.8, teacher=control)),
        teacher=shape,
        networks={"shape": shape, "texture": texture, "control": control, "from_shape": student},
    )


def share(counts):
    return counts[:, 0].sum() / counts[:, 1].sum()


def index(student, truth):
    return transfer_index_images(student, truth.control, truth.shape, resamples=500).value


def test_student_takes_the_preference_of_its_teacher(truth):
    assert share(truth.from_shape) - share(truth.control) > 0.3
    assert index(truth.from_shape, truth) > 0.7


def test_student_of_a_control_keeps_the_preference_of_a_control(truth):
    assert abs(index(truth.from_control, truth)) < 0.3


def test_networks_prefer_the_cue_that_was_reliable(truth):
    assert share(truth.shape) - share(truth.control) > 0.3
    assert share(truth.shape) - share(truth.texture) > 0.4
    assert share(truth.from_shape) - share(truth.texture) > 0.4


def test_exact_copy_has_index_one(truth):
    assert index(decisions(copy.deepcopy(truth.teacher)), truth) == 1.0


@pytest.fixture(scope="module")
def measured(truth):
    """What ``probe=bias`` says of each network, on 1,000 images of ``data=cues``, which draws one cue at a time."""
    data = ImageData(cues(preset="demo", seed=99, test=1_000), AUGMENT, batch_size=250, eval_batch_size=250)
    probe = BiasProbe(StressedSplit(data.source, "test"), stress=[])
    return {name: probe(network, data.batches("test")) for name, network in truth.networks.items()}


def interval(result, key):
    low, high = result.arrays[f"{key}_interval"]
    return low, result.scalars[key], high


def test_conflict_images_show_what_each_network_was_taught(measured):
    shape, texture = measured["shape"], measured["texture"]
    assert interval(shape, "shape_share")[0] > 0.5
    assert texture.scalars["shape_share"] < 0.15
    # the two learn only six epochs, and guess often: what guesses explain is taken away
    assert shape.scalars["share_without_guesses"] > 0.9
    assert texture.scalars["share_without_guesses"] < 0.1


def test_the_cue_that_was_taught_is_worth_everything(measured):
    for cue, other in (("shape", "texture"), ("texture", "shape")):
        assert interval(measured[cue], f"reliance_{cue}")[2] >= 1
        own, others = (interval(measured[cue], f"sensitivity_{one}") for one in (cue, other))
        assert own[0] > max(measured[cue].scalars["sensitivity_chance"], others[2])


def test_the_cue_that_was_not_taught_costs_the_texture_network_nothing(measured):
    assert interval(measured["texture"], "reliance_shape")[0] <= 0


def preferences(result):
    return np.stack([result.arrays["by_shape"], result.arrays["decided"]], 1).astype(float)


def test_transfer_index_of_the_probes_outputs(measured):
    shape, control = preferences(measured["shape"]), preferences(measured["control"])
    assert transfer_index_images(shape, control, shape, resamples=500).value == 1.0
    assert transfer_index_images(control, control, shape, resamples=500).value == 0.0
    taught = transfer_index_images(preferences(measured["from_shape"]), control, shape, resamples=500)
    assert taught.value > 0.7
    none = transfer_index_images(shape, control, control, resamples=500)
    assert math.isnan(none.value)
    assert "nothing to transfer" in none.reason
