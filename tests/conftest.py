"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

from kdbias.batch import DataInfo

OUTSIDE = {"shared_data": "KDBIAS_SHARED", "shared_weights": "KDBIAS_SHARED_WEIGHTS"}
"""Fixtures that are folders from outside, and the environment variable that names each."""

torch.set_num_threads(1)  # tests are small: a second thread costs more than it brings


@pytest.fixture
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that want a folder from outside which the environment does not name."""
    absent = {fixture for fixture, variable in OUTSIDE.items() if not os.environ.get(variable)}
    left_out = [item for item in items if absent.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
