"""Where controls measure a teacher."""

import pytest
import torch

from kdbias.controls.accuracy import device_of


@pytest.mark.parametrize(
    ("devices", "rank", "index"),
    [(1, 0, 0), (4, 3, 3), ("auto", 1, 1), ("2", 1, 1), ([3], 0, 3), ([1, 3], 1, 3), ("2,", 0, 2), ("0, 2", 1, 2)],
)
def test_a_teacher_is_measured_on_the_gpu_of_its_process(monkeypatch, devices, rank, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    trainer = {"accelerator": "auto", "devices": devices}
    assert device_of({"trainer": trainer}) == torch.device("cuda", index)
    assert device_of({"trainer": trainer | {"accelerator": "cpu"}}) == torch.device("cpu")
