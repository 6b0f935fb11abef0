import json
import math

import numpy as np
import pytest
import torch

from kdbias.models.attention_path import attention_modules
from kdbias.models.evaluation import evaluation
from kdbias.probes.accuracy import AccuracyProbe
from kdbias.probes.attention import AttentionProbe
from kdbias.probes.base import Result
from kdbias.probes.cka import CKAProbe

PROBES = [AccuracyProbe(), AttentionProbe(), CKAProbe(), CKAProbe(tokens="cls")]


def test_a_result_comes_back_from_its_files(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.array(4.136), "c": np.array([True, False])}
    result = Result("x", {"one": 1 / 3, "none": math.nan, "far": math.inf}, arrays, {"n": 3, "grid": [2, 2]})
    path = result.save(tmp_path / "probes")
    again = Result.load(tmp_path / "probes", "x")
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.json", "x.npz"]
    assert again.meta == result.meta
    assert again.scalars["one"] == 1 / 3
    assert math.isnan(again.scalars["none"])
    assert again.scalars["far"] == math.inf
    for name, array in arrays.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)
    json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


def state(network):
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in network.modules()]
    modes = [m.training for m in network.modules()]
    paths = [m.fused_attn for m in attention_modules(network)]
    return hooks, modes, paths, [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe.name}-{getattr(probe, 'tokens', '')}")
def test_a_probe_leaves_the_network_as_it_was_and_repeats_itself(probe, tiny_vit, images):
    tiny_vit.network.blocks[1].eval()  # modes may differ between modules
    tiny_vit.network.blocks[2].attn.fused_attn = True
    before, weights = state(tiny_vit), {k: v.clone() for k, v in tiny_vit.state_dict().items()}
    random = torch.random.get_rng_state()
    first, second = probe(tiny_vit, images()), probe(tiny_vit, images())
    assert state(tiny_vit) == before
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(v, weights[k]) for k, v in tiny_vit.state_dict().items())
    assert first.scalars == second.scalars
    assert first.meta == second.meta
    assert first.meta["n"] == 24
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])


@pytest.mark.parametrize("probe", PROBES[:3], ids=lambda probe: probe.name)
def test_batch_size_does_not_matter(probe, tiny_vit, images):
    whole, parts = probe(tiny_vit, images(size=24)), probe(tiny_vit, images(size=7))
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(parts.arrays[name], array, rtol=1e-5, atol=1e-6)


def test_evaluation_is_fp32_inside_autocast_and_undone_after_an_error(tiny_vit):
    before = state(tiny_vit)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with evaluation(tiny_vit):
            assert not tiny_vit.network.blocks[0].training
            assert not torch.is_grad_enabled()
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        with pytest.raises(KeyError), evaluation(tiny_vit):
            raise KeyError
        with evaluation(tiny_vit, "bf16"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert state(tiny_vit) == before
    assert torch.is_grad_enabled()


def test_fp32_is_not_tf32_and_the_setting_comes_back(tiny_vit):
    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = settings()
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        with evaluation(tiny_vit):
            assert settings() == ("highest", False)
        assert settings() == ("high", True)
        with evaluation(tiny_vit, "bf16"):
            assert settings() == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1]", "3", "null", "[" * 100_000, "\udcff",
        '{"name": 1, "scalars": {}, "meta": {}}', '{"name": "x", "scalars": [], "meta": {}}',
        '{"name": "x", "scalars": {}, "meta": [1]}', '{"name": "x", "scalars": {}}',
        '{"name": "x", "scalars": {"a": null}, "meta": {}}', '{"name": "x", "scalars": {"a": [1]}, "meta": {}}',
        '{"name": "x", "scalars": {"a": "word"}, "meta": {}}', '{"name": "x", "scalars": {"a": true}, "meta": {}}',
        '{"name": "x", "scalars": {"a": 1' + "0" * 400 + '}, "meta": {}}',
        '{"name": "x", "scalars": {"a": 1' + "0" * 5000 + '}, "meta": {}}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_result_is_named(tmp_path, text):
    Result("x", {"a": 1.0}, {}, {"n": 1}).save(tmp_path)
    (tmp_path / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"x\.json"):
        Result.load(tmp_path, "x")
