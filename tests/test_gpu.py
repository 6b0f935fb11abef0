"""What a GPU must give: the same images and the same measures as the CPU. Left out where there is none."""

import pytest
import torch

from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.data.resident import ResidentLoader
from kdbias.functional import hessian_trace
from kdbias.models.deit import vit
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.cka import CKAProbe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(scope="module")
def source():
    return cues(train=200, val=40, test=60)


def batches(source, device, prefetch):
    images, labels = (part.to(device) for part in source.split("train"))
    augment = Augment(policy="cifar10", erasing=0.25, mixup=0.8, cutmix=1.0)
    loader = ResidentLoader(
        images,
        labels,
        info=source.info,
        batch_size=32,
        augment=augment,
        shuffle=True,
        drop_last=True,
        prefetch=prefetch,
    )
    return [[part.cpu() for part in batch] for batch in loader]


def test_batches_of_a_side_stream_are_those_made_in_between(source):
    ahead, between = batches(source, "cuda", True), batches(source, "cuda", False)
    assert len(ahead) == len(between) > 1
    for one, other in zip(ahead, between, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_batches_are_those_of_the_cpu(source):
    for one, other in zip(batches(source, "cuda", False), batches(source, "cpu", False), strict=True):
        assert torch.equal(one[2], other[2])
        for a, b in ((one[0], other[0]), (one[1], other[1]), (one[3], other[3])):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("probe", [AttentionProbe(), CKAProbe()], ids=["attention", "cka"])
def test_a_probe_measures_what_it_measures_on_the_cpu(source, probe):
    torch.manual_seed(0)
    network = vit(source.info, width=32, depth=3, heads=2, patch=8)
    data = ImageData(source, Augment(), batch_size=20, eval_batch_size=20)
    there = probe(network, data.batches("test"))
    here = probe(network.cuda(), data.batches("test", device="cuda"))
    assert here.scalars == pytest.approx(there.scalars, rel=1e-3, abs=1e-4)


def test_second_derivatives_are_those_of_the_cpu(source):
    torch.manual_seed(0)
    network = vit(source.info, width=16, depth=2, heads=2, patch=8).eval()
    images, labels = source.split("test")
    found = []
    for device in ("cpu", "cuda"):
        network.to(device)
        image, target = images[:16].to(device).float() / 255, labels[:16].to(device)

        def loss(image=image, target=target):
            return torch.nn.functional.cross_entropy(network(image).logits, target)

        parameters = [p for p in network.parameters() if p.requires_grad]
        found.append(float(hessian_trace(loss, parameters, 2, torch.Generator().manual_seed(0))[0]))
    assert found[1] == pytest.approx(found[0], rel=1e-2)


def test_a_teacher_follows_its_images(source):
    teacher = Teacher(small_cnn(source.info, widths=[4, 8]), "small")
    image = source.split("test")[0][:4].float() / 255
    there = teacher(image).logits
    here = teacher(image.cuda()).logits
    assert here.is_cuda
    torch.testing.assert_close(here.cpu(), there, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["smooth", "gaussian", "grey", "noise", "scramble", "rotate", "scramble_grey", "shape"]
)
def test_a_stressed_view_is_the_same_on_both(source, name):
    given = {"name": "smooth", "filter": "gaussian"} if name == "gaussian" else name
    augment = Augment(teacher_stress=given, teacher_strength=0.6)
    images, labels = source.split("train")
    found = [
        [batch.teacher_image.cpu() for batch in ResidentLoader(
            images.to(device), labels.to(device), info=source.info, batch_size=32, augment=augment, drop_last=True
        )]
        for device in ("cpu", "cuda")
    ]  # fmt: skip
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
