"""What a run does not import, and that whatever was put off is the real thing once it is used."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdbias.late import StandIn, eagerly, once_loaded, put_off, uncollected
from kdbias.modules import eager_optim

RUN = """
import builtins, sys
statement = builtins.__import__
sys.argv = ["train.py", "experiment=demo_control", "trainer=smoke", "hydra.run.dir=run"]
from kdbias import cli
cli.train()
late = {"torch._dynamo", "torch.utils.flop_counter", "sympy", "scipy.signal", "scipy.stats", "matplotlib", "skimage"}
print("LOADED", *sorted(late & set(sys.modules)))

import torch, torchmetrics, torchvision, lightning
from lightning.fabric.wrappers import OptimizedModule
from kdbias.late import StandIn
assert builtins.__import__ is statement and torch.compiler.disable.__module__ == "torch.compiler"
assert not [name for name, module in sys.modules.items() if isinstance(module, StandIn)]
linear = torch.nn.Linear(2, 2)
assert not isinstance(linear, OptimizedModule) and not isinstance(linear, (int, OptimizedModule))
compiled = torch.compile(linear, backend="eager")
assert isinstance(compiled, OptimizedModule) and issubclass(type(compiled), OptimizedModule)
assert not isinstance(linear, OptimizedModule)
assert torch.equal(compiled(torch.ones(1, 2)), linear(torch.ones(1, 2)))
box = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), box, 1).item() == 1
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
metric = torchmetrics.MeanMetric()
metric.update(torch.ones(1))
figure, axes = metric.plot()
import matplotlib.figure, scipy.signal
assert type(figure) is matplotlib.figure.Figure and scipy.signal.windows.hamming(3).shape == (3,)
optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
optimizer.zero_grad()
optimizer.step()
print("USED")
"""


def test_a_run_imports_no_compiler_and_no_figures_and_all_that_was_put_off_is_real_when_used(tmp_path):
    environment = {**os.environ, "KDBIAS_ALLOCATOR": "0", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "LOADED\n" in done.stdout
    assert done.stdout.endswith("USED\n")


def test_timm_brings_no_compiler_and_no_hub_whatever_is_imported_before_it():
    first = "import sys; from kdbias.late import put_off\nwith put_off(): import timm\n"
    then = (
        "assert not {'torch._dynamo', 'huggingface_hub.hf_api'} & set(sys.modules)\n"
        "assert timm.layers.disable_compiler(abs)(-1) == 1\n"
        "from timm.models import _hub\n"
        "import huggingface_hub\n"
        "assert isinstance(_hub.HfApi(token='none', library_name='timm'), huggingface_hub.HfApi)"
    )
    done = subprocess.run([sys.executable, "-c", first + then], cwd=Path(__file__).parents[1], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_stand_in_asks_the_real_module_for_all_that_it_does_not_answer():
    found = StandIn("json", {"dumps": 1})
    assert found.dumps == 1
    assert found.loads("[2]") == [2]
    found.close()
    assert found.dumps([2]) == "[2]"


def test_other_import_statements_are_as_ever():
    with put_off():
        import scipy.signal as named
        from torch._dynamo import OptimizedModule
    assert named is sys.modules["scipy.signal"]
    assert OptimizedModule is sys.modules["torch._dynamo"].OptimizedModule


def test_a_decorator_that_waits_for_the_compiler_acts_once_it_is_loaded(monkeypatch):
    def keep(function, recursive=True):
        return lambda *args: ("kept", recursive, function(*args))

    plain, with_options = once_loaded(keep)(abs), once_loaded(keep)(recursive=False)(abs)
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    assert (plain(-1), with_options(-1)) == (1, 1)
    assert type(eagerly()).__name__ == "nullcontext"
    monkeypatch.setitem(sys.modules, "torch._dynamo", object())
    assert (plain(-1), with_options(-1)) == (("kept", True, 1), ("kept", False, 1))


def trained(kind, count=3, **options):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4))
    optimizer = kind(network.parameters(), lr=0.1, weight_decay=0.1, **options)
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append(1))

    def closure():
        optimizer.zero_grad()
        loss = network(torch.ones(2, 5)).square().sum() + sum(p.sum() for p in network.parameters())
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(count)]
    assert len(called) == count  # hooks of a step run once
    return [*(p.detach() for p in network.parameters()), torch.tensor(losses)]


def test_the_optimisers_are_torchs_bit_for_bit():
    for name, options in (("AdamW", {"fused": True}), ("AdamW", {}), ("SGD", {"momentum": 0.9, "nesterov": True})):
        theirs = trained(getattr(torch.optim, name), **options)
        assert all(map(torch.equal, trained(getattr(eager_optim, name), **options), theirs))


def test_imports_are_not_collected_and_what_they_loaded_is_left_out_of_later_collections():
    before = gc.get_freeze_count()
    try:
        with put_off():
            assert not gc.isenabled()
        with pytest.raises(ImportError), put_off():
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
        gc.disable()
        with uncollected():
            pass
        assert not gc.isenabled()  # as the caller had it
    finally:
        gc.unfreeze()
        gc.enable()


CHECK = """
import sys
sys.argv = ["train.py", "experiment=exp1_resnet_kl", "data=cues", "teacher.layers=[77]", "hydra.run.dir=run"]
from kdbias import cli
try:
    cli.train()
finally:
    print("LOADED", *sorted({"matplotlib.axes", "matplotlib.figure"} & set(sys.modules)))
"""


def test_a_check_of_a_run_whose_callbacks_name_figures_imports_none(tmp_path):
    environment = {**os.environ, "KDBIAS_ALLOCATOR": "0", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "teacher.layers: [77]" in done.stderr
    assert done.stdout.endswith("LOADED\n")
