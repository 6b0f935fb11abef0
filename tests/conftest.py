"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

from kdbias.batch import DataInfo

torch.set_num_threads(1)  # tests are small: a second thread costs more than it brings


@pytest.fixture
def tiny_info() -> DataInfo:
    """A data set of ten classes of 32-pixel colour pictures."""
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
    """A folder with the real CIFAR-10 and MNIST; named by KDBIAS_SHARED, else the test is skipped."""
    folder = os.environ.get("KDBIAS_SHARED")
    if not folder:
        pytest.skip("KDBIAS_SHARED names no folder with real data")
    return Path(folder)
