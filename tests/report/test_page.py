import base64
import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from kdbias.report.page import Answer, Answers, Code, Example, Examples, Image, Panel, Prose, Section, page
from kdbias.report.scheme import DARK, LIGHT, adaptive
from kdbias.report.style import COLOURS, canvas, styled
from kdbias.report.table import Column, Table

EXAMPLE = Example(np.zeros((4, 4, 3), np.uint8), "a square", {"teacher": "shape"}, "a square of 1 colour")
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps the tags, their attributes and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def small_figure():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


def read(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_a_page_holds_everything_and_refers_to_nothing_outside():
    table = Table("Accuracy", [Column("network"), Column("value")], [["control <a>", 0.5]])
    text = page(
        "Shape & texture",
        [
            Section(
                "Result",
                ["First.\n\nSecond <b>.", table, Image([Panel(small_figure(), 'a line to 1, "uniform"')], "at 9 %")],
            ),
            Section("Command", [Code("python train.py a<b")]),
        ],
        opening=[
            Prose("An *index* is 1."),
            Answers([Answer("not decided", "Not decided", "It <gains>.", "+42 % [1, 83]")]),
            Examples([EXAMPLE], "first of 9"),
        ],
    )
    reader = read(text)
    names = [tag for tag, _ in reader.tags]
    assert [names.count(tag) for tag in ("h1", "h2", "table", "img", "dfn", "pre", "script", "link")] == [
        1,
        2,
        1,
        2,
        1,
        1,
        0,
        0,
    ]
    assert ("li", {"class": "not-decided"}) in reader.tags
    for part in (
        "Shape & texture",
        "First.",
        "Second <b>.",
        "control <a>",
        "python train.py a<b",
        "Not decided:",
        " It <gains>. ",
        "+42\N{NO-BREAK SPACE}% [1, 83].",
    ):
        assert part in reader.text
    assert not re.search(r"https?:|url\(|@import", text)
    example, image = (attrs for tag, attrs in reader.tags if tag == "img")
    assert example["alt"] == "a square of 1 colour"
    assert base64.b64decode(example["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert image["alt"] == 'a line to 1, "uniform"'
    assert image["width"] == "192"
    data = image["src"].removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(data, validate=True).decode() == adaptive(small_figure())


def test_the_same_parts_give_the_same_page_and_leave_matplotlib_alone():
    before = dict(mpl.rcParams)
    pages = [page("t", [Section("s", [Image([Panel(small_figure(), "a")], "c")])]) for _ in range(2)]
    assert pages[0] == pages[1]
    assert dict(mpl.rcParams) == before


def test_tables_scroll_without_title_and_notes():
    text = Table("Accuracy", [Column("network")], [["control"]], "3 seeds").html()
    box = text[text.index('<div class="scroll">') : text.index("</div>")]
    assert "control" in box
    assert "<p" not in box
    assert "3 seeds" not in box
    assert text.count("Accuracy") == 2  # above the box, and for those who do not see it


def test_house_colours_of_a_figure_follow_the_reader():
    with styled():
        figure, axes = canvas()
        axes.plot([0, 1], color=COLOURS[0])
    drawn = adaptive(figure)
    begin = drawn.index("<style>")
    end = drawn.index("</style>", begin)
    sheet, body = drawn[begin:end], drawn[:begin] + drawn[end:]
    assert "prefers-color-scheme: dark" in sheet
    assert not [value for value in LIGHT.values() if value in body]
    assert {"var(--ink)", "var(--c0)"} <= set(re.findall(r"var\(--\w+\)", body))
    assert LIGHT.keys() == DARK.keys()
    assert "<text" not in body  # outlines: no name grows where a font is missing
