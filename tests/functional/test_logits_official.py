"""Losses on logits against numbers of the official code, in fp64, on inputs that a formula makes.

DKD: ``mdistiller/distillers/DKD.py`` of megvii-research/mdistiller. Standardised KL: ``normalize`` and ``kd_loss`` of
``mdistiller/distillers/KD.py`` of sunshangquan/logit-standardization-KD.
"""

import pytest
import torch
from torch.testing import assert_close

from kdbias.functional import dkd, soft_kl
from kdbias.functional.logits.kl import standardize_logits

EXACT = {"rtol": 1e-12, "atol": 1e-14}


@pytest.fixture
def logits():
    grid = torch.arange(20, dtype=torch.float64).reshape(4, 5)
    return (torch.sin(1.3 * grid) * 2).requires_grad_(), torch.cos(0.7 * grid) * 3


def test_dkd(logits):
    student, teacher = logits
    loss = dkd(student, teacher, torch.tensor([0, 2, 4, 1]), alpha=1.0, beta=8.0, temperature=4.0)
    loss.backward()
    gradient = [-0.15119890378769793, -0.37818347318954054, 0.25055191312813513]
    gradient += [0.015215029433067868, 0.2636154344160358]
    assert_close(loss.item(), 22.12668131708065, **EXACT)
    assert_close(student.grad[0].tolist(), gradient, **EXACT)


def test_standardised_kl(logits):
    student, teacher = logits
    loss = soft_kl(standardize_logits(student), standardize_logits(teacher), temperature=2.0)
    loss.backward()
    gradient = [-0.04219419131268804, 0.00894403011715218, 0.014012065880064702]
    gradient += [0.005900470676424967, 0.013337624639046189]
    assert_close(loss.item(), 0.7707250305558068, **EXACT)
    assert_close(student.grad[0].tolist(), gradient, **EXACT)
