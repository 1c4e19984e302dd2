"""The dossier: what a model was trained on and who allowed it, as a page and as paper."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from assay.ledger import NotInLedger
from assay.ledger.dossier.document import Dossier, make_dossier
from assay.ledger.dossier.html import dossier_html
from assay.ledger.dossier.pdf import dossier_pdf
from assay.ledger.exports import history_of
from assay.ledger.lineage.graph import visible
from tests.ledger.told import HOSTILE, SEEN, Told, tell

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2", "p", "div", "table",
    "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


@pytest.fixture(scope="module", params=["census", HOSTILE], ids=["plain", "hostile"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A line with plain names, and one whose every name is an attack."""
    folder = tmp_path_factory.mktemp("told")
    return tell(f"sqlite:///{folder / 'test.db'}", folder, request.param)


@pytest.fixture(scope="module")
def dossier(told: Told) -> Dossier:
    """The second model's."""
    return make_dossier(history_of(told.log, told.store, told.models[1]), told.models[1])


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def section(dossier: Dossier, begins: str) -> str:
    """All text under a heading."""
    found = next(each for each in dossier.sections if each.heading.startswith(begins))
    cells = [value for grid in found.grids for row in grid.rows for value in row]
    return " | ".join([*found.text, *cells])


def test_the_page_holds_no_tag_and_no_attribute_of_anybody_else(told: Told, dossier: Dossier) -> None:
    """Whatever names say, the page is made of our tags; every word of data is text."""
    reader = Reader(dossier_html(dossier))
    assert reader.tags == ALLOWED
    assert reader.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "scope"}
    assert visible(told.word) in " ".join(reader.words)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(dossier: Dossier) -> None:
    """No script, no link, no image, a policy that forbids them, both colour schemes, and rules for paper."""
    page = dossier_html(dossier)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r"(src|href|url)\s*[=(]", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_marks_that_would_turn_or_hide_text_are_shown(dossier: Dossier) -> None:
    """Text-direction marks and control characters are written out."""
    page = dossier_html(dossier)
    assert not any(ord(each) < 32 and each != "\n" for each in page)
    assert "\u202e" not in page
    assert visible("a\u202eb\x07") == "a[U+202E]b[U+0007]"


def test_it_says_who_allowed_the_model_and_on_which_ground(told: Told, dossier: Dossier) -> None:
    """Promotion, gates and the decision on the held rows, each with its entry."""
    allowed = section(dossier, "Who allowed it")
    assert f"Promoted by {told.word} at {SEEN[1]}" in allowed
    assert "The gates passed" in allowed
    held = section(dossier, "Rows that were held")
    assert told.case in held
    assert "release" in held


def test_it_has_the_headings_of_article_10(dossier: Dossier) -> None:
    """Each letter of 10(2) and paragraph 10(3); what the ledger cannot know is said."""
    headings = " ".join(each.heading for each in dossier.sections)
    for part in (
        "10(2)(a)",
        "10(2)(b)",
        "10(2)(c)",
        "10(2)(d)",
        "10(2)(e)",
        "10(2)(f), (g)",
        "10(2)(h)",
        "10(3)",
    ):
        assert part in headings
    assert "Art. 10(4)" in section(dossier, "What the ledger does not know")


def test_what_was_not_checked_is_listed_as_a_gap(dossier: Dossier) -> None:
    """Every `not_checked` of every step, and nothing that passed."""
    gaps = section(dossier, "Gaps and shortcomings")
    assert "delivery-screened.tool" in gaps
    assert "not_checked" in gaps
    assert ".fine" not in gaps


def test_it_counts_the_rows_of_each_source(told: Told, dossier: Dossier) -> None:
    """Rows by the snapshot's manifest, origin by the signed statements."""
    assert "30 | 100.0%" in section(dossier, "Availability")
    origin = section(dossier, "Collection and origin")
    assert all(each in origin for each in told.deliveries)


def test_the_paper_is_the_same_each_time_and_holds_every_section(dossier: Dossier) -> None:
    """PDF with text that can be searched; the same bytes from the same dossier."""
    paper = dossier_pdf(dossier)
    assert paper.startswith(b"%PDF-")
    assert paper == dossier_pdf(dossier)
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") >= 3
    assert b"/JavaScript" not in paper
    assert b"/URI" not in paper


def test_a_model_that_the_line_did_not_build_has_no_dossier(told: Told) -> None:
    """A delivery's history holds no model."""
    with pytest.raises(NotInLedger, match="does not say how"):
        make_dossier(history_of(told.log, told.store, told.deliveries[0]), told.deliveries[0])
