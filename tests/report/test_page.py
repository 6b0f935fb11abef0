import base64
import re
from html.parser import HTMLParser

import matplotlib as mpl
from matplotlib.figure import Figure

from kdbias.report.page import Code, Image, Section, page
from kdbias.report.style import rendered
from kdbias.report.table import Column, Table

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
            Section("Result", ["First.\n\nSecond <b>.", table, Image(small_figure(), 'distance, "uniform" line')]),
            Section("Command", [Code("python train.py a<b")]),
        ],
        lead="About half came along.",
    )
    reader = read(text)
    names = [tag for tag, _ in reader.tags]
    assert [names.count(tag) for tag in ("h1", "h2", "table", "img", "pre", "script", "link")] == [1, 2, 1, 1, 1, 0, 0]
    assert ("p", {"class": "lead"}) in reader.tags
    for part in ("Shape & texture", "First.", "Second <b>.", "control <a>", "python train.py a<b"):
        assert part in reader.text
    assert not re.search(r"https?:|url\(|@import", text)
    image = next(attrs for tag, attrs in reader.tags if tag == "img")
    assert image["alt"] == 'distance, "uniform" line'
    assert image["width"] == "192"
    data = image["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data, validate=True) == rendered(small_figure())


def test_the_same_parts_give_the_same_page_and_leave_matplotlib_alone():
    before = dict(mpl.rcParams)
    pages = [page("t", [Section("s", [Image(small_figure(), "c")])]) for _ in range(2)]
    assert pages[0] == pages[1]
    assert dict(mpl.rcParams) == before
