"""What every term of conf/loss must keep: the tests list the folder, so a new yaml is tested because it exists."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_pair import make_pair
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from two_processes import gradients, in_two_processes

from kdbias.batch import Batch
from kdbias.config import conf
from kdbias.config.build import build
from kdbias.losses.base import READINGS, LossTerm, Total
from kdbias.models.features import Features

FOLDER = Path(__file__).parents[2] / "conf" / "loss"
FILES = sorted(FOLDER.glob("*.yaml"))
# Settings that make another loss of a term: they keep the contract too. The first word is the file.
VARIANTS = {
    "token two_sided": {"two_sided": True, "projection": "mlp", "dim": 16},
    "token mse": {"distance": "mse", "layers": "last", "by": "index", "teacher_layers": "last"},
    "relation tokens": {"over": "tokens", "layers": "all", "teacher_layers": "all"},
    "relation diagonal": {"diagonal": True},
    "cka sample": {"axis": "sample"},
    "cka rbf": {"kernel": "rbf", "estimator": "debiased"},
    "cka cls": {"axis": "sample", "cls_only": True, "kernel": "rbf"},
    "cka as_published": {"normalize": True},
    "gram as_published": {"as_published": True},
    "cskd soft": {"targets": "soft", "temperature": 2.0},
    "c2vkd batch": {"over": "batch"},
    "c2vkd feature": {"patch": "feature", "reduction": "batchmean", "decoupled_weight": 0.0},
    "crd z_momentum": {"z_momentum": 0.9},
    "rkd squared": {"squared": True},
    "at power": {"power": 1.0},
}
# Settings that fit the small data set. All 90 images of other classes: nothing is left to chance, which differs between
# processes.
SMALL = {"crd": {"negatives": 90}}
NAMES = [*(f.stem for f in FILES), *VARIANTS]


def term_of(name: str) -> LossTerm:
    """Build the term of conf/loss/<name>.yaml as a run would, its interpolations resolved; or a variant of it."""
    key = name.split()[0]
    return build({**settings_of(FOLDER / f"{key}.yaml"), **SMALL.get(key, {}), **VARIANTS.get(name, {})})


@cache
def settings_of(file: Path) -> dict[str, Any]:
    conf.register()
    root = OmegaConf.create({"loss": OmegaConf.load(file)})
    return OmegaConf.to_container(root, resolve=True)["loss"][file.stem]


# A term that compares images with one another gathers across processes instead: see ``gather`` there.
PER_SAMPLE = [name for name in NAMES if not hasattr(term_of(name), "gather")]


PAIRS = {
    "cls": (False, "vit", "vit"),
    "dist": (True, "vit", "vit"),
    "cnn": (False, "cnn", "cnn"),
    "cnn teaches vit": (True, "vit", "cnn"),
    "vit teaches cnn": (False, "cnn", "vit"),
}


@pytest.fixture(scope="module", params=PAIRS.values(), ids=PAIRS.keys())
def networks(request, tiny_info):
    return make_pair(tiny_info, *request.param)


@pytest.fixture
def two(networks):
    """The two networks of all tests, which no test changes but for their gradients."""
    networks.student.zero_grad()
    networks.teacher.zero_grad()
    return replace(networks)


def ready(name: str, two) -> LossTerm:
    term = term_of(name)
    if lacks := two.lacks(term):
        pytest.skip(f"these networks have no {', '.join(lacks)}")
    torch.manual_seed(0)
    two.build(term)
    return term


def run(term: LossTerm, two, batch: Batch, progress: float = 1.0) -> Tensor:
    return term(two.student(batch.image), two.teacher(batch.teacher_image), batch, progress)


def floating(features: Features, dtype: torch.dtype) -> Features:
    def one(value):
        if isinstance(value, tuple):
            return tuple(one(v) for v in value)
        return value.to(dtype) if isinstance(value, Tensor) else value

    return replace(features, **{k: one(v) for k, v in vars(features).items()})


def test_the_folder_is_found():
    assert {"ce", "kl", "hard_kl", "dkd", "token", "relation", "cka", "gram"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_term_has_the_key_of_its_file(name):
    term = term_of(name)
    assert isinstance(term, LossTerm)
    assert any(term.schedule(step / 1000) > 0 for step in range(1000))


@pytest.mark.parametrize("name", NAMES)
def test_finite_scalar_in_fp32(name, two):
    loss = run(ready(name, two), two, two.batch())
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    assert loss.isfinite()
    assert loss != 0


@pytest.mark.parametrize("name", NAMES)
def test_bf16_features_under_autocast_give_what_fp32_gives(name, two):
    """The features are rounded once; the maths is not, whatever the caller's autocast says."""
    term, batch = ready(name, two), two.batch()
    student, teacher = (floating(n(batch.image), torch.bfloat16) for n in (two.student, two.teacher))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = term(student, teacher, batch, 1.0)
    exact = term(floating(student, torch.float32), floating(teacher, torch.float32), batch, 1.0)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, exact)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_the_trunk_and_not_the_teacher(name, two):
    run(ready(name, two), two, two.batch()).backward()
    for parameter in two.trunk.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.norm() > 0
    assert [p.grad for p in two.teacher.parameters()] == [None] * len(list(two.teacher.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_it_owns_learns(name, two):
    """In the total it is registered, so the optimiser sees it."""
    term = ready(name, two)
    total = Total({"x": term})
    assert {id(p) for p in term.parameters()} == {id(p) for p in total.parameters()}
    run(term, two, two.batch()).backward()
    for key, parameter in term.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def state_of(term: LossTerm) -> list[Tensor]:
    """Give a term's buffers."""
    return [buffer.clone() for buffer in term.buffers()]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_function_of_what_it_is_given(name, two):
    """Its state is ``update``'s to write (test_losses_state.py): the same batch gives the same loss again."""
    term = ready(name, two)
    before, losses = state_of(term), []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(run(term, two, two.batch()))
    assert torch.equal(*losses)
    assert all(map(torch.equal, before, state_of(term)))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_labels_work_or_are_refused(name, two):
    term, batch = ready(name, two), two.batch(mixed=True)
    if term.hard:
        with pytest.raises(ValueError, match="MixUp"):
            run(term, two, batch)
    else:
        assert run(term, two, batch).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_needs_is_named(name, two):
    """Without a teacher a run stops when it is built, and says which term asked for what."""
    term = term_of(name)
    assert term.needs - {"hard_target"} <= READINGS
    assert term.student_needs <= READINGS
    if term.needs - {"hard_target"}:
        with pytest.raises(ValueError, match=r"loss\.x: needs a teacher"):
            Total({"x": term}).build(two.student.info, None, two.info)
    else:
        batch = two.batch()
        assert term(two.student(batch.image), None, batch, 1.0).isfinite()


@pytest.mark.parametrize("name", PER_SAMPLE)
@pytest.mark.parametrize("mixed", [False, True])
def test_two_halves_equal_the_whole(name, mixed, two):
    """A per-sample term is a mean over images, so that two processes with half a batch each train as one does."""
    term, batch = ready(name, two), two.batch(mixed=mixed)
    if any(isinstance(module, _BatchNorm) for module in term.modules()):
        pytest.skip("its heads normalise over the batch, as published, and so does a CNN that it trains")
    if mixed and term.hard:
        batch = two.batch(seed=1)
    halves = [Batch(*(part[i : i + 8] for part in batch)) for i in (0, 8)]

    def gradient(loss: Tensor) -> Tensor:
        owned = [*two.trunk.parameters(), *term.parameters()]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, owned)])

    whole, parts = run(term, two, batch), [run(term, two, half) for half in halves]
    torch.testing.assert_close(sum(parts) / 2, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sum(map(gradient, parts)) / 2, gradient(whole), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """What each of two processes with half of the batch gives for every term."""
    return in_two_processes({name: term_of(name) for name in NAMES}, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_as_one_does(name, parts):
    """Under DDP, which averages gradients: with half of the batch each they get the gradient of the whole batch."""
    loss, gradient = gradients(term_of(name))
    losses, found = zip(*(part[name] for part in parts), strict=True)
    assert torch.equal(found[0], found[1])
    assert (found[0] - gradient).norm() < 1e-9 * gradient.norm()
    torch.testing.assert_close(sum(losses) / 2, loss, rtol=1e-9, atol=0)
