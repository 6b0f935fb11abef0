"""A frozen trunk: no gradients, no decay, no moving statistics; only the classifier is trained."""

from copy import deepcopy

import lightning as L
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from kdbias.callbacks.averaging import EMA
from kdbias.callbacks.batchnorm import has_batchnorm
from kdbias.models.deit import vit
from kdbias.models.features import Extractor
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.models.timm_network import timm_network
from kdbias.modules.optim import adamw, param_groups


@pytest.fixture
def image():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def frozen(info, *, drop_path=0.0):
    return timm_network(info, name="tf_efficientnet_lite0", size=32, frozen=True, drop_path=drop_path)


def of(extractor: Extractor, **settings) -> Extractor:
    """The same network, frozen."""
    mean, std = extractor.mean.flatten().tolist(), extractor.std.flatten().tolist()
    return Extractor(extractor.network, mean=mean, std=std, size=extractor.size, frozen=True, **settings)


def test_a_training_step_moves_the_classifier_alone(tiny_info, image):
    extractor = frozen(tiny_info, drop_path=0.2).train()
    groups = param_groups(extractor, 0.1)
    assert [[p.shape for p in group["params"]] for group in groups] == [[(10, 1280)], [(10,)]]
    before = deepcopy(extractor.state_dict())
    optimizer = adamw(groups, lr=0.1, weight_decay=0.1)
    for _ in range(2):
        F.cross_entropy(extractor(image).logits, torch.arange(4)).backward()
        optimizer.step()
    moved = {name for name, value in extractor.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.classifier.weight", "network.classifier.bias"}


def test_the_trunk_answers_in_training_as_in_evaluation(tiny_info, image):
    extractor = frozen(tiny_info, drop_path=0.5)
    reference = deepcopy(extractor).eval()(image)
    for _ in range(2):
        features = extractor.train()(image)
        assert torch.equal(features.pooled, reference.pooled)
        assert not features.pooled.requires_grad
        assert features.logits.requires_grad
    assert not any(t.requires_grad for t in features.tokens)


def test_modes_hold_after_every_change(tiny_info):
    extractor = frozen(tiny_info)
    head = extractor.network.get_classifier()
    rest = [m for m in extractor.network.modules() if m is not head]
    for mode in (True, False, True):
        extractor.train(mode)
        assert extractor.training is head.training is mode
        assert not any(m.training for m in rest)
    reader = extractor.reading(layers=[0])
    assert reader.frozen
    reader.train()
    assert not any(m.training for m in rest)


def test_a_fresh_classifier_starts_at_zero_and_a_given_one_is_kept(tiny_info, image, tmp_path):
    extractor = frozen(tiny_info)
    assert not extractor(image).logits.any()
    nn.init.normal_(extractor.network.classifier.weight)
    save_file(dict(extractor.network.state_dict()), tmp_path / "weights.safetensors")
    again = timm_network(
        tiny_info, name="tf_efficientnet_lite0", size=32, frozen=True, weights=tmp_path / "weights.safetensors"
    )
    assert torch.equal(again(image).logits, extractor(image).logits)


@pytest.mark.parametrize("name", ["levit_128s", "caformer_s18"])
def test_a_classifier_with_a_norm_or_several_layers_learns(tiny_info, name):
    """Were its norm 0 too, no image would reach its weights."""
    extractor = timm_network(tiny_info, name=name, size=224 if name == "levit_128s" else 32, frozen=True).train()
    image, target = torch.rand(4, 3, extractor.size, extractor.size), torch.arange(4)
    assert not extractor(image).logits.any()
    trained = [p for p in extractor.parameters() if p.requires_grad]
    for _ in range(2):
        loss = F.cross_entropy(extractor(image).logits, target)
        for p, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            p.data -= 0.5 * gradient
    assert extractor(image).logits.std(0).max() > 0


def test_both_heads_of_a_network_with_a_dist_token(tiny_info):
    extractor = of(vit(tiny_info, width=24, depth=2, heads=3, distilled=True))
    trained = {name for name, p in extractor.named_parameters() if p.requires_grad}
    assert trained == {f"network.{head}.{part}" for head in ("head", "head_dist") for part in ("weight", "bias")}


def test_nothing_to_train(tiny_info):
    with pytest.raises(ValueError, match="frozen: there is no classifier to train"):
        timm_network(tiny_info, name="resnet18", classes=None, frozen=True)


def test_a_teacher_is_frozen_whole(tiny_info, image):
    teacher = Teacher(frozen(tiny_info), "quick")
    teacher.extractor.reading(layers=[0])
    assert not any(p.requires_grad for p in teacher.extractor.parameters())
    assert not teacher(image).logits.requires_grad


def test_under_ddp(tiny_info, image, tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(of(small_cnn(tiny_info)))
        for _ in range(2):
            parallel(image).logits.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert {name for name, p in parallel.named_parameters() if p.grad is not None} == {
        "module.network.linear.weight",
        "module.network.linear.bias",
    }


class Student(L.LightningModule):
    def __init__(self, student):
        super().__init__()
        self.student = student

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.student(batch[0]).logits, batch[1])

    def validation_step(self, batch, batch_idx):
        self.student(batch[0])

    def configure_optimizers(self):
        return adamw(param_groups(self, 0.0), lr=0.1, weight_decay=0.0)


def test_statistics_rest_through_validation_and_averaging(tiny_info):
    student = of(small_cnn(tiny_info))
    for name, value in student.state_dict().items():
        if "running" in name:
            value += 0.1 * torch.rand_like(value)  # a fresh network has what a reset would give
    before = {name: value.clone() for name, value in student.state_dict().items()}
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[EMA(begin=0.0)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    images = DataLoader(TensorDataset(torch.rand(8, 3, 32, 32), torch.arange(8)), batch_size=4)
    trainer.fit(Student(student), images, images)
    moved = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.linear.weight", "network.linear.bias"}


def test_the_trunks_statistics_rest_where_those_of_a_classifier_are_averaged(tiny_info):
    network = small_cnn(tiny_info).network
    network.linear = nn.Sequential(nn.BatchNorm1d(network.linear.in_features), network.linear)
    mean, std = [0.5] * 3, [0.5] * 3
    student = Extractor(network, mean=mean, std=std, size=32, frozen=True)
    for name, value in student.state_dict().items():
        if "running" in name:
            value += 0.1 * torch.rand_like(value)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert has_batchnorm(student)
    images = DataLoader(TensorDataset(torch.rand(8, 3, 32, 32), torch.arange(8)), batch_size=4)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[EMA(begin=0.0, bn_batches=2)], **quiet).fit(
        Student(student), images, images
    )
    moved = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("network.linear.") for name in moved)
    assert any("running" in name for name in moved)


def test_which_networks_have_statistics_to_compute(tiny_info):
    assert has_batchnorm(small_cnn(tiny_info))
    assert not has_batchnorm(of(small_cnn(tiny_info)))
    assert has_batchnorm(nn.Sequential(nn.BatchNorm1d(4, affine=False)))
