"""What every probe of conf/probe must keep: the tests list the folder, so a new yaml is tested because it exists."""

import io
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from kdbias.checks.check import check
from kdbias.config.build import build, target
from kdbias.data.augment import Augment
from kdbias.data.base import ImageData
from kdbias.data.cues import cues
from kdbias.models.deit import vit
from kdbias.models.resnet_cifar import small_cnn
from kdbias.models.teacher import Teacher
from kdbias.report.style import styled
from kdbias.stress.split import StressedSplit

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "probe").glob("*.yaml"))
SMALL = {"images": 24, "bank": 60, "vectors": 2, "k": 1, "density_steps": 6, "steps": 2, "draws": 1, "iterations": 5}
SMALL |= {"stress": ["noise", "shape", "conflict"], "strengths": [0.5, 1.0]}


@pytest.fixture(scope="module")
def data():
    return ImageData(cues(train=100, val=30, test=30), Augment(), batch_size=10, eval_batch_size=12)


@pytest.fixture(scope="module")
def teacher(data):
    torch.manual_seed(1)
    return Teacher(small_cnn(data.info, widths=[4, 8]), "small")


def network_of(family, data):
    torch.manual_seed(0)
    if family == "cnn":
        return small_cnn(data.info, widths=[4, 8])
    return vit(data.info, width=16, depth=2, heads=2, patch=8)


def node_of(name):
    return OmegaConf.to_container(OmegaConf.load(CONF / "probe" / f"{name}.yaml"))[name]


def probe_of(name, data, teacher):
    node = node_of(name)
    node |= {key: value for key, value in SMALL.items() if key in node}
    stressed = StressedSplit(data.source, "test", 24)
    given = {"source": data.source, "data": data, "teacher": teacher, "stressed": stressed}
    return build(node, **{key: given[key] for key in given if key in signature(target(node)).parameters})


def state(network):
    return (
        [(module.training, getattr(module, "fused_attn", None)) for module in network.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()],
        {key: value.clone() for key, value in network.state_dict().items()},
    )


def assert_same(a, b):
    assert a[:3] == b[:3]
    assert all(torch.equal(a[3][key], b[3][key]) for key in a[3])


@pytest.mark.parametrize("family", ["cnn", "vit"])
@pytest.mark.parametrize("name", NAMES)
def test_a_probe_leaves_nothing_behind_and_says_the_same_twice(name, family, data, teacher):
    network, probe = network_of(family, data), probe_of(name, data, teacher)
    before, randomness = state(network.train()), torch.get_rng_state()
    if reason := probe.refuses(network):
        with pytest.raises(ValueError, match=reason.split(":")[0][:30]):
            probe(network, data.batches("test", limit=24))
        assert_same(before, state(network))
        return
    first, second = (probe(network, data.batches("test", limit=24)) for _ in range(2))
    assert_same(before, state(network))
    assert all(parameter.grad is None for parameter in teacher.extractor.parameters())
    assert torch.equal(randomness, torch.get_rng_state())
    assert first.name == name
    assert first.meta["n"] > 0
    assert first.scalars.keys() == second.scalars.keys()
    assert np.array_equal(list(first.scalars.values()), list(second.scalars.values()), equal_nan=True)
    for key, array in first.arrays.items():
        assert np.array_equal(array, second.arrays[key], equal_nan=array.dtype.kind == "f"), key


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_of_a_compiled_network_compiles_nothing(name, data, teacher):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch.compiler.reset()
    network = network_of("vit", data)
    network.compile(backend=backend)
    probe_of(name, data, teacher)(network, data.batches("test", limit=24))
    assert not compiled


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_has_figures_of_several_networks(name, data, teacher):
    probe = probe_of(name, data, teacher)
    module = f"kdbias.report.{name}"
    figures_of = getattr(import_module(module), "figures", None) if find_spec(module) is not None else None
    result = probe(network_of("vit", data), data.batches("test", limit=24))
    if figures_of is None:
        assert result.scalars  # a probe of numbers alone
        return
    results = {"student": [result, result], "control": result, "untrained": result}
    figures = figures_of(results, control="control", initial="untrained")
    assert figures
    for label, figure in figures.items():
        assert label.startswith(name)
        image = io.BytesIO()
        with styled():
            figure.savefig(image, format="png", dpi=40)
        assert image.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", sorted((CONF / "callback").glob("probe_*.yaml")), ids=lambda path: path.stem)
def test_a_callback_runs_the_probe_of_its_name_and_draws_it(path):
    from config_base import composed

    node = OmegaConf.load(path)[path.stem]
    name = path.stem.removeprefix("probe_")
    assert node.name == name
    assert node.get("figure") is None or target({"_target_": node.figure}) is not None
    assert node.probe._target_ == node_of(name)["_target_"]
    chosen = ["experiment=exp1_kl", f"callback=[checkpoint,{path.stem}]", "data=cues", "trainer=cpu"]
    assert check(composed(chosen)) == []
