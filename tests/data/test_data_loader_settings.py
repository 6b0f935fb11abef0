"""The group ``loader``, and what else decides how images are fed, as the config names it."""

import pytest
import torch
from config_base import assert_named_once, composed, config

from kdbias.checks import values
from kdbias.checks.check import check
from kdbias.config import conf
from kdbias.config.spec import plain, spec_hash
from kdbias.data.resident import Resident
from kdbias.data.workers import Workers
from kdbias.train import build_data

RESIDENT = {"_target_": "kdbias.data.resident.Resident", "repeats": 1, "prefetch": True}
WORKERS = {"_target_": "kdbias.data.workers.Workers", "num_workers": 2, "prefetch_factor": 2}
MISTAKES = {
    "no repeats": ({"loader": RESIDENT | {"repeats": 0}}, "loader.repeats", ("at least 1", "got 0")),
    "prefetch in words": ({"loader": RESIDENT | {"prefetch": "yes"}}, "loader.prefetch", ("true or false",)),
    "workers of the resident": ({"loader": RESIDENT | {"num_workers": 2}}, "loader.num_workers", ("takes no",)),
    "fewer than no workers": ({"loader": WORKERS | {"num_workers": -1}}, "loader.num_workers", ("got -1",)),
    "half a worker": ({"loader": WORKERS | {"num_workers": 0.5}}, "loader.num_workers", ("got 0.5",)),
    "nothing ahead": ({"loader": WORKERS | {"prefetch_factor": 0}}, "loader.prefetch_factor", ("got 0",)),
    "an unknown start": ({"loader": WORKERS | {"start": "thread"}}, "loader.start", ("fork, spawn, forkserver",)),
}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    conf.register()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(("changes", "key", "parts"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_once(changes, key, parts):
    assert_named_once(changes, key, parts)


def test_images_that_do_not_fit_into_memory_are_sent_to_workers(monkeypatch):
    needed = 600 * 3 * 32 * 32  # 500 to train on and 100 to validate
    monkeypatch.setattr(values, "_memory", lambda cpu: 2 * needed - 1)
    assert_named_once({"loader": RESIDENT}, "loader", ("more than half of main memory: use loader=workers",))
    assert check(config({"loader": WORKERS})) == []
    monkeypatch.setattr(values, "_memory", lambda cpu: 2 * needed)
    assert check(config({"loader": RESIDENT})) == []
    changes = {"loader": RESIDENT, "trainer.devices": 2}  # each process holds its own
    assert_named_once(changes, "loader", ("in 2 processes, more than half of main memory",))


def test_memory_is_counted_in_bytes():
    assert 2**28 < values._memory(cpu=True) < 2**50


@pytest.mark.parametrize("name", ["resident", "workers"])
def test_each_loader_is_built_as_the_config_says(name):
    data = build_data(plain(composed(["data=cues", f"loader={name}", "loader.repeats=2"])))
    assert data.loader == {"resident": Resident(2, True), "workers": Workers(2, 4, 2, None)}[name]


def test_the_strong_recipe_repeats_images_in_batches_of_256_and_is_else_the_default():
    default, strong = composed(["data=cues"]), composed(["data=cues", "optim=strong"])
    assert (strong.batch_size, strong.loader.repeats) == (256, 3)
    assert strong.optim == default.optim
    strong.batch_size, strong.loader.repeats = default.batch_size, 1
    assert strong == default
    assert composed(["optim=strong", "loader=workers"]).loader.repeats == 3
    assert composed(["optim=strong", "batch_size=128", "loader.repeats=2"]).batch_size == 128
    assert composed(["optim=strong", "optim/schedule=cyclic"]).optim.schedule.cycles == 4


def test_a_folder_of_images_needs_its_root():
    assert check(composed(["data=image_folder", "loader=workers"])) == [
        "data.root is not set: it must hold train/ and val/ or test/, each with one folder of images per class"
    ]
    (problem,) = check(composed(["data=image_folder", "data.root=/not/there", "loader=workers"]))
    assert problem.startswith("data.root=/not/there has no folder train: it must hold train/ and val/ or test/")


def test_runs_on_two_folders_are_two_runs_unless_the_folders_have_one_name():
    def key(root, *more):
        return spec_hash(composed(["data=image_folder", f"data.root={root}", *more]))

    assert key("/a") != key("/b")
    assert key("/a", "data.name=birds") == key("/b", "data.name=birds") != key("/a")
