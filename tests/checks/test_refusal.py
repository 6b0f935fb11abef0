"""The error of a builder becomes a problem at the key that is meant, by what the error carries, not by its wording."""

import pickle

import pytest

from kdbias.checks.plan import refusal
from kdbias.config.errors import ArgumentError, Problem
from kdbias.models.patches import require_tiled


@pytest.mark.parametrize(
    ("key", "error", "expected"),
    [
        ("loss.cka", ArgumentError("axis", "must be token"), Problem("loss.cka.axis", "must be token")),
        ("teacher.model", ArgumentError("layers", "[9]"), Problem("teacher.layers", "[9]")),
        ("teacher.model", ArgumentError("name", "no x", of="model"), Problem("teacher.model.name", "no x")),
        ("model", ArgumentError("name", "two\n  lines"), Problem("model.name", "two lines")),
        # a colon after one word makes no argument of it
        ("model", ValueError("timm: has no such network"), Problem("model", "timm: has no such network")),
        ("model", RuntimeError("Expected: 3 channels"), Problem("model", "Expected: 3 channels")),
        ("callback.x", ValueError(), Problem("callback.x", "ValueError")),
    ],
)
def test_the_key_comes_from_the_error(key: str, error: Exception, expected: Problem) -> None:
    assert refusal(key, error) == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [(ArgumentError("axis", "must be token"), "axis: must be token"), (ArgumentError("a", "b", of="c.d"), "c.d.a: b")],
)
def test_its_message_is_the_argument_and_the_text_in_another_process_too(error: ArgumentError, text: str) -> None:
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (str(each), each.argument, each.text) == (text, error.argument, error.text)
        assert isinstance(each, ValueError)


@pytest.mark.parametrize(
    ("side", "patch", "near"), [(30, 14, "28 or 42"), (225, 16, "224 or 240"), (5, 8, "8"), (15, 8, "8 or 16")]
)
def test_patches_tile_or_the_sizes_that_they_would_are_named(side: int, patch: int, near: str) -> None:
    with pytest.raises(
        ArgumentError, match=f"^size: {side} px are not divided by the patch of {patch} px: use {near}$"
    ):
        require_tiled(side, patch)
    for size in map(int, near.split(" or ")):
        require_tiled(size, patch)
