"""The dossier as one HTML file: no script, no link out, light and dark, made for paper too."""

from __future__ import annotations

from html import escape

from assay.ledger.dossier.document import Dossier, Grid, Section
from assay.ledger.lineage.graph import visible

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1a; --soft: #5d5d57; --line: #d8d6cf; --paper: #fffefb; --band: #f4f2ec;
  --bad: #a3231b; --open: #8a5a00; --good: #2f6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e0; --soft: #a5a39a; --line: #43423d; --paper: #1b1b19;
  --band: #252522; --bad: #ff8a80; --open: #ffca6b; --good: #8fd19e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 52rem; }
.subtitle, caption { color: var(--soft); }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
td { min-width: 3.5rem; } td:first-child { min-width: 11rem; }
th { background: var(--band); font-weight: 600; white-space: nowrap; }
.passed { color: var(--good); } .failed { color: var(--bad); font-weight: 600; }
.not_checked { color: var(--open); font-weight: 600; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --band: #eee;
    --bad: #000; --open: #000; --good: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; } table { font-size: 8pt; } .scroll { overflow: visible; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; } }
@page { margin: 18mm 15mm; }
"""
_OUTCOMES = {"passed", "failed", "not_checked"}


def dossier_html(dossier: Dossier) -> str:
    """The whole page. Every word that came from data is escaped, and a policy forbids scripts and requests."""
    body = "\n".join(_section(section) for section in dossier.sections)
    title = _text(dossier.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{title}</h1><p class="subtitle">{_text(dossier.subtitle)}</p></header>
<main>
{body}
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    paragraphs = "".join(f"<p>{_text(text)}</p>\n" for text in section.text)
    grids = "".join(_grid(grid) for grid in section.grids)
    return f"<section>\n<h2>{_text(section.heading)}</h2>\n{paragraphs}{grids}</section>"


def _grid(grid: Grid) -> str:
    if not grid.rows:
        return '<p class="subtitle">none</p>\n'
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in grid.head)
    rows = "\n".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in grid.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n'


def _cell(value: str) -> str:
    mark = f' class="{value}"' if value in _OUTCOMES else ""
    return f"<td{mark}>{_text(value)}</td>"


def _text(value: str) -> str:
    return escape(visible(value), quote=True)
