from types import SimpleNamespace

import pytest

from kdbias.callbacks.due import due


def epochs(every: int, val_every: int | None, most: int | None, until: int = 12) -> list[int]:
    """The epochs, counted from 1, after which it is time."""
    found = []
    for epoch in range(val_every or 1, until + 1, val_every or 1):
        trainer = SimpleNamespace(current_epoch=epoch - 1, check_val_every_n_epoch=val_every, max_epochs=most)
        found += [epoch] if due(trainer, every) else []
    return found


@pytest.mark.parametrize(
    ("every", "val_every", "most", "expected"),
    [
        (5, 1, 12, [5, 10, 12]),
        (5, 2, 12, [6, 10, 12]),  # 5 and 10 lie in the epochs since the validation before
        (10, 2, 9, [8]),  # the last validation
        (3, 6, 12, [6, 12]),
        (4, None, 12, [4, 8, 12]),
        (4, 1, None, [4, 8, 12]),
        (4, 1, -1, [4, 8, 12]),  # without end
    ],
)
def test_every_so_many_epochs_and_last(every, val_every, most, expected):
    assert epochs(every, val_every, most, until=most if most and most > 0 else 12) == expected
