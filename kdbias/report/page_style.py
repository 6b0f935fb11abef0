"""The style sheet of a page: light and dark, for a desktop, a phone and paper."""

from kdbias.report.scheme import variables

CSS = f"""{variables()}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 52rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  overflow-wrap: break-word;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 .8rem; }}
h2 {{ font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }}
p {{ margin: 0 0 .8rem; max-width: 44rem; }}
dfn {{ font-style: normal; font-weight: 600; }}
.answers {{ list-style: none; margin: 1rem 0 1.3rem; padding: 0; }}
.answers li {{ margin: 0 0 .5rem; padding: .45rem .9rem; background: var(--soft);
  border-left: 4px solid var(--quiet); }}
.answers .supported {{ border-color: var(--c2); }}
.answers .contradicted {{ border-color: var(--c1); }}
.answers span {{ display: block; color: var(--quiet); font-size: .875rem; }}
.examples {{ display: grid; grid-template-columns: repeat(6, 1fr); gap: .8rem; margin: 1.1rem 0; }}
.examples figure {{ margin: 0; }}
.examples + .note {{ margin: -.4rem 0 0; font-size: .8rem; }}
.examples img {{ width: 100%; image-rendering: pixelated; }}
.examples figcaption {{ min-height: 2.5em; margin: .25rem 0; line-height: 1.25; font-size: .8rem; }}
.examples dl {{ display: grid; grid-template-columns: auto auto; gap: 0 .4rem; margin: 0; font-size: .8rem;
  line-height: 1.35; }}
.examples dt {{ color: var(--quiet); }}
.examples dd {{ margin: 0; text-align: right; }}
.examples .shape {{ font-weight: 700; color: var(--c1); }}
.examples .neither {{ color: var(--quiet); }}
figure {{ margin: 1.3rem 0 1.7rem; }}
figure img {{ display: block; max-width: 100%; height: auto; }}
.panels {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
.panels img {{ flex: 0 1 auto; min-width: 0; }}
figcaption, figcaption p, .note {{ color: var(--quiet); font-size: .875rem; margin: .5rem 0 0; }}
.title {{ font-weight: 600; margin: 0 0 .4rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: separate; border-spacing: 0; border-bottom: 1.5px solid var(--ink); font-size: .85rem;
  font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .9rem .3rem 0; text-align: right; vertical-align: baseline; }}
td {{ white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; position: sticky; left: 0; background: var(--paper); }}
thead th {{ border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); font-weight: 600; }}
tbody tr + tr td {{ border-top: 1px solid var(--line); }}
pre {{ background: var(--soft); padding: .7rem .9rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }}
@media (min-width: 56rem) {{ .scroll {{ width: max-content; max-width: calc(50vw + 22rem); }} }}
@media (max-width: 40rem) {{
  body {{ padding: 1rem 1rem 3rem; line-height: 1.4; }}
  h1 {{ font-size: 1.35rem; margin-bottom: .5rem; }}
  .examples {{ grid-template-columns: repeat(3, 1fr); gap: .6rem; margin: .7rem 0; }}
  .examples figure:nth-child(n + 4) {{ display: none; }}
  .answers li {{ padding: .3rem .6rem; }}
  .panels {{ display: block; overflow-x: auto; }}
  .panels img {{ max-width: none; width: min(var(--w), max(100%, .8 * var(--w))); }}
  .panels img + img {{ margin-top: 1rem; }}
}}
@media print {{ body {{ padding: 0; font-size: 11pt; }} figure {{ break-inside: avoid; }} }}
"""
