"""DINO: its average, its last layer and its schedules are those of the official code."""

import math

import lightning as L
import pytest
import torch
from ssl_training import METHODS, fit, make_data, make_spec
from torch import nn
from training import quiet_trainer

from kdbias.config.build import build
from kdbias.functional.dino_loss import dino_loss, dino_targets, moved_center
from kdbias.modules.ssl_dino import move, sharpening
from kdbias.modules.ssl_heads import Prototypes


def test_dino_saves_the_average_which_follows_with_statistics_of_its_own(tmp_path):
    torch.manual_seed(0)
    cnn = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": [8, 16], "classes": None}
    data = make_data()
    spec = make_spec(data, METHODS["dino"], cnn)
    module = build(spec["module"], spec)
    first = {name: value.clone() for name, value in module.student.state_dict().items()}
    trainer = quiet_trainer(
        max_epochs=2,
        log_every_n_steps=2,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    average, online = module.student.state_dict(), module.online.state_dict()
    weight, mean = "network.conv1.weight", "network.bn1.running_mean"
    assert 0 < (average[weight] - first[weight]).norm() < (online[weight] - first[weight]).norm()
    assert not torch.equal(average[mean], first[mean])
    assert not torch.equal(average[mean], online[mean])
    assert not any(p.requires_grad for p in module.student.parameters())
    assert module.center.abs().max() > 0
    assert 0 < trainer.callback_metrics["collapse/teacher_entropy"] <= 1
    assert 0 < trainer.callback_metrics["collapse/marginal_entropy"] <= 1


def test_the_last_layer_of_dino_waits(tmp_path):
    data = make_data()
    spec = make_spec(data, {**METHODS["dino"], "freeze_last": 0.4})
    torch.manual_seed(0)
    module = build(spec["module"], spec)
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            seen.append((pl_module.progress, pl_module.online_head.directions.detach().clone()))

    trainer = quiet_trainer(
        max_epochs=1,
        callbacks=[Look()],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    still = [torch.equal(value, seen[0][1]) for _, value in seen]
    assert still == [True, True, False, False]  # steps begin at 0, 1/4, 1/2, 3/4; decay does not act either


def test_temperature_and_momentum_are_those_of_the_official_schedules(tmp_path):
    """main_dino.py: linspace over the warm-up's epochs, then the end; ``cosine_scheduler`` over all steps, from 0."""
    epochs, warmup, batches = 5, 3, 4
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append((pl_module.teacher_temperature, pl_module.momentum))

    fit("dino", tmp_path, epochs=epochs, callbacks=[Look()], momentum=0.996, teacher_temperature_until=warmup / epochs)
    steps = epochs * batches
    assert [m for _, m in seen] == pytest.approx(
        [1 + 0.5 * (0.996 - 1) * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    )
    # the official staircase meets the straight line once an epoch, a part e / (W - 1) into epoch e
    official = [0.04 + (0.07 - 0.04) * epoch / (warmup - 1) for epoch in range(warmup)]
    line = sharpening(0.04, 0.07, warmup / epochs)
    assert [line((e + e / (warmup - 1)) / epochs) for e in range(warmup)] == pytest.approx(official)
    assert [t for t, _ in seen] == pytest.approx([line(step / steps) for step in range(steps)])
    assert {t for t, _ in seen[warmup * batches :]} == {0.07}
    assert sharpening(0.04, 0.07, 0.0)(0.0) == 0.07


def test_the_average_moves_by_its_share():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.75 * one.weight.detach() + 0.25 * two.weight.detach()
    move(one, two, 0.25)
    torch.testing.assert_close(one.weight.detach(), expected)


def test_scores_of_prototypes_are_cosines():
    torch.manual_seed(0)
    scores = Prototypes(6, 16, 8, 20).eval()(100 * torch.randn(50, 6))
    assert scores.shape == (50, 20)
    assert scores.abs().max() <= 1


@pytest.mark.parametrize(("widths", "last"), [([4, 8, 8], False), ([16, 16, 32], True)])
def test_both_networks_are_channels_last_where_that_is_safe(widths, last):
    cnn = {"_target_": "kdbias.models.resnet_cifar.small_cnn", "widths": widths, "classes": None}
    spec = make_spec(make_data(), METHODS["dino"], cnn)
    module = build(spec["module"], spec)
    module.trainer = quiet_trainer()
    module.setup("fit")
    for network in (module.student, module.online):
        kernels = [p for p in network.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) is last for p in kernels)


def test_the_average_follows_by_one_minus_its_momentum(tmp_path):
    seen, pace = [], []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.append([next(n.parameters()).detach().clone() for n in (module.student, module.online)])

        def on_train_batch_end(self, trainer, module, *_):
            pace.append(module.momentum)

    fit("dino", tmp_path, epochs=1, callbacks=[Look()], momentum=0.9)
    assert len(seen) > 1
    for (before, _), (after, online), momentum in zip(seen, seen[1:], pace, strict=False):
        torch.testing.assert_close(after, momentum * before + (1 - momentum) * online)


def test_a_comparison_is_that_of_the_formulas_and_moves_the_centre(tmp_path):
    torch.manual_seed(0)
    spec = make_spec(make_data(), METHODS["dino"])
    module = build(spec["module"], spec).eval()
    module.center.copy_(torch.randn_like(module.center) / 10)
    module.teacher_temperature, before = 0.05, module.center.clone()
    one, two = torch.rand(2, 4, 3, 16, 16)
    found, views = module.compare(one, two).loss, torch.cat([one, two])
    with torch.no_grad():
        theirs, ours = (
            head(module.chosen(network(views))).view(2, 4, -1)
            for head, network in ((module.student_head, module.student), (module.online_head, module.online))
        )
    torch.testing.assert_close(found.detach(), dino_loss(ours, dino_targets(theirs, before, 0.05), module.temperature))
    torch.testing.assert_close(module.center, moved_center(before, theirs, module.center_momentum))
