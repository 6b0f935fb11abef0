"""A warning about the run is one line; one of another package has its place in the code."""

import pytest

from kdbias.cli import one_line


@pytest.mark.parametrize("place", ["/usr/lib/python3.12/functools.py", "/x/site-packages/kdbias/data/cifar.py"])
def test_a_warning_about_the_run_is_one_line(place):
    assert one_line("3 images\x1b[2J skipped", UserWarning, place, 7) == "warning: 3 images?[2J skipped\n"


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (UserWarning, "/x/site-packages/torch/nn.py"),
        (UserWarning, "/home/me/kdbias/.venv/lib/python3.12/site-packages/torch/nn.py"),
        (UserWarning, "/usr/lib/python3/dist-packages/torch/nn.py"),
        (FutureWarning, "a.py"),
    ],
)
def test_a_warning_of_another_package_or_kind_has_its_place(kind, place):
    assert one_line("soon gone", kind, place, 7).startswith(f"{place}:7: {kind.__name__}: soon gone")
