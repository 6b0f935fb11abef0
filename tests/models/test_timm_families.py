"""The smallest network of every module of timm: it is read with its own logits, or refused in one clear sentence."""

import inspect

import pytest
import timm
import torch
from timm.models import list_models, list_modules

from kdbias.models.description import shapes_alone
from kdbias.models.features import Extractor

pytestmark = pytest.mark.slow

NETWORKS = {  # by module: the smallest network, and a size that it takes
    "beit": ("beit_base_patch16_224", 64),
    "byoanet": ("halonet_h1", 256),
    "byobnet": ("test_byobnet", 64),
    "cait": ("cait_xxs24_224", 64),
    "coat": ("coat_tiny", 64),
    "convit": ("convit_tiny", 64),
    "convmixer": ("convmixer_768_32", 64),
    "convnext": ("test_convnext", 64),
    "cpubone": ("cpubone_nano", 64),
    "crossvit": ("crossvit_tiny_240", 240),
    "csatv2": ("csatv2", 64),
    "cspnet": ("cs3darknet_focus_s", 64),
    "cspnext": ("cspnext_tiny", 64),
    "davit": ("davit_tiny", 64),
    "deepseek_vit": ("deepseek_vit_412m", 546),
    "deit": ("deit_tiny_patch16_224", 64),
    "densenet": ("densenet121", 64),
    "dla": ("dla102x", 64),
    "dpn": ("dpn68", 64),
    "edgenext": ("edgenext_xx_small", 64),
    "efficientformer": ("efficientformer_l1", 224),
    "efficientformer_v2": ("efficientformerv2_s0", 64),
    "efficientnet": ("test_efficientnet", 64),
    "efficientvim": ("efficientvim_m2", 224),
    "efficientvit_mit": ("efficientvit_b0", 64),
    "efficientvit_msra": ("efficientvit_m0", 64),
    "eva": ("vit_tiny_patch16_dinov3_qkvb", 64),
    "fasternet": ("fasternet_t0", 64),
    "fastvit": ("fastvit_t8", 64),
    "focalnet": ("focalnet_tiny_srf", 64),
    "gcvit": ("gcvit_xxtiny", 64),
    "gemma4_vit": ("gemma4_vit_167m", 768),
    "ghostnet": ("ghostnet_050", 64),
    "hardcorenas": ("hardcorenas_b", 64),
    "hgnet": ("hgnetv2_b0", 64),
    "hiera": ("hiera_tiny_224", 64),
    "hieradet_sam2": ("sam2_hiera_tiny", 64),
    "hrnet": ("hrnet_w18_small", 64),
    "iformer": ("iformer_t", 64),
    "inception_next": ("inception_next_atto", 64),
    "inception_resnet_v2": ("inception_resnet_v2", 299),
    "inception_v3": ("inception_v3", 299),
    "inception_v4": ("inception_v4", 299),
    "lcnetv2": ("lcnetv2_small", 64),
    "levit": ("levit_384_s8", 64),
    "lowformer": ("lowformer_b0", 64),
    "mambaout": ("test_mambaout", 64),
    "maxxvit": ("test_maxvit", 64),
    "metaformer": ("poolformer_s24", 64),
    "mlp_mixer": ("gmlp_ti16_224", 64),
    "mobilenetv3": ("lcnet_050", 64),
    "mobilenetv5": ("mobilenetv5_base", 64),
    "mobilevit": ("mobilevit_xxs", 64),
    "mvitv2": ("mvitv2_tiny", 64),
    "naflexvit": ("naflexvit_base_patch16_siglip", 64),
    "nasnet": ("nasnetalarge", 64),
    "nest": ("nest_tiny", 64),
    "nextvit": ("nextvit_small", 64),
    "nfnet": ("test_nfnet", 64),
    "pit": ("pit_ti_224", 64),
    "pnasnet": ("pnasnet5large", 64),
    "pvt_v2": ("pvt_v2_b0", 64),
    "qwen3_vit": ("qwen3_vit_88m", 64),
    "rdnet": ("rdnet_tiny", 64),
    "regnet": ("regnetx_004_tv", 64),
    "repghost": ("repghostnet_050", 64),
    "repvit": ("repvit_m1", 64),
    "res2net": ("res2next50", 64),
    "resnest": ("resnest14d", 64),
    "resnet": ("test_resnet", 64),
    "resnetv2": ("resnetv2_18", 64),
    "rexnet": ("rexnet_100", 64),
    "selecsls": ("selecsls42", 64),
    "senet": ("legacy_seresnet18", 64),
    "sequencer": ("sequencer2d_s", 64),
    "shvit": ("shvit_s1", 64),
    "sknet": ("skresnet18", 64),
    "starnet": ("starnet_s050", 64),
    "swiftformer": ("swiftformer_xs", 64),
    "swin_transformer": ("swin_tiny_patch4_window7_224", 64),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", 64),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_384", 64),
    "tiny_vit": ("tiny_vit_5m_224", 64),
    "tnt": ("tnt_s_legacy_patch16_224", 64),
    "tresnet": ("tresnet_m", 64),
    "twins": ("twins_svt_small", 64),
    "vgg": ("vgg11", 64),
    "visformer": ("visformer_tiny", 64),
    "vision_transformer": ("test_vit", 64),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224", 64),
    "vision_transformer_relpos": ("test_vit_relpos", 64),
    "vision_transformer_sam": ("samvit_base_patch16", 64),
    "vitamin": ("vitamin_small_224", 64),
    "volo": ("volo_d1_224", 64),
    "vovnet": ("ese_vovnet19b_slim_dw", 64),
    "xception": ("xception41p", 64),
    "xception_aligned": ("xception41", 64),
    "xcit": ("xcit_nano_12_p16_224", 64),
}
REFUSED = {
    "crossvit": "its classifier is several layers",
    "efficientvim": "its classifier is several layers",
    "gemma4_vit": "computes with the values of tensors",
}


def smallest(module):
    """Give the name, and the size to build it for; of a module that a newer timm has, the first at its own size."""
    if module in NETWORKS:
        return NETWORKS[module]
    name = list_models(module=module)[0]
    return name, timm.get_pretrained_cfg(name).input_size[-1]


def create(name, side, device="meta"):
    """Build a network for images of ``side``, where it is built for a size."""
    with shapes_alone():
        network = timm.create_model(name, num_classes=10)
    config = timm.get_pretrained_cfg(name)
    takes = "img_size" in inspect.signature(type(network).__init__).parameters
    size = {"img_size": side} if takes or (config is not None and config.fixed_input_size) else {}
    if size or device != "meta":
        with shapes_alone() if device == "meta" else torch.device(device):
            network = timm.create_model(name, num_classes=10, **size)
    return network.eval()


@pytest.mark.parametrize("module", list_modules())
def test_a_network_of_every_module_is_read_or_refused(module):
    name, side = smallest(module)
    network = create(name, side)
    with shapes_alone():
        if module in REFUSED:
            with pytest.raises(ValueError, match=rf"^\w+ cannot be (read|used) .*{REFUSED[module]}") as found:
                Extractor(network, mean=(0.0,) * 3, std=(1.0,) * 3, size=side)
            assert "\n" not in str(found.value)
            assert str(found.value).endswith("choose another network")
            return
        extractor = Extractor(network, mean=(0.0,) * 3, std=(1.0,) * 3, size=side)
        features = extractor(torch.zeros(2, 3, side, side))
    info = extractor.info
    assert features.logits.shape == (2, 10)
    assert features.pooled.shape == (2, info.width)
    for tokens, prefix, grid, layer in zip(features.tokens, features.prefix, features.grids, info.layers, strict=True):
        assert grid == layer.grid
        assert tokens.shape == (2, grid[0] * grid[1], layer.width)
        assert prefix.shape == (2, info.prefix, layer.width)


VALUES = [
    *("resnetv2", "dla", "dpn", "levit", "efficientformer", "efficientformer_v2", "swiftformer", "tnt", "xcit"),
    *("vision_transformer_relpos", "sequencer", "coat", "vision_transformer_sam"),
]


@pytest.mark.parametrize("module", VALUES)
def test_logits_are_the_networks_own_where_head_or_tokens_are_unusual(module):
    """Convolutional classifiers, DIST heads without a token, prefix tokens of their own kind, whole heads."""
    name, side = NETWORKS[module]
    torch.manual_seed(0)
    network = create(name, side, "cpu")
    for parameter in network.parameters():
        if not parameter.any():  # some classifiers begin with 0, and would answer so whatever they read
            parameter.data.normal_()
    image = torch.rand(1, 3, side, side)
    extractor = Extractor(network, mean=(0.0,) * 3, std=(1.0,) * 3, size=side).eval()
    with torch.no_grad():
        logits = network(image)
        assert logits.abs().max() > 0
        torch.testing.assert_close(extractor(image).logits, logits)
