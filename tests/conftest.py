"""Fixtures shared by all tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from read_once import read_configs_once

from kdbias.batch import DataInfo
from kdbias.config import build

OUTSIDE = {"shared_data": "KDBIAS_SHARED", "shared_weights": "KDBIAS_SHARED_WEIGHTS"}
"""Fixtures that are folders from outside, and the environment variable that names each."""

LONG = (
    "data/test_cues_truth.py",
    "test_end_to_end.py",
    "test_experiments.py",
    "losses/test_loss_contract.py",
    "controls/test_controls_experiments.py",
    "models/test_timm_families.py",
    "probes/test_every_probe.py",
    "modules/test_distill.py",
    "modules/test_heartbeat.py",
    "analysis/test_tasks.py",
    "test_howto.py",
    "test_benchmarks.py",
    "modules/test_distill_terms.py",
    "report/test_figures.py",
    "checks/test_shape.py",
    "modules/test_capd_module.py",
    "models/test_resnet_cifar.py",
    "test_faults.py",
    "runs/test_teacher_recipe.py",
    "callbacks/test_termination.py",
    "modules/test_sskd_head.py",
    "checks/test_methods.py",
    "analysis/test_study.py",
    "checks/test_check.py",
    "test_presets.py",
    "api/test_probing.py",
    "api/test_distil.py",
    "test_docs.py",
    "test_benchmarks_speed.py",
    "data/test_stress_views.py",
    "runs/test_sweep.py",
    "callbacks/test_probe_callback.py",
    "test_study_runs.py",
    "test_zoo.py",
    "modules/test_distill_crd.py",
    "modules/test_keep_answers.py",
    "controls/test_controls_check.py",
    "controls/test_controls_teachers.py",
    "modules/test_ssl.py",
    "controls/test_controls_matched.py",
    "modules/test_manual_steps.py",
    "checks/test_methods_capd.py",
    "modules/test_sskd_module.py",
    "analysis/test_side_by_side.py",
    "analysis/test_tasks_cache.py",
    "report/test_family_figures.py",
    "config/test_paths.py",
    "modules/test_ssl_runs.py",
    "models/test_features.py",
    "runs/test_runs_pretrained.py",
    "models/test_checkpoint_attack.py",
    "modules/test_checkpoint_io.py",
    "models/test_family.py",
    "probes/test_probe_hessian.py",
    "report/test_figures_teacher.py",
    "probes/test_probe_cache.py",
    "models/test_timm_network.py",
    "models/test_model_configs.py",
    "test_package.py",
    "controls/test_controls_none.py",
    "losses/test_losses_crd.py",
)
"""Files of more than five seconds, the longest first. Workers begin with them, so that short ones fill the end, when
one worker would wait for the other; ``make test-fast`` leaves them out."""

HERE = Path(__file__).resolve().parent
PLACES = {HERE / name: place for place, name in enumerate(LONG)}

read_configs_once()
torch.set_num_threads(1)  # tests are small: a second thread costs more than it brings


@pytest.fixture(autouse=True)
def allowed_alone() -> Iterator[None]:
    """Forget the packages that a test, or a command in it, allowed configs to name."""
    before = build._allowed[:]
    yield
    build._allowed[:] = before


@pytest.fixture(scope="session")
def tiny_info() -> DataInfo:
    """A data set of ten classes of 32-pixel colour images."""
    return DataInfo(
        channels=3,
        size=32,
        classes=10,
        names=tuple("abcdefghij"),
        train=100,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder with the real CIFAR-10 and MNIST."""
    return Path(os.environ[OUTSIDE["shared_data"]])


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """A folder with weights in circulation."""
    return Path(os.environ[OUTSIDE["shared_weights"]])


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a name in ``LONG`` that no file has any more: its file would be taken for a short one."""
    missing = [name for name in LONG if not (HERE / name).is_file()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py: LONG names files that are not there: {', '.join(missing)}")


@pytest.hookimpl(tryfirst=True)  # before pytest's own reads -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that want a folder the environment does not name; put long files first, and mark them slow."""
    absent = {fixture for fixture, variable in OUTSIDE.items() if not os.environ.get(variable)}
    left_out = [item for item in items if absent.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=_place)
    for item in items:
        if _place(item) < len(LONG):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Have the collector of garbage look no more at what is there before the first test: it lives to the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give it back: what is left at the end of the process, libraries report as leaks."""
    gc.unfreeze()


def _place(item: pytest.Item) -> int:
    return PLACES.get(item.path, len(LONG))
