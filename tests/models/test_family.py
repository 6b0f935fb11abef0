import pytest
import timm
import torch
from torch import nn

from kdbias.models.deit import deit_tiny_hybrid, vit
from kdbias.models.family import FAMILIES, family
from kdbias.models.features import NetworkInfo
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.models.timm_network import timm_network

EXPECTED = {
    "cnn": [
        *("resnet18", "seresnet18", "gcresnet33ts", "skresnet18", "resnest14d", "resnet50_clip", "resnetv2_18"),
        *(
            "vgg11",
            "convnext_atto",
            "efficientnet_b0",
            "mobilenetv3_small_050",
            "convmixer_768_32",
            "focalnet_tiny_srf",
        ),
        *("ese_vovnet19b_dw", "convformer_s18", "fastvit_t8"),
    ],
    "vit": [
        *(
            "deit_tiny_patch16_224",
            "deit_tiny_distilled_patch16_224",
            "vit_small_patch14_dinov2",
            "vit_tiny_r_s16_p8_224",
        ),
        *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_224", "convit_tiny", "levit_128s"),
        *("tnt_s_patch16_224", "hiera_tiny_224", "cait_xxs24_224", "beit_base_patch16_224", "samvit_base_patch16"),
        *("vit_tiny_r_s16_p8_224", "pit_ti_224", "volo_d1_224", "vit_tiny_patch16_dinov3_qkvb"),
    ],
    "hybrid": [
        *("mobilevit_xxs", "mobilevitv2_050", "coatnet_nano_rw_224", "maxvit_nano_rw_256", "edgenext_xx_small"),
        *("coat_tiny", "mvitv2_tiny", "pvt_v2_b0", "vit_base_r50_s16_224", "vitamin_small_224", "botnet26t_256"),
        *(
            "efficientvit_b0",
            "efficientvit_m0",
            "tiny_vit_5m_224",
            "caformer_s18",
            "xcit_nano_12_p16_224",
            "fastvit_sa12",
        ),
        *("nextvit_small", "visformer_tiny", "swiftformer_xs"),
    ],
    "other": ["mixer_s32_224", "resmlp_12_224", "gmlp_ti16_224", "poolformer_s12", "sequencer2d_s"],
}


@pytest.mark.parametrize(("name", "expected"), [(name, key) for key, names in EXPECTED.items() for name in names])
def test_a_network_of_timm_is_of_the_family_of_what_mixes_its_positions(name, expected):
    with torch.device("meta"):
        assert family(timm.create_model(name)) == expected


class Attention(nn.Module):
    """Stands for attention without timm's flag."""


class SplitAttn(nn.Module):
    """A gate of channels that calls itself attention, with timm's flag even."""

    fused_attn = True


def network(**parts: nn.Module) -> nn.Module:
    whole = nn.Module()
    for path, part in parts.items():
        at = whole
        *folders, last = path.split("__")
        for folder in folders:
            if not hasattr(at, folder):
                at.add_module(folder, nn.Module())
            at = getattr(at, folder)
        at.add_module(last, part)
    return whole


def conv(size: int = 3, stride: int = 1) -> nn.Module:
    return nn.Conv2d(4, 4, size, stride)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"blocks__attn": Attention()}, "vit"),
        ({"blocks__attn": Attention(), "patch_embed__proj": conv(16, 16)}, "vit"),
        ({"blocks__attn": Attention(), "patch_embed__proj": conv(7, 4)}, "vit"),
        ({"blocks__attn": Attention(), "stem__conv1": conv(3, 2), "stem__conv2": conv()}, "vit"),
        ({"blocks__attn": Attention(), "conv1": conv(3, 2)}, "vit"),
        ({"blocks__attn": Attention(), "blocks__conv1": conv()}, "hybrid"),
        ({"blocks__attn": Attention(), "blocks__merge": conv(2, 2)}, "vit"),
        ({"blocks__attn": Attention(), "blocks__point": conv(1, 1)}, "vit"),
        ({"stages__attn": Attention(), "stages__downsample__conv": conv(3, 2)}, "vit"),
        ({"blocks__attn": Attention(), "patch_embed__backbone__stages__conv": conv()}, "hybrid"),
        ({"blocks__attn": Attention(), "patch_embed__backbone__layer1__conv": conv()}, "hybrid"),
        ({"blocks__attn": Attention(), "neck__conv": conv()}, "vit"),
        ({"layer1__conv": conv(), "attn_pool": Attention()}, "cnn"),
        ({"layer1__conv": conv(), "head__global_pool": Attention()}, "cnn"),
        ({"layer1__conv": conv(), "layer1__se": SplitAttn()}, "cnn"),
        ({"layer1__conv": conv(), "layer1__attn": nn.MultiheadAttention(4, 2)}, "hybrid"),
        ({"stem__conv": conv(), "blocks__mlp": nn.Linear(4, 4)}, "other"),
        ({"layer1__conv": nn.Conv1d(1, 1, 3)}, "other"),
    ],
)
def test_only_what_mixes_positions_in_the_trunk_counts(parts, expected):
    assert family(network(**parts)) == expected


@pytest.mark.parametrize("stem", [False, True, "deep"])
def test_a_convolutional_stem_leaves_a_transformer_one(tiny_info, stem):
    assert vit(tiny_info, width=24, depth=1, heads=3, patch=8, conv_stem=stem).info.family == "vit"


def test_the_networks_of_this_package(tiny_info):
    assert deit_tiny_hybrid(tiny_info).info.family == "vit"
    assert small_cnn(tiny_info).info.family == "cnn"


def test_what_a_family_does():
    found = {name: NetworkInfo((), 1, 1, 0, False, name) for name in FAMILIES}
    assert [name for name, info in found.items() if info.convolves] == ["cnn", "hybrid"]
    assert [name for name, info in found.items() if info.attends] == ["vit", "hybrid"]


def test_a_family_can_be_named(tiny_info):
    named = timm_network(tiny_info, name="edgenext_xx_small", size=64, family="cnn")
    assert named.info.family == named.reading(layers=[0]).info.family == "cnn"
    with pytest.raises(ValueError, match=r"family: must be one of cnn, vit, hybrid, other, or null, got 'CNN'"):
        timm_network(tiny_info, name="edgenext_xx_small", size=64, family="CNN")


@pytest.mark.parametrize(("name", "last"), [("edgenext_xx_small", True), ("test_vit", False), ("resnet18", True)])
def test_a_teacher_that_convolves_is_channels_last(tiny_info, name, last):
    teacher = Teacher(timm_network(tiny_info, name=name, size=64), name)
    wide = [p for p in teacher.extractor.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) is last for p in wide)
