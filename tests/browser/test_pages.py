"""Every page, in the browser: for everyone, at every width, in both colours, and with data that means harm."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import hostile
from tests.browser.places import places
from tests.browser.world import World

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

Login = Callable[..., Page]
SHOTS = os.environ.get("ASSAY_TEST_PICTURES")
"""Folder that pictures of the pages go to; `make pictures` names docs/images."""

PICTURES = {
    "light": {"overview", "delivery", "case", "run", "walk"},
    "dark": {"case-plots", "model"},
    "phone": {"case"},
}


def opened(page: Page, address: str) -> None:
    """Open a page and wait until it shows what it has."""
    page.goto(f"/assay/p/{address}")
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_load_state("networkidle")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("kind", PICTURES)
def test_no_page_has_a_serious_accessibility_fault_or_scrolls_sideways(world: World, login: Login, kind: str):
    """axe-core on each page; a phone never has to scroll the page itself to the side."""
    page = login("olga", width=390 if kind == "phone" else 1280, dark=kind == "dark")
    faults, axe = [], Axe()
    for name, address in places(world).items():
        opened(page, address)
        for found in axe.run(page).response["violations"]:
            if found["impact"] in {"serious", "critical"}:
                nodes = "; ".join(node["html"][:160] for node in found["nodes"][:3])
                faults.append(f"{name}: {found['id']}: {nodes}")
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wider > 0:
            faults.append(f"{name}: {wider} px too wide")
        if SHOTS and name in PICTURES[kind]:
            page.screenshot(path=Path(SHOTS) / f"review-{name}-{kind}.png")
    assert not faults, "\n".join(faults)


def test_hostile_data_is_text_and_nothing_else(world: World, login: Login):
    """No script of the data runs, no address of the data is asked for, and what it says can be read."""
    page = login("vera")
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    there = places(world)
    for name in ("overview", "hostile-delivery", "cases", "hostile-case"):
        opened(page, there[name])
        assert "owned" not in page.title()
        for link in page.locator("main a[href]").all():
            address = link.evaluate("each => each.href")
            assert address.startswith(("http://127.0.0.1", "https://")), address
    rows = page.get_by_role("listbox", name="Rows").get_by_role("option")
    for wanted, seen in (
        ("<script>", hostile.SCRIPT),
        ("[a link]", f"[a link]({hostile.LINK})"),
        ("right ", "\u27e8RLO\u27e9"),
        ("[31m", "\u27e8BEL\u27e9"),
        ("=HYPERLINK", "=HYPERLINK"),
        ("ZZZZ", "ZZZZ"),
    ):
        opened(page, f"{there['hostile-case']}?q={quote(wanted)}")
        expect(rows).to_have_count(1)
        page.get_by_label("Columns shown").select_option(label=f"all ({hostile.COLUMNS})")
        expect(page.locator("main")).to_contain_text(seen)
    page.wait_for_load_state("networkidle")
    assert page.locator("main script, main iframe, main img, main [onerror], main [onload]").count() == 0
    assert {url.split("/")[2] for url in asked} == {page.url.split("/")[2]}
    assert said == []


def test_an_empty_search_and_an_unknown_thing_say_what_to_do(world: World, login: Login):
    """Neither a blank page nor a bare number."""
    page = login("vera")
    opened(page, "provenance?q=nobody-knows-this")
    expect(page.locator("main")).to_contain_text("Nothing is known")
    opened(page, "case/case-00000000000000000000000000000000")
    expect(page.locator("main")).to_contain_text("there is no case")


def test_who_is_not_logged_in_is_led_to_airflows_login(world: World, browser):
    """The page itself tells; nothing of the data is in it."""
    page = browser.new_context(base_url=world.airflow.url).new_page()
    answer = page.goto("/assay/p/overview")
    assert answer is not None
    assert answer.status == 401
    expect(page.get_by_role("link", name="log in")).to_be_visible()
    page.context.close()
