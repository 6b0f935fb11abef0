"""The first cue-conflict images of the demo, with the answers of teacher, control and student."""

from __future__ import annotations

from kdbias.probes.base import Result
from kdbias.report.demo_results import DemoResults
from kdbias.report.page import Example


def demo_examples(measured: DemoResults) -> list[Example]:
    """Give the images that ``measured`` shows, with what each network goes by; of several seeds, the first."""
    networks = {
        "teacher": measured.teacher.cues,
        "control": measured.control[0].cues,
        "student": measured.student[0].cues,
    }
    return [_example(measured, networks, place) for place in range(len(measured.shown))]


def goes_by(cues: Result, place: int) -> str:
    """Say which cue the answer to image number ``place`` names: ``shape``, ``texture`` or ``neither``."""
    answer = cues.arrays["answer"][place]
    named = [cue for cue in ("shape", "texture") if cues.arrays[cue][place] == answer]
    return named[0] if named else "neither"


def _example(measured: DemoResults, networks: dict[str, Result], place: int) -> Example:
    cues = measured.teacher.cues.arrays
    shape, texture = measured.shapes[cues["shape"][place]], measured.textures[cues["texture"][place]]
    answers = {name: goes_by(found, place) for name, found in networks.items()}
    said = ", ".join(f"the {name} names {_of(answer)}" for name, answer in answers.items())
    caption = f"{shape} filled with {texture}"
    return Example(measured.shown[place], caption, answers, f"Image {place + 1}: a {caption}; {said}.")


def _of(answer: str) -> str:
    return answer if answer == "neither" else f"the {answer}"
