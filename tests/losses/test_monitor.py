"""The monitor of collapse compares with what it saw first."""

import warnings

import pytest
import torch

from kdbias.losses.monitor import CollapseMonitor


def test_the_monitor_compares_with_the_first_variance_whatever_its_size():
    monitor, tokens = CollapseMonitor("x"), 0.01 * torch.randn(6, 5, 7)
    monitor.remember(monitor.row(tokens))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor(tokens)
    other = CollapseMonitor("x")
    other.remember(other.row(100 * tokens))
    with pytest.warns(UserWarning, match="collapses"):
        other(30 * tokens)
