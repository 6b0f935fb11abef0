"""What a child process sees of its parent."""

import os
import sys

import pytest

from kdbias.runs import process


@pytest.mark.parametrize(
    "name", ["SLURM_NTASKS", "SLURM_PROCID", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "ROLE_NAME"]
)
def test_a_child_is_no_task_of_its_parents_job(name, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "2")
    monkeypatch.setenv("OTHER", "kept")
    code = f"import os; print(os.environ.get({name!r}), os.environ['OTHER'])"
    assert process.run([sys.executable, "-c", code], log=tmp_path / "log") == 0
    assert (tmp_path / "log").read_text().split() == ["None", "kept"]
    assert os.environ[name] == "2"
