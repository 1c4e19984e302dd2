"""The dossier as PDF, to be filed. The same dossier makes the same bytes."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, Any

from assay.errors import NotChecked
from assay.ledger.dossier.document import Dossier, Grid
from assay.ledger.lineage.graph import visible

if TYPE_CHECKING:
    from reportlab.lib.styles import ParagraphStyle

_FONTS = {"Assay": "Vera.ttf", "Assay-Bold": "VeraBd.ttf"}
_GREY = "#d8d6cf"


class PdfNotMade(NotChecked):
    """The library that writes PDF is not installed."""


def dossier_pdf(dossier: Dossier) -> bytes:
    """The dossier as PDF (A4).

    A character that the font cannot show is written as U+XXXX, so that nothing in a name is quietly left out.

    Raises:
        PdfNotMade: reportlab is not installed.
    """
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.lib.units import mm
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont
        from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer
    except ImportError as error:
        raise PdfNotMade(
            "PDF cannot be written here",
            expected="the package reportlab",
            next_step="pip install reportlab, or export the dossier as HTML and print it",
        ) from error
    for name, source in _FONTS.items():
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, source))
    known = pdfmetrics.getFont("Assay").face.charToGlyph
    body = ParagraphStyle("body", fontName="Assay", fontSize=8.5, leading=12, spaceAfter=3)
    cell = ParagraphStyle(
        "cell", fontName="Assay", fontSize=6.5, leading=8.2, splitLongWords=1, wordWrap="CJK"
    )
    head = ParagraphStyle("head", parent=cell, fontName="Assay-Bold", wordWrap=None)
    heading = ParagraphStyle(
        "heading",
        fontName="Assay-Bold",
        fontSize=11,
        leading=14,
        spaceBefore=12,
        spaceAfter=4,
        keepWithNext=1,
    )
    title = ParagraphStyle(
        "title", fontName="Assay-Bold", fontSize=15, leading=19, spaceAfter=4, wordWrap="CJK"
    )
    width = A4[0] - 30 * mm
    story: list[Any] = [
        Paragraph(_text(dossier.title, known), title),
        Paragraph(_text(dossier.subtitle, known), body),
        Spacer(1, 6),
    ]
    for section in dossier.sections:
        story.append(Paragraph(_text(section.heading, known), heading))
        story += [Paragraph(_text(text, known), body) for text in section.text]
        for grid in section.grids:
            story += [_table(grid, width, cell, head, known), Spacer(1, 6)]
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title=visible(dossier.title),
        author="Assay",
        invariant=1,
    )
    document.build(story, onFirstPage=_number, onLaterPages=_number)
    return file.getvalue()


def _table(grid: Grid, width: float, cell: ParagraphStyle, head: ParagraphStyle, known: Any) -> Any:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import LongTable, Paragraph, TableStyle

    if not grid.rows:
        return Paragraph("none", cell)
    rows = [[Paragraph(_text(name, known), head) for name in grid.head]]
    rows += [[Paragraph(_text(value, known), cell) for value in row] for row in grid.rows]
    longest = [max(len(row[column]) for row in (grid.head, *grid.rows)) for column in range(len(grid.head))]
    shares = [min(max(length, 9), 60) for length in longest]
    table = LongTable(rows, colWidths=[width * share / sum(shares) for share in shares], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, HexColor(_GREY)),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), 2),
                ("TOPPADDING", (0, 0), (-1, -1), 1.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ]
        )
    )
    return table


def _number(canvas: Any, document: Any) -> None:
    canvas.setFont("Assay", 7)
    canvas.drawRightString(document.pagesize[0] - 42, 30, str(canvas.getPageNumber()))


def _text(value: str, known: Any) -> str:
    """Escaped for reportlab's markup; a cell longer than a page could not be set, and is cut with a mark."""
    shown = "".join(each if ord(each) in known else f"[U+{ord(each):04X}]" for each in visible(value))
    if len(shown) > 3000:
        shown = f"{shown[:3000]} [{len(shown) - 3000} more characters: see the HTML dossier]"
    return escape(shown, quote=True)
