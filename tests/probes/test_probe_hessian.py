from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from kdbias.functional.hessian.product import CurvatureError, HessianProduct
from kdbias.functional.hessian.trace import random_signs
from kdbias.models.attention_path import attention_modules, choose, unfused
from kdbias.models.deit import vit
from kdbias.models.evaluation import evaluation
from kdbias.probes import hessian
from kdbias.probes.hessian import CPU_ROOM, GRAPH, HessianProbe, held_bytes, images_at_once

SMALL = {"vectors": 4, "k": 2, "density_steps": 5, "chunk": 8, "tolerance": 1e-2}
TRACE = {"vectors": 2, "k": 0, "density_steps": 0}


def state(network):
    return {
        "modes": [module.training for module in network.modules()],
        "paths": [module.fused_attn for module in attention_modules(network)],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "wanted": [p.requires_grad for p in network.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in network.parameters()],
        "values": {key: value.tolist() for key, value in network.state_dict().items()},
    }


@pytest.mark.parametrize("kind", ["tiny_vit", "tiny_cnn"])
def test_what_it_gives_and_that_nothing_is_left_behind(kind, request, images):
    network = request.getfixturevalue(kind)
    choose(network, training=False, device=torch.device("cpu"))  # fused kernels
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    before, precision = state(network), torch.get_float32_matmul_precision()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        result = HessianProbe(**SMALL)(network, images(n=8))
    assert state(network) == before
    assert torch.get_float32_matmul_precision() == precision
    assert result.meta["n"] == result.scalars["n"] == 8
    assert result.meta["parameters"] == sum(p.numel() for p in network.parameters())
    assert {key: value.shape for key, value in result.arrays.items()} == {
        "trace_samples": (4,),
        "trace_samples_plain": (4,),
        "eigenvalues_top": (2,),
        "eigenvalues_bottom": (2,),
        "density": (512,),
        "density_grid": (512,),
        "density_nodes": (1, 5),
        "density_weights": (1, 5),
    }
    top, bottom = result.arrays["eigenvalues_top"], result.arrays["eigenvalues_bottom"]
    assert top[0] >= top[1] > 0 > bottom[1] >= bottom[0]
    scalars = result.scalars
    assert (scalars["top"], scalars["second"], scalars["bottom"]) == (top[0], top[1], bottom[0])
    assert scalars["trace"] == pytest.approx(result.arrays["trace_samples"].mean())
    assert scalars["trace_per_weight"] == pytest.approx(scalars["trace"] / scalars["weight_norm"] ** 2)


@pytest.mark.parametrize("kind", ["tiny_vit", "tiny_cnn"])
def test_it_is_the_hessian_of_the_mean_loss_in_eval_mode(kind, request, images):
    network = request.getfixturevalue(kind)
    result = HessianProbe(**TRACE, chunk=7, images=20)(network, images())
    network.eval()
    image = torch.cat([batch.image for batch in images()])[:20]
    target = torch.cat([batch.target for batch in images()])[:20]
    with unfused(network):
        loss = cross_entropy(network(image).logits, target)
        product = HessianProduct(lambda: cross_entropy(network(image).logits, target), network.parameters())
        vectors = random_signs(2, product, torch.Generator().manual_seed(0))
        expected = (vectors * product(vectors)).sum(1).tolist()
        gradient = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    np.testing.assert_allclose(result.arrays["trace_samples_plain"], expected, rtol=1e-3)
    assert result.scalars["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    norm = sum(float(g.square().sum()) for g in gradient if g is not None) ** 0.5
    assert result.scalars["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def test_twice_is_the_same_and_chunks_do_not_matter(tiny_vit, images):
    options = SMALL | {"k": 1, "tolerance": 1e-3, "density_steps": 2}
    first, again = (HessianProbe(**options)(tiny_vit, images(n=8)) for _ in range(2))
    for key, value in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], value)
    other = HessianProbe(**options | {"chunk": 3, "keep": True})(tiny_vit, images(n=8, size=5))
    assert other.scalars == pytest.approx(first.scalars, rel=1e-3)
    seeded = HessianProbe(**TRACE | {"seed": 1})(tiny_vit, images(n=8))
    assert not np.allclose(seeded.arrays["trace_samples_plain"], first.arrays["trace_samples_plain"][:2], rtol=1e-2)


def test_differences_are_near_and_say_how_near(tiny_vit, images):
    options = {"vectors": 4, "k": 0, "density_steps": 0}
    exact = HessianProbe(**options)(tiny_vit, images())
    assert "product_error" not in exact.scalars
    errors = []
    for method in ("finite_difference", "central_difference"):
        found = HessianProbe(**options, method=method)(tiny_vit, images())
        assert found.scalars["trace"] == pytest.approx(exact.scalars["trace"], abs=0.1 * exact.scalars["trace_se"])
        errors.append(found.scalars["product_error"])
    assert 0 < errors[1] < errors[0] < 0.01


def test_a_network_without_trained_parameters_is_differentiated_by_all(tiny_cnn, images):
    trained = HessianProbe(**TRACE)(tiny_cnn, images())
    tiny_cnn.requires_grad_(False)
    frozen = HessianProbe(**TRACE)(tiny_cnn, images())
    assert frozen.scalars == trained.scalars
    assert not any(p.requires_grad for p in tiny_cnn.parameters())
    next(tiny_cnn.network.get_classifier().parameters()).requires_grad_(True)
    head = HessianProbe(**TRACE)(tiny_cnn, images())
    assert head.meta["parameters"] == tiny_cnn.network.get_classifier().weight.numel()


def test_a_compiled_network_runs_eagerly(tiny_cnn, images):
    def refuse(graph, inputs):
        raise AssertionError("compiled")

    expected = HessianProbe(**TRACE)(tiny_cnn, images())
    tiny_cnn.compile(backend=refuse)
    assert HessianProbe(**TRACE)(tiny_cnn, images()).scalars == expected.scalars


def test_images_of_inference_mode_are_no_trap(tiny_cnn, images):
    with torch.inference_mode():
        batches = [batch._replace(image=batch.image * 1.0) for batch in images()]
    with torch.inference_mode():
        found = HessianProbe(**TRACE)(tiny_cnn, batches)
    assert np.isfinite(found.scalars["trace"])


def test_what_has_no_hessian(tiny_vit, images):
    with pytest.raises(ValueError, match="got no images"):
        HessianProbe()(tiny_vit, [])
    mixed = [batch._replace(target=torch.rand(len(batch.target), 10)) for batch in images()]
    with pytest.raises(ValueError, match="one class per image"):
        HessianProbe()(tiny_vit, mixed)
    with pytest.raises(ValueError, match="vectors: must be a whole number of at least 2, got 1"):
        HessianProbe(vectors=1)
    with torch.no_grad():
        tiny_vit.network.head.weight[0, 0] = torch.nan
    before = state(tiny_vit)
    with pytest.raises(RuntimeError, match="the loss is not finite"):
        HessianProbe()(tiny_vit, images())
    after = state(tiny_vit)
    assert {key: after[key] for key in ("modes", "paths", "grads")} == {
        key: before[key] for key in ("modes", "paths", "grads")
    }


def test_a_self_supervised_network_is_refused(tiny_info, images):
    network = vit(tiny_info, width=16, depth=1, heads=2, patch=8, classes=None)
    assert "no classifier" in HessianProbe().refuses(network)
    with pytest.raises(ValueError, match="it has no classifier"):
        HessianProbe()(network, images())


@pytest.mark.parametrize("kind", ["tiny_vit", "tiny_cnn"])
def test_what_a_forward_pass_holds_grows_with_the_images_alone(kind, request, images):
    network = request.getfixturevalue(kind)
    image = next(iter(images(n=8))).image[:4]
    with evaluation(network), unfused(network):
        one, four = (held_bytes(network, image[:n]) for n in (1, 4))
    assert four == pytest.approx(4 * one, rel=0.05)


def test_larger_images_and_their_attention_maps_mean_smaller_chunks(tiny_info):
    chunks, held = [], []
    for size in (32, 64):
        network = vit(replace(tiny_info, size=size), width=16, depth=2, heads=2, patch=4)
        image = torch.rand(1, 3, size, size)
        with evaluation(network), unfused(network):
            held.append(held_bytes(network, image))
            chunks.append(images_at_once(network, image))
    maps = [2 * 2 * (size**2 / 16 + 1) ** 2 * 4 for size in (32, 64)]  # bytes: depth, heads, tokens, fp32
    assert held[1] - held[0] > maps[1] - maps[0]
    assert chunks[0] > 4 * chunks[1] > 4  # more than in proportion to the pixels
    assert chunks[0] == int(CPU_ROOM / (GRAPH * held[0]))


def test_too_many_images_for_the_memory_is_an_error_that_names_the_setting(tiny_vit, images, monkeypatch):
    def exceeded(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(hessian, "loss_and_gradient_norm", exceeded)
    with pytest.raises(CurvatureError, match=r"graph of 8 images of 32 px: set probe\.hessian\.chunk to fewer \("):
        HessianProbe(**TRACE, chunk=8)(tiny_vit, images())
    with pytest.raises(CurvatureError, match=r"fewer, or probe\.hessian\.keep to false"):
        HessianProbe(**TRACE, keep=True)(tiny_vit, images())


def test_the_error_of_the_trace_and_its_scaled_value_are_those_of_their_definitions(tiny_cnn, images):
    found = HessianProbe(vectors=4, k=0, density_steps=0)(tiny_cnn, images(n=8))
    samples, scalars = found.arrays["trace_samples"], found.scalars
    assert scalars["trace_se"] == pytest.approx(samples.std(ddof=1) / 2)
    mean_eigenvalue = scalars["trace"] / found.meta["parameters"]
    assert scalars["trace_scaled"] == pytest.approx(mean_eigenvalue * scalars["weight_norm"] ** 2)
