"""The demo's page: how much of a teacher's known preference a student inherited, and its cost in accuracy."""

from __future__ import annotations

from collections.abc import Mapping

from kdbias.report.demo_examples import demo_examples
from kdbias.report.demo_figures import demo_panels
from kdbias.report.demo_results import DemoResults
from kdbias.report.demo_tables import gain_table, index_table, networks_table
from kdbias.report.demo_words import ATTENTION, CUES, QUESTION, TRAINING, attention_sentence, headline, lead
from kdbias.report.page import Examples, Image, Panel, Section, page

TITLE = "Shape or texture: what a student takes over from its teacher"


def demo_page(measured: DemoResults, panels: Mapping[str, Panel] | None = None) -> str:
    """Write the page from ``panels``, which are drawn if they are not given; it refers to nothing outside it."""
    panels = demo_panels(measured) if panels is None else panels
    return page(
        TITLE,
        [
            _cues(measured, panels),
            _attention(measured, panels),
            Section(
                "Training",
                [
                    TRAINING,
                    Image(
                        [panels["training-accuracy"], panels["training-loss"]],
                        "Validation images are as contradictory as the training images of each, so the teacher's are "
                        "others than those of student and control.",
                    ),
                ],
            ),
            Section("How it was made", measured.how),
        ],
        opening=[QUESTION, _examples(measured), headline(measured)],
    )


def _examples(measured: DemoResults) -> Examples:
    count = int(measured.teacher.cues.meta["n"])
    note = f"The first of {count:,} images, not chosen. Neither: the answer is a third class."
    return Examples(demo_examples(measured), note)


def _cues(measured: DemoResults, panels: Mapping[str, Panel]) -> Section:
    """Shape share, accuracy with each cue, and their tables."""
    caption = (
        "First: decisions for the shape, of all for either cue, on cue-conflict images; 95 % intervals over images; "
        "the line is at one half. Second: accuracy with both cues, and where only one is there."
    )
    tables = [table(measured) for table in (networks_table, index_table, gain_table)]
    return Section(
        "Shape or texture", [CUES, lead(measured), Image([panels["shape-share"], panels["accuracy"]], caption), *tables]
    )


def _attention(measured: DemoResults, panels: Mapping[str, Panel]) -> Section:
    """How far away the layers of the transformers attend."""
    n = len(measured.student)
    caption = (
        "Mean attention distance of each layer, in patches, on the same test images. "
        + (f"The band goes from the lowest to the highest of {n} seeds. " if n > 1 else "")
        + "The axis is drawn around the line of uniform attention, not from 0."
    )
    return Section(
        "Where attention looks", [ATTENTION, attention_sentence(measured), Image([panels["attention"]], caption)]
    )
