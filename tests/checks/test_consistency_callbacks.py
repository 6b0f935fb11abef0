"""Callbacks, and probes during training, that do not fit a run are named with key and remedy."""

import pytest
from config_base import Mistake, assert_named_once, headless
from planting import plant

from kdbias.config import conf


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> None:
    conf.register()
    plant(monkeypatch, "model", "kdbias.models.deit", headless)


LOGITLESS = {"_target_": "kdbias.models.deit.headless"}
TIMM = "kdbias.models.timm_network.timm_network"
TINY_CNN = "kdbias.models.resnet_cifar.small_cnn"
TOKEN = "kdbias.losses.token.Token"
PROBE = {"_target_": "kdbias.callbacks.probe.ProbeCallback", "name": "a"}
MESSAGES: dict[str, Mistake] = {
    "two averages": (
        {
            "callback.ema": {"_target_": "kdbias.callbacks.averaging.EMA"},
            "callback.swa": {"_target_": "kdbias.callbacks.averaging.SWA"},
        },
        "callback.swa",
        ("averages weights as ema does: select one of them",),
    ),
    "a comparison with no teacher": (
        {
            "teacher": {"name": None},
            "loss": {"ce": {"_target_": "kdbias.losses.ce.CE", "dist": True}},
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.cka.teacher_cka"}},
        },
        "callback.p",
        ("compares with a teacher, and the run has none",),
    ),
    "attention of a CNN": (
        {
            "model": {"_target_": TINY_CNN},
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.attention.AttentionProbe"}},
        },
        "callback.p",
        ("a CNN has no attention maps", "leave it out of callback=[...], or drop it with ~callback.p"),
    ),
    "accuracy of a student without classifier": (
        {
            "model": LOGITLESS,
            "loss": {"token": {"_target_": TOKEN}},
            "objective": None,
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.accuracy.AccuracyProbe"}},
        },
        "callback.p",
        ("no classifier", "leave it out of callback=[...], or drop it with ~callback.p"),
    ),
    "a CLS token of a teacher that has none": (
        {"callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.cka.teacher_cka", "tokens": "cls"}}},
        "callback.p",
        ("the network has no CLS token; use tokens='mean'", "leave it out of callback"),
    ),
    "a setting of a probe that compares with the teacher": (
        {"callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.cka.teacher_cka", "batch": 2}}},
        "callback.p.probe",
        ("must be a whole number of at least 4",),
    ),
    "cues where there are none": (
        {
            "data": {"_target_": "kdbias.data.cifar.cifar10", "root": "nowhere"},
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.cues.CueProbe"}},
        },
        "callback.p",
        ("no images of known shape and texture", "leave it out of callback"),
    ),
    "too few images for a probe": (
        {"callback.p": {**PROBE, "images": 2, "probe": {"_target_": "kdbias.probes.cka.CKAProbe"}}},
        "callback.p.images",
        ("2 are fewer than the 4 that it takes: raise it",),
    ),
    "too few validation images for a probe": (
        {"data.val": 3, "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.cka.CKAProbe"}}},
        "data.val",
        ("3 images are fewer than the 4 that callback.p takes: raise it",),
    ),
    "fewer validation images than processes": (
        {
            "data.val": 4,
            "trainer.devices": 5,
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.shift.ShiftProbe"}},
        },
        "data.val",
        ("4 images for 5 processes, all of which callback.p needs: raise it",),
    ),
    "no validation images to choose by": (
        {
            "data.val": 0,
            "objective": "val/knn",
            "callback.knn": {"_target_": "kdbias.callbacks.knn.FrozenFeatures"},
        },
        "data.val",
        ("must be at least 1 image",),
    ),
    "attention of windows": (
        {
            "model": {"_target_": TIMM, "name": "swinv2_cr_tiny_224", "size": 64},
            "callback.p": {**PROBE, "probe": {"_target_": "kdbias.probes.attention.AttentionProbe"}},
        },
        "callback.p",
        ("maps of windowed or pooled attention do not cover one grid", "or drop it with ~callback.p"),
    ),
}


@pytest.mark.parametrize(("changes", "key", "parts"), MESSAGES.values(), ids=MESSAGES.keys())
def test_a_callback_that_does_not_fit_is_named_once(changes, key: str, parts: tuple[str, ...]) -> None:
    assert_named_once(changes, key, parts)
