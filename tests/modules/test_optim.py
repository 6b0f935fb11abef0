from pathlib import Path

import lightning as L
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kdbias.modules.optim import adamw, clip_gradients, configure, param_groups, sgd, step_size

CONF = Path(__file__).parents[2] / "conf" / "optim"
SPEC = {
    "optimizer": {"_target_": "kdbias.modules.optim.adamw", "lr": 0.01, "weight_decay": 0.05},
    "schedule": {"_target_": "kdbias.modules.schedules.warmup_cosine", "warmup": 0.0, "final_lr": 0.0},
    "clip": 1.0,
}


def names(module, group):
    by_id = {id(p): name for name, p in module.named_parameters()}
    return {by_id[id(p)] for p in group["params"]}


def test_vit_groups_keep_biases_norms_tokens_and_positions_undecayed():
    vit = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=4, depth=1, embed_dim=24, num_classes=10
    )
    decayed, plain = param_groups(vit, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert {"cls_token", "dist_token", "pos_embed", "patch_embed.proj.bias", "norm.weight"} <= names(vit, plain)
    assert names(vit, decayed) == {
        "patch_embed.proj.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight",
        "head.weight",
        "head_dist.weight",
    }


def test_groups_hold_each_trainable_parameter_once():
    module = nn.ModuleDict({"student": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "token": nn.Linear(4, 2)})
    module["tied"] = module["token"]
    module["student"][0].weight.requires_grad_(False)
    decayed, plain = param_groups(module, 0.1)
    assert names(module, decayed) == {"token.weight"}
    assert len(plain["params"]) == 4
    assert len(decayed["params"]) == 1


class Many(nn.Module):
    """Biases and scales of more than one axis, as in LeViT, Swin V2, XCiT and CAPD."""

    def __init__(self):
        super().__init__()
        self.attention_biases, self.bias = (nn.Parameter(torch.zeros(2, 4)) for _ in range(2))
        self.logit_scale, self.temperature = (nn.Parameter(torch.zeros(2, 1, 1)) for _ in range(2))
        self.weight = nn.Parameter(torch.zeros(2, 4))


def test_biases_and_scales_of_several_axes_are_undecayed():
    module = nn.ModuleDict({"part": Many()})
    decayed, plain = param_groups(module, 0.05)
    assert names(module, decayed) == {"part.weight"}
    assert len(plain["params"]) == 4


def test_relative_positions_are_undecayed():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, depths=(1,), embed_dim=12, num_heads=(2,)
    )
    _, plain = param_groups(swin, 0.05)
    assert "layers.0.blocks.0.attn.relative_position_bias_table" in names(swin, plain)


@pytest.mark.parametrize("build", [adamw, sgd])
def test_auto_is_fused_on_cpu_and_equals_the_plain_kernel(build):
    results = []
    for fused in ("auto", False):
        torch.manual_seed(0)
        net = nn.Linear(8, 8)
        optimizer = build(param_groups(net, 0.1), lr=0.1, weight_decay=0.1, fused=fused)
        assert optimizer.defaults["fused"] is (fused == "auto")
        for _ in range(3):
            net(torch.ones(2, 8)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append(net.weight.detach())
    torch.testing.assert_close(results[0], results[1])


def test_configure_follows_the_spec():
    net = nn.Linear(2, 2)
    configured = configure(SPEC, net, 11)
    assert [group["lr"] for group in configured["optimizer"].param_groups] == [0.01, 0.01]
    for _ in range(10):
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert configured["optimizer"].param_groups[1]["lr"] == pytest.approx(0.0, abs=1e-9)
    assert set(configure({**SPEC, "schedule": None}, net, 11)) == {"optimizer"}


def test_configure_refuses_a_module_without_parameters():
    with pytest.raises(ValueError, match=r"optim\.optimizer"):
        configure(SPEC, nn.ReLU(), 10)


def test_clip_gives_the_norm_before_and_leaves_small_gradients():
    net = nn.Linear(3, 3)
    optimizer = adamw(param_groups(net, 0.0), lr=0.1, weight_decay=0.0)
    net.weight.grad = torch.full_like(net.weight, 2.0)
    assert clip_gradients(optimizer, 10.0).item() == pytest.approx(6.0)
    assert net.weight.grad.norm().item() == pytest.approx(6.0)
    assert clip_gradients(optimizer, 1.0).item() == pytest.approx(6.0)
    assert net.weight.grad.norm().item() == pytest.approx(1.0, abs=1e-5)


class Toy(L.LightningModule):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.net = nn.Linear(4, 1)
        self.before, self.after = [], []

    def training_step(self, batch, batch_idx):
        return 1000.0 * self.net(batch[0]).float().square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/accuracy", 0.5)

    def configure_optimizers(self):
        return configure(self.spec, self, self.trainer.estimated_stepping_batches)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.before.append(clip_gradients(optimizer, self.spec["clip"]).item())
        self.after.append(sum(p.grad.square().sum() for p in self.parameters()).sqrt().item())


def fit(module, epochs=1):
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)
    trainer.fit(module, loader, DataLoader(TensorDataset(torch.randn(4, 4))))
    return trainer


def test_clipping_works_with_fused_adamw_in_bf16_mixed():
    module = Toy(SPEC)
    trainer = fit(module)
    assert trainer.optimizers[0].defaults["fused"] is True
    assert len(module.after) == 4
    assert min(module.before) > 1.0
    assert max(module.after) <= 1.0


def test_the_last_step_of_an_epoch_may_have_fewer_batches():
    assert [step_size(batch, 5, 2) for batch in range(5)] == [2, 2, 2, 2, 1]
    assert [step_size(batch, 6, 3) for batch in range(6)] == [3] * 6
    assert step_size(7, float("inf"), 4) == 4


@pytest.mark.parametrize("schedule", sorted(p.stem for p in (CONF / "schedule").glob("*.yaml")))
@pytest.mark.parametrize("optim", sorted(p.stem for p in CONF.glob("*.yaml")))
def test_every_yaml_builds(optim, schedule):
    with initialize_config_dir(str(CONF.parent), version_base="1.3"):
        cfg = compose(overrides=[f"+optim={optim}", f"optim/schedule={schedule}"])
    spec = OmegaConf.to_container(cfg.optim, resolve=True)
    configured = configure(spec, nn.Linear(2, 2), 10)
    assert configured["optimizer"].defaults["lr"] == spec["optimizer"]["lr"]
    assert configured["lr_scheduler"]["scheduler"].optimizer is configured["optimizer"]
