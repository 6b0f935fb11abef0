"""A report: text, tables and figures in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from kdbias.report.style import INK, QUIET, rendered
from kdbias.report.table import Table

CSS = f"""
:root {{ color-scheme: light; }}
body {{ margin: 0 auto; max-width: 52rem; padding: 3rem 1.5rem 4rem; color: {INK}; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.8rem; line-height: 1.2; margin: 0 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2.8rem 0 .6rem; padding-top: .9rem; border-top: 1px solid #d8d8d8; }}
p {{ margin: 0 0 .9rem; max-width: 42rem; }}
.lead {{ font-size: 1.1rem; }}
figure {{ margin: 1.4rem 0 1.8rem; overflow-x: auto; }}
figure img {{ display: block; max-width: 100%; height: auto; }}
figcaption, figcaption p {{ color: {QUIET}; font-size: .875rem; margin: .5rem 0 0; }}
table {{ border-collapse: collapse; border-bottom: 1.5px solid {INK}; font-size: .85rem;
  font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .5rem; }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: right; vertical-align: baseline; }}
td {{ white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
thead th {{ border-top: 1.5px solid {INK}; border-bottom: 1px solid {INK}; font-weight: 600; }}
tbody tr + tr td {{ border-top: 1px solid #e6e6e6; }}
pre {{ background: #f5f5f5; padding: .7rem .9rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }}
@media print {{ body {{ padding: 0; font-size: 11pt; }} figure {{ break-inside: avoid; }} }}
"""


@dataclass(frozen=True)
class Image:
    """A figure with its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Code:
    """Preformatted text, such as the command that made the page."""

    text: str


@dataclass(frozen=True)
class Section:
    """A heading and the parts under it, in order; in a ``str`` an empty line begins a new paragraph."""

    heading: str
    parts: Sequence[str | Table | Image | Code]


def page(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """Write one HTML page with embedded figures, without scripts and references to other files; text is escaped.

    ``lead`` stands under the title; it states the result in a sentence or two.
    """
    body = "\n".join([f"<h2>{html.escape(s.heading)}</h2>\n" + "\n".join(map(_part, s.parts)) for s in sections])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{_paragraphs(lead, kind='lead')}\n{body}\n</body>\n</html>\n"
    )


def _part(part: str | Table | Image | Code) -> str:
    if isinstance(part, Table):
        return part.html()
    if isinstance(part, Image):
        return _image(part)
    if isinstance(part, Code):
        return f"<pre>{html.escape(part.text)}</pre>"
    return _paragraphs(part)


def _image(part: Image) -> str:
    data = base64.b64encode(rendered(part.figure)).decode("ascii")
    caption, width = html.escape(part.caption), round(96 * part.figure.get_figwidth())
    return (
        f'<figure>\n<img alt="{caption}" width="{width}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def _paragraphs(text: str, kind: str = "text") -> str:
    return "\n".join(
        f'<p class="{kind}">{html.escape(part.strip())}</p>' for part in text.split("\n\n") if part.strip()
    )
