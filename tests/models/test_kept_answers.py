"""Answers on disk: bit for bit what they were, and never taken for whole when they are not."""

import numpy as np
import pytest
import torch

from kdbias.config.build import build
from kdbias.models.kept_answers import KeptAnswers
from kdbias.models.kept_record import record_of
from kdbias.models.teacher import Teacher

NETWORKS = {
    "a CNN": {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [4, 8, 16]},
    "a ViT": {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 3, "heads": 2, "patch": 8},
    "a DIST token": {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 3, "heads": 2, "distilled": True},
    "no classifier": {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 3, "heads": 2, "classes": None},
}
CPU = torch.device("cpu")


@pytest.fixture
def answer(tiny_info):
    def of(name="a ViT", count=6):
        torch.manual_seed(0)
        return Teacher(build(NETWORKS[name], tiny_info, group="model"), name)(torch.rand(count, 3, 32, 32))

    return of


def kept(folder, features, layers=(0, 1, 2), kind="exact"):
    return KeptAnswers(folder, record_of(features, layers, kind), len(features.pooled), batches=2)


def written(store, features, batches=2):
    with store.open_to_write(0) as file:
        store.write(file, np.arange(len(features.pooled)), store.record.pack(features))
        store.note(file, 0, batches)
    return store


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_answers_come_back_bit_for_bit_and_in_the_same_order_of_memory(tmp_path, answer, name):
    features = answer(name)
    index = np.array([4, 0, 5])
    found = written(kept(tmp_path, features), features).read(0, index, CPU)
    for key, value in vars(features).items():
        got = getattr(found, key)
        values, gots = (value, got) if isinstance(value, tuple) else ((value,), (got,))
        for one, other in zip(values, gots, strict=True):
            if isinstance(one, torch.Tensor):
                assert torch.equal(one[index], other), key
                assert not one.numel() or one.stride() == other.stride(), key
                assert one.dtype == other.dtype, key
            else:
                assert one == other
    assert (found.class_logits is found.logits) == (features.class_logits is features.logits)


@pytest.mark.parametrize(("kind", "error"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_halves_are_rounded_and_take_half_the_room(tmp_path, answer, kind, error):
    features = answer()
    exact, store = kept(tmp_path, features), kept(tmp_path, features, kind=kind)
    assert (exact.record.size - 4) == 2 * (store.record.size - 4)
    found = written(store, features).read(0, np.arange(6), CPU)
    assert found.tokens[1].dtype == torch.float32
    assert torch.allclose(found.tokens[1], features.tokens[1], rtol=error, atol=1e-6)
    assert not torch.equal(found.tokens[1], features.tokens[1])


def test_what_fp16_does_not_hold_is_refused(tmp_path, answer):
    features = answer()
    features.pooled[2, 0] = 1e5
    with pytest.raises(FloatingPointError, match="pooled is not finite as float16"):
        kept(tmp_path, features, kind="fp16").record.pack(features)
    kept(tmp_path, features, kind="bf16").record.pack(features)


def test_a_layer_that_is_not_kept_cannot_be_read(tmp_path, answer):
    features = answer()
    found = written(kept(tmp_path, features, layers=(1,)), features).read(0, np.arange(6), CPU)
    assert torch.equal(found.tokens[1], features.tokens[1])
    assert found.tokens[0].shape == features.tokens[0].shape
    with pytest.raises((RuntimeError, NotImplementedError)):
        (found.tokens[0] - features.tokens[0]).sum().item()


def test_a_draw_is_whole_only_when_its_note_says_so_and_the_file_has_its_size(tmp_path, answer):
    features = answer()
    store = written(kept(tmp_path, features), features, batches=1)
    assert (store.safe(0), store.missing(2)) == (1, [0, 1])
    written(store, features)
    assert (store.safe(0), store.missing(2)) == (2, [1])
    note = store.file(0).with_suffix(".json")
    for damaged in ("", "[]", '{"batches": 99}', '{"batches": true}'):
        note.write_text(damaged)
        assert store.safe(0) == 0
    note.write_text('{"batches": 2}')
    with store.file(0).open("r+b") as file:
        file.truncate(store.bytes_a_draw - 1)
    assert store.safe(0) == 0
    store.open_to_write(0).close()
    assert not note.exists()  # it would say of the new file what was true of the old one


def test_a_record_that_was_never_written_or_changed_since_is_named(tmp_path, answer):
    features = answer()
    store = kept(tmp_path, features)
    with store.open_to_write(0) as file:
        store.write(file, np.arange(5), store.record.pack(features)[:5])
        store.note(file, 0, 2)
    store.read(0, np.arange(5), CPU)
    with pytest.raises(ValueError, match=r"draw-0000.bin is damaged at image 5: remove that file"):
        store.read(0, np.array([0, 5]), CPU)


def test_a_link_is_not_written_through(tmp_path, answer):
    features, other = answer(), tmp_path / "other"
    other.write_bytes(b"mine")
    store = kept(tmp_path, features)
    store.file(0).symlink_to(other)
    with pytest.raises(ValueError, match="is a link"):
        store.open_to_write(0)
    assert other.read_bytes() == b"mine"
