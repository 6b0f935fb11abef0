"""Cue-conflict images, with the answers of a few networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from kdbias.probes.base import Result
from kdbias.report.page import Example


def cue_examples(
    shown: npt.NDArray[Any], networks: Mapping[str, Result], shapes: Sequence[str], textures: Sequence[str]
) -> list[Example]:
    """Give the images ``shown`` ``(k, H, W, 3)`` uint8 with what each network goes by.

    They are the first of those that the Results of a ``CueProbe``, by the network's name, are about. ``shapes`` and
    ``textures`` are the names of the classes' cues.
    """
    return [_example(image, networks, place, shapes, textures) for place, image in enumerate(shown)]


def goes_by(cues: Result, place: int) -> str:
    """Say which cue the answer to image number ``place`` names: ``shape``, ``texture`` or ``neither``."""
    answer = cues.arrays["answer"][place]
    named = [cue for cue in ("shape", "texture") if cues.arrays[cue][place] == answer]
    return named[0] if named else "neither"


def _example(
    image: npt.NDArray[Any],
    networks: Mapping[str, Result],
    place: int,
    shapes: Sequence[str],
    textures: Sequence[str],
) -> Example:
    cues = next(iter(networks.values())).arrays
    caption = f"{shapes[cues['shape'][place]]} filled with {textures[cues['texture'][place]]}"
    answers = {name: goes_by(found, place) for name, found in networks.items()}
    said = ", ".join(f"the {name} names {_of(answer)}" for name, answer in answers.items())
    return Example(image, caption, answers, f"Image {place + 1}: a {caption}; {said}.")


def _of(answer: str) -> str:
    return answer if answer == "neither" else f"the {answer}"
