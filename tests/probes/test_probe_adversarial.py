from copy import deepcopy

import numpy as np
import pytest
import torch

from kdbias.functional import pgd
from kdbias.models.attention_path import attention_modules
from kdbias.models.teacher import Teacher
from kdbias.probes.adversarial import AdversarialProbe, _scalars
from kdbias.probes.gradcam_agreement import GradcamAgreementProbe, correlations, to_one_grid
from kdbias.probes.gradcam_map import activation_map

EPSILON = 0.1


def labelled_by(network, batches):
    """The same images with the network's own answers as labels, so that it gets all right."""
    network = deepcopy(network).eval()
    with torch.no_grad():
        return [batch._replace(target=network(batch.image).logits.argmax(1)) for batch in batches]


def state(*networks):
    return [
        (m.training, getattr(m, "fused_attn", None), len(m._forward_hooks) + len(m._forward_pre_hooks))
        for network in networks
        for m in network.modules()
    ], [(p.requires_grad, p.grad is None) for network in networks for p in network.parameters()]


def test_all_transfers_to_a_copy_of_the_teacher(tiny_cnn, images):
    batches = labelled_by(tiny_cnn, images())
    network, teacher = deepcopy(tiny_cnn), Teacher(tiny_cnn, "t")
    result = AdversarialProbe(teacher, epsilon=EPSILON, steps=4)(network, batches)
    scalars = result.scalars
    assert scalars["counted"] == 1
    assert scalars["pgd_teacher_fooled"] > 0
    for attack in ("pgd", "fgsm"):
        assert scalars[f"{attack}_fooled"] == scalars[f"{attack}_teacher_fooled"]
        assert scalars[f"{attack}_same_answer"] == 1
        np.testing.assert_array_equal(result.arrays[f"{attack}_wrong"], result.arrays[f"{attack}_teacher_wrong"])
    assert scalars["pgd_fooled"] >= scalars["fgsm_fooled"]
    assert scalars["turned_fooled"] < scalars["pgd_fooled"]
    assert result.meta["n"] == 24


def test_only_images_that_both_get_right_count_and_only_the_first(tiny_vit, tiny_cnn, images):
    batches = labelled_by(tiny_cnn, images())
    teacher = Teacher(tiny_cnn, "t")
    probe = AdversarialProbe(teacher, epsilon=EPSILON, steps=2, images=13)
    result = probe(tiny_vit, batches)
    arrays = result.arrays
    both = arrays["right"] & arrays["teacher_right"]
    assert result.scalars["counted"] == both.mean()
    assert len(both) == result.meta["n"] == 13
    np.testing.assert_equal(result.scalars["pgd_fooled"], arrays["pgd_wrong"][both].mean() if both.any() else np.nan)
    assert arrays["index"].tolist() == list(range(13))
    for key, array in probe(tiny_vit, labelled_by(tiny_cnn, images(size=5))).arrays.items():
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.parametrize("probe", [AdversarialProbe, GradcamAgreementProbe])
def test_gradients_are_taken_of_few_images_at_once(tiny_cnn, images, probe):
    teacher, most = Teacher(deepcopy(tiny_cnn), "t"), []
    first = next(module for module in teacher.extractor.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, given: most.append(len(given[0])))
    few = probe(teacher, images=20, batch_size=8)(tiny_cnn, images(size=24))
    assert max(most) <= 8
    for key, array in probe(teacher, images=20)(tiny_cnn, images(size=24)).arrays.items():
        np.testing.assert_allclose(few.arrays[key], array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("probe", [AdversarialProbe, GradcamAgreementProbe])
def test_bad_settings_and_no_images_are_named(tiny_cnn, images, probe):
    teacher = Teacher(deepcopy(tiny_cnn), "t")
    for setting in ({"images": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            probe(teacher, **setting)
    with pytest.raises(ValueError, match="no images"):
        probe(teacher)(tiny_cnn, [])


def test_no_change_fools_nobody(tiny_cnn, images):
    batches = labelled_by(tiny_cnn, images())
    scalars = AdversarialProbe(Teacher(deepcopy(tiny_cnn), "t"), epsilon=0.0)(tiny_cnn, batches).scalars
    assert scalars["pgd_fooled"] == scalars["fgsm_fooled"] == scalars["turned_fooled"] == 0


@pytest.mark.parametrize("probe", [AdversarialProbe, GradcamAgreementProbe])
@pytest.mark.parametrize("swapped", [False, True], ids=["vit-student", "vit-teacher"])
def test_nothing_is_left_on_either_network(tiny_vit, tiny_cnn, images, probe, swapped):
    network, other = (tiny_cnn, tiny_vit) if swapped else (tiny_vit, tiny_cnn)
    teacher = Teacher(other, "t")
    before = state(network, other)
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    first, second = probe(teacher)(network, images(n=8)), probe(teacher)(network, images(n=8))
    assert state(network, other) == before
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in [*network.parameters(), *other.parameters()])
    assert len(attention_modules(tiny_vit)) == 3
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[key])


def test_a_copy_looks_where_its_teacher_looks(tiny_cnn, images):
    result = GradcamAgreementProbe(Teacher(deepcopy(tiny_cnn), "t"))(tiny_cnn, images())
    assert result.scalars["correlation"] == pytest.approx(1, abs=1e-6)
    assert result.scalars["cosine"] == pytest.approx(1, abs=1e-6)
    assert 0 < result.scalars["defined"] <= 1
    assert result.scalars["correlation_other"] < 0.99
    defined = ~np.isnan(result.arrays["correlation"])
    assert defined.mean() == result.scalars["defined"]
    np.testing.assert_array_equal(np.isnan(result.arrays["cosine"]), ~defined)


def test_maps_meet_on_the_coarser_grid():
    fine = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    own, theirs = to_one_grid(fine, torch.rand(2, 4, 4))
    assert own.shape == theirs.shape == (2, 4, 4)
    flat, _ = to_one_grid(torch.full((2, 8, 8), 0.3), torch.rand(2, 4, 4))
    torch.testing.assert_close(flat, torch.full((2, 4, 4), 0.3))
    with pytest.raises(ValueError, match="1x1"):
        to_one_grid(fine, torch.rand(2, 1, 1))


def test_correlation_is_pearsons_and_none_of_a_flat_map():
    a, b = torch.rand(3, 16, dtype=torch.float64), torch.rand(3, 16, dtype=torch.float64)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlations(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(correlations(a, 2 * a + 1), 1, atol=1e-12)
    assert correlations(torch.zeros(1, 16), torch.rand(1, 16)).isnan().all()


def test_the_network_is_shown_the_attacks_made_for_its_teacher_and_the_change_turned_by_half_a_circle(
    tiny_cnn, tiny_vit, images
):
    (batch,), seen = images(n=6, size=6), []
    tiny_vit.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    AdversarialProbe(Teacher(tiny_cnn, "t"), epsilon=0.1, steps=4)(tiny_vit, [batch])
    tiny_cnn.eval()
    made = [pgd(lambda x: tiny_cnn(x).logits, batch.image, batch.target, epsilon=0.1, steps=n) for n in (4, 1)]
    turned = (batch.image + (made[0] - batch.image).rot90(2, (2, 3))).clamp(0, 1)
    for found, expected in zip(seen, (batch.image, *made, turned), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_same_wrong_answer_is_counted_among_the_images_that_fool_both():
    def mask(text):
        return torch.tensor([c == "1" for c in text])

    arrays = dict.fromkeys(("right", "teacher_right"), mask("111110")) | {"turned_wrong": mask("100001")}
    for attack in ("pgd", "fgsm"):
        arrays |= {f"{attack}_wrong": mask("110001"), f"{attack}_teacher_wrong": mask("111001")}
        arrays[f"{attack}_same_answer"] = mask("100111")  # both right on two: the same answer, and no error
    found = _scalars(arrays)
    assert (found["counted"], found["turned_fooled"]) == (5 / 6, 0.2)
    assert (found["pgd_fooled"], found["pgd_teacher_fooled"], found["pgd_same_answer"]) == (0.4, 0.6, 0.5)


def test_maps_are_of_the_label_and_the_teachers_is_of_its_own_view(tiny_cnn, tiny_vit, images):
    (batch,) = images(n=6, size=6)
    batch = batch._replace(teacher_image=batch.image.flip(-1))
    found = GradcamAgreementProbe(Teacher(tiny_cnn, "t"))(tiny_vit, [batch])
    own = activation_map(tiny_vit, batch.image, batch.target)
    theirs = activation_map(tiny_cnn, batch.teacher_image, batch.target)
    expected = correlations(*(one.flatten(1).double() for one in to_one_grid(own, theirs)))
    np.testing.assert_allclose(found.arrays["correlation"], expected, rtol=1e-4, atol=1e-5)
