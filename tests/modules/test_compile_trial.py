"""compile: auto: a run's own steps decide whether its networks are compiled."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dynamo import config as dynamo
from torch._dynamo.backends.common import aot_autograd
from torch._functorch import config as backward

from kdbias.checks.early import plain_problems
from kdbias.data.cues import cues
from kdbias.modules.compile_trial import STEPS, WARM, Trial
from kdbias.modules.distill import Distill

EACH = WARM + STEPS


class Network(nn.Linear):
    """Compiles by ``backend``; without one, it notes that it is compiled."""

    backend = None

    def __init__(self):
        super().__init__(3, 2)

    def compile(self, *args, **kwargs):
        if isinstance(self.backend, Exception):
            raise self.backend
        self._compiled_call_impl = self._call_impl
        if self.backend is not None:
            super().compile(backend=self.backend)


def run(plain, compiled, left=10_000, slow=(), warming=0.0):
    """Do the steps of a trial; give it, its network, and the steps that it has watched."""
    network, now = Network(), [0.0]
    trial = Trial([network], lambda: left, torch.device("cpu"), clock=lambda: now[0])
    for step in range(3 * EACH):
        trial.before_step()
        if trial.over:
            return trial, network, step
        running = network._compiled_call_impl is not None
        now[0] += (compiled if running else plain) + (100.0 if step in slow else 0.0)
        now[0] += warming if step in (EACH + 1, EACH + 2) else 0.0
    raise AssertionError("it does not end")


def test_a_faster_compiled_step_is_kept_whatever_compiling_and_validation_take():
    trial, network, steps = run(1.0, 0.8, slow=(WARM + 2, EACH + WARM + 4), warming=80.0)
    assert network._compiled_call_impl is not None
    assert trial.said == "compiled from now on: a step takes 1000.0 ms as it is and 800.0 ms compiled"
    assert steps == 2 * EACH + 1


@pytest.mark.parametrize("compiled", [0.99, 1.0, 1.4])
def test_a_step_that_is_hardly_faster_is_taken_back(compiled):
    trial, network, _ = run(1.0, compiled)
    assert network._compiled_call_impl is None
    assert trial.said.startswith("not compiled: a step takes 1000.0 ms as it is and ")


def test_a_short_run_is_not_compiled():
    trial, network, steps = run(1.0, 0.5, left=1199)
    assert network._compiled_call_impl is None
    assert steps == EACH
    assert trial.said == "not tried: the rest of the run takes 1199 s as it is; it is for 1200 s or more"
    assert run(1.0, 0.5, left=1200)[1]._compiled_call_impl is not None


def fails(graph, inputs):
    raise RuntimeError("no compiler")


def in_backward(graph, inputs):
    return aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=fails)(graph, inputs)


def test_a_compiler_that_is_not_there_does_not_end_the_run():
    """The first network compiles, the second does not: neither is compiled after it."""
    first, second = Network(), Network()
    second.backend = RuntimeError("not supported on this Python\nmore")
    now = itertools.count()
    trial = Trial([first, second], lambda: 10**6, torch.device("cpu"), clock=lambda: float(next(now)))
    while not trial.over:
        trial.before_step()
    assert trial.said == "not compiled: not supported on this Python"
    assert first._compiled_call_impl is second._compiled_call_impl is None


@pytest.mark.parametrize("backend", [fails, in_backward])
def test_a_compiler_that_fails_does_not_end_the_run(backend):
    """Neither in the trial nor where the compiled network is kept and meets other sizes, or validates."""
    torch.compiler.reset()
    network, image = Network(), torch.ones(4, 3)
    plain = network(image).detach()
    network.backend, times = backend, iter([1.0] * (EACH + 1) + [0.5] * (EACH + 1))
    now = itertools.accumulate(times)
    trial = Trial([network], lambda: 10**6, torch.device("cpu"), clock=lambda: next(now))
    while not trial.over:
        trial.before_step()
        network(image).sum().backward()
    assert trial.said.startswith("compiled from now on")
    assert network._compiled_call_impl is not None
    assert torch.equal(network(image), plain)
    network(torch.ones(5, 3)).sum().backward()
    with torch.no_grad():
        assert torch.equal(network.eval()(image), plain)
    assert dynamo.suppress_errors is False
    assert getattr(backward, "force_non_lazy_backward_lowering", False) is False


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_one_process_tries_its_networks(processes, capsys):
    info = cues(train=8, val=4, test=4).info
    vit = {"_target_": "kdbias.models.deit.vit", "width": 16, "depth": 1, "heads": 1, "patch": 16}
    spec = {"model": vit, "loss": {"ce": {"_target_": "kdbias.losses.ce.CE"}}, "data": info.to_dict()}
    module = Distill(spec | {"compile": "auto"})
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module._trainer = SimpleNamespace(world_size=processes, strategy=strategy, is_global_zero=True)
    module.setup("test")
    assert module._trial is None
    module.setup("fit")
    assert ("compile=auto: not tried" in capsys.readouterr().out) == (processes == 2)
    assert (module._trial is None) == (processes == 2)
    assert module.student._compiled_call_impl is None
    if processes == 1:
        assert module._trial.networks == [module.student]


@pytest.mark.parametrize(("value", "wrong"), [("auto", False), (True, False), (False, False), ("max", True), (1, True)])
def test_the_check_knows_what_compile_may_be(value, wrong):
    found = [str(problem) for problem in plain_problems({"compile": value}) if "compile" in str(problem)]
    assert bool(found) is wrong
    assert all("must be true, false or auto" in each for each in found)
