"""A report: text, tables, images and figures in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.image
import numpy.typing as npt
from matplotlib.figure import Figure

from kdbias.report.page_style import CSS
from kdbias.report.scheme import adaptive
from kdbias.report.table import Table


@dataclass(frozen=True)
class Panel:
    """One figure; ``says`` is its result in words, for those who do not see it."""

    figure: Figure
    says: str


@dataclass(frozen=True)
class Image:
    """Figures side by side, or one below the other on a narrow screen, with one caption."""

    panels: Sequence[Panel]
    caption: str


@dataclass(frozen=True)
class Prose:
    """Text in which ``*term*`` marks where a term is explained."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A claim with what became of it: ``verdict`` chooses its colour, ``heading`` says it, ``evidence`` has numbers."""

    verdict: str
    heading: str
    claim: str
    evidence: str


@dataclass(frozen=True)
class Answers:
    """What came out, one claim below the other: the first that a reader sees."""

    answers: Sequence[Answer]


@dataclass(frozen=True)
class Example:
    """One image ``(H, W, 3)`` uint8, its ``caption``, and an answer for each network, by name.

    ``says`` is the same in words, for those who do not see it.
    """

    image: npt.NDArray[Any]
    caption: str
    answers: Mapping[str, str]
    says: str


@dataclass(frozen=True)
class Examples:
    """Images side by side, with a ``note`` below; a narrow screen shows the first three."""

    examples: Sequence[Example]
    note: str


@dataclass(frozen=True)
class Code:
    """Preformatted text, such as the command that made the page."""

    text: str


Part = str | Prose | Answers | Table | Image | Examples | Code


@dataclass(frozen=True)
class Section:
    """A heading and the parts under it, in order; in a ``str`` an empty line begins a new paragraph."""

    heading: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], *, opening: Sequence[Part] = ()) -> str:
    """Write one HTML page with embedded figures, without scripts and references to other files; text is escaped.

    ``opening`` stands under the title; it says what is asked and what came out.
    """
    body = "\n".join([f"<h2>{html.escape(s.heading)}</h2>\n" + "\n".join(map(_part, s.parts)) for s in sections])
    head = "\n".join(map(_part, opening))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{head}\n{body}\n</body>\n</html>\n"
    )


def _part(part: Part) -> str:
    match part:
        case Table():
            return part.html()
        case Image():
            return _image(part)
        case Examples():
            images = "\n".join(map(_example, part.examples))
            return f'<div class="examples">\n{images}\n</div>\n<p class="note">{_text(part.note)}</p>'
        case Answers():
            return '<ul class="answers">\n' + "\n".join(map(_answer, part.answers)) + "\n</ul>"
        case Code():
            return f"<pre>{html.escape(part.text)}</pre>"
        case Prose():
            return re.sub(r"\*([^*]+)\*", r"<dfn>\1</dfn>", _paragraphs(part.text))
        case _:
            return _paragraphs(part)


def _answer(answer: Answer) -> str:
    heading, claim, evidence = (_text(text) for text in (answer.heading, answer.claim, answer.evidence))
    kind = html.escape(answer.verdict.replace(" ", "-"))
    return f'<li class="{kind}"><strong>{heading}:</strong> {claim} <span>{evidence}.</span></li>'


def _image(part: Image) -> str:
    panels = "\n".join(map(_panel, part.panels))
    return (
        f'<figure>\n<div class="panels">\n{panels}\n</div>\n<figcaption>{_text(part.caption)}</figcaption>\n</figure>'
    )


def _panel(panel: Panel) -> str:
    data, width = _data("svg+xml", adaptive(panel.figure).encode()), round(96 * panel.figure.get_figwidth())
    return f'<img alt="{html.escape(panel.says)}" width="{width}" style="--w: {width}px" src="{data}">'


def _example(example: Example) -> str:
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, example.image, format="png", metadata={"Software": "kdbias"})
    answers = "".join(
        f'<dt>{html.escape(name)}</dt><dd class="{html.escape(answer)}">{html.escape(answer)}</dd>'
        for name, answer in example.answers.items()
    )
    return (
        f'<figure>\n<img alt="{html.escape(example.says)}" src="{_data("png", buffer.getvalue())}">\n'
        f"<figcaption>{html.escape(example.caption)}</figcaption>\n<dl>{answers}</dl>\n</figure>"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{_text(part.strip())}</p>" for part in text.split("\n\n") if part.strip())


def _text(text: str) -> str:
    """Escape a text, and keep a number and its per cent sign in one line."""
    return html.escape(re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", text))
