"""Training without labels: it learns, it resumes, two processes equal one, and bad input is named."""

import math

import pytest
import torch
from processes import found_by
from ssl_training import METHODS, SHARED, VIT, fit, make_data, make_spec
from torch import nn

from kdbias.config.build import build
from kdbias.modules.ssl_dino import DINO


@pytest.mark.parametrize("name", METHODS)
def test_resume_equals_an_uninterrupted_run_bit_for_bit(name, tmp_path):
    whole = fit(name, tmp_path).state_dict()
    fit(name, tmp_path, stop=2)
    resumed = fit(name, tmp_path, resume=tmp_path / "stop.ckpt").state_dict()
    assert whole.keys() == resumed.keys()
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []


def test_simclr_lowers_its_loss_and_logs_the_signs(tmp_path):
    easy = {**SHARED["views"], "invert": 0.0, "hue": 0.0, "grey": 0.0}
    before = fit("simclr", tmp_path, epochs=1, views=easy).trainer.callback_metrics["train/loss"]
    module = fit("simclr", tmp_path, epochs=8, views=easy)
    metrics = module.trainer.callback_metrics
    assert metrics["train/loss"] < min(before, math.log(31)) - 0.1  # the logarithm is that of picking at random
    assert 1 < metrics["collapse/rank"] <= 16
    assert 0 < metrics["collapse/std"] < 1.1
    assert 0 <= metrics["train/pairs"] <= 1
    assert module.stopped is None


@pytest.mark.parametrize(("read", "learns"), [("pooled", False), ("tokens", True)])
def test_which_of_the_last_block_s_tokens_the_objective_trains(read, learns):
    """What a student distils of a ViT are patch tokens: through CLS alone their own values have no part in the loss."""
    data = make_data()
    spec = make_spec(data, {**METHODS["simclr"], "features": read})
    torch.manual_seed(0)
    module = build(spec["module"], spec)
    found = {}
    module.student.network.blocks[-1].register_forward_hook(lambda _, __, out: found.update(tokens=out))
    loss = module.compare(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)).loss
    (gradient,) = torch.autograd.grad(loss, found["tokens"])
    assert bool(gradient[:, 1:].abs().max() > 0) is learns
    assert gradient.abs().max() > 0


def gradients(name: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Gradients of one step in fp64 on this rank's part of a batch, BatchNorm on fixed statistics."""
    data = make_data()
    torch.manual_seed(0)
    spec = make_spec(data, METHODS[name])
    module = build(spec["module"], spec).double()
    for part in module.modules():
        part.training = not isinstance(part, nn.BatchNorm1d)
    step = Step(module)
    wrapped = nn.parallel.DistributedDataParallel(step) if world > 1 else step
    image = torch.rand(8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = slice(rank * 8 // world, (rank + 1) * 8 // world)
    wrapped(image[rows], image.flip(3)[rows] ** 2).backward()
    found = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    return found | ({"center": module.center} if isinstance(module, DINO) else {})


class Step(nn.Module):
    def __init__(self, module) -> None:
        super().__init__()
        self.module = module

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return self.module.compare(one, two).loss


def all_gradients(rank: int, world: int) -> dict[str, dict[str, torch.Tensor]]:
    return {name: gradients(name, rank, world) for name in METHODS}


def test_two_processes_with_half_the_batch_give_the_gradients_of_one(tmp_path):
    found = found_by(all_gradients, 2, tmp_path, "forkserver")
    for name in METHODS:
        one = gradients(name, 0, 1)
        assert max(float(g.abs().max()) for g in one.values()) > 1e-3
        for rank in range(2):
            two = found[rank][name]
            assert two.keys() == one.keys()
            for key, gradient in one.items():
                torch.testing.assert_close(two[key], gradient, rtol=0, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize(
    ("model", "module", "message"),
    [
        ({"classes": "data"}, {}, "model.classes: SimCLR trains no classifier"),
        ({}, {"temperature": 0.0}, "^temperature: must be above 0"),
        ({}, {"features": "cls"}, "^features: must be pooled or tokens"),
    ],
)
def test_bad_input_is_named(model, module, message):
    data = make_data()
    spec = make_spec(data, {**METHODS["simclr"], **module}, {**VIT, **model})
    with pytest.raises(ValueError, match=message):
        build(spec["module"], spec)
