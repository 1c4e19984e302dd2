"""A reviewer's day in the browser: find what waits, decide it by keyboard, see the line go on, follow a row back."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from assay.db import Database, champion, latest_snapshot
from assay.demo.story import INTAKE, TRAINING
from tests.browser.world import World

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

Login = Callable[..., Page]


def test_a_held_delivery_is_found_decided_by_keyboard_and_followed_to_its_end(world: World, login: Login):
    """One day in one test, for each part of it changes what the next one sees."""
    viewer = login("vera")
    _finds_the_held_delivery_in_two_clicks(world, viewer)
    _is_told_why_a_viewer_may_not_decide(world, viewer)
    page = login("olga")
    _decides_by_keyboard_alone(world, page)
    _shows_the_champion(world, page)
    _follows_a_row_to_its_signed_file(world, page)


def test_airflows_own_tabs_open_what_the_run_is_about(world: World, login: Login):
    """The tab on a run of the intake leads to its delivery, the one on the training to its run or model."""
    page = login("vera")
    intake = world.client.runs(INTAKE)[0]["dag_run_id"]
    page.goto(f"/dags/{INTAKE}/runs/{intake}/plugin/assay-dag_run")
    expect(page.frame_locator("iframe").get_by_role("heading", level=1)).to_be_visible()
    expect(page.frame_locator("iframe").locator("main")).to_contain_text(re.compile("adult|west|east|north"))
    training = world.client.runs(TRAINING)[0]["dag_run_id"]
    page.goto(f"/dags/{TRAINING}/runs/{training}/plugin/assay-dag_run")
    expect(page.frame_locator("iframe").locator("main")).to_contain_text(
        re.compile("loss|gates", re.IGNORECASE)
    )


def test_models_are_an_administrators_to_change(world: World, login: Login):
    """The same page tells an operator that it is not theirs, and an administrator nothing of the kind."""
    with Database(world.stage.settings.database_url).session() as session:
        model = champion(session, "adult")
    assert model is not None
    refusal = "only an administrator may promote a model or roll back"
    for user, refused in (("olga", True), ("ada", False)):
        page = login(user)
        page.goto(f"/assay/p/model/{model.id}")
        main = page.locator("main")
        expect(main).to_contain_text("This model answers now")
        expect(main.get_by_role("button", name="Roll back")).to_be_visible()
        assert (refusal in main.inner_text()) is refused


def _finds_the_held_delivery_in_two_clicks(world: World, page: Page) -> None:
    page.goto("/plugin/assay")
    pages = page.frame_locator("iframe")
    held = world.held()
    pages.get_by_role("link", name="1 delivery held").click()
    main = pages.locator("main")
    main.locator(f'a[href*="{held.delivery_id}"]').first.click()
    expect(main).to_contain_text("look poisoned")
    expect(main.locator(f'a[href*="{held.id}"]').first).to_be_visible()
    expect(pages.get_by_role("heading", level=1)).to_contain_text("west")


def _is_told_why_a_viewer_may_not_decide(world: World, page: Page) -> None:
    page.goto(f"/assay/p/case/{world.held().id}")
    bar = page.get_by_role("region", name="Decision", exact=True)
    expect(bar.get_by_role("button", name="Release")).to_be_disabled()
    expect(bar.get_by_role("button", name="Reject")).to_be_disabled()
    expect(bar).to_contain_text("required actions")


def _decides_by_keyboard_alone(world: World, page: Page) -> None:
    client = world.client
    run = client.runs(INTAKE)[-1]["dag_run_id"]
    trained = len(client.runs(TRAINING))
    before = _version(world)
    waiting = [case for case in world.cases("west") if case.status == "open"]
    suspicious = next(case for case in waiting if case.kind == "screening")
    page.goto("/assay/p/cases?status=open&dataset=adult")
    _tab_to(page, suspicious.id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox")).to_be_visible()

    # One row released for itself, with the next one looked at first: the rest stays in a case of its own.
    for key in ("j", "k", "x", "r"):
        page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_contain_text("1 chosen row")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("at least three characters")
    page.keyboard.type("looked up in the register: it is right")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).not_to_have_url(re.compile(suspicious.id))

    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{suspicious.rows - 1} rows")
    page.get_by_role("listbox").wait_for()
    page.keyboard.press("D")
    expect(page.get_by_role("dialog")).to_contain_text("the whole case")
    page.keyboard.type("a trigger and flipped labels")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("region", name="Decision", exact=True)).to_contain_text("olga")

    for case in waiting:
        if case.id == suspicious.id:
            continue
        page.goto(f"/assay/p/case/{case.id}")
        page.get_by_role("region", name="Decision", exact=True).wait_for()
        page.keyboard.press("r" if case.kind == "delivery" else "d")
        page.keyboard.type("the clean rest may enter")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_have_count(0)

    assert client.wait(INTAKE, run, 600) == "success"
    assert client.question(INTAKE, run) is None
    assert _version(world) == before + 1
    decided = {decision.reviewer for case in world.cases("west") for decision in case.decisions}
    assert decided == {"olga"}

    challenger = client.wait_for_run(TRAINING, after=trained, timeout=300)
    client.wait(TRAINING, challenger, 600)


def _tab_to(page: Page, ident: str) -> None:
    """Press Tab until the link to a thing has the focus, as someone without a mouse does."""
    page.locator(f'a[href*="{ident}"]').first.wait_for()
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement && document.activeElement.getAttribute('href')")
        if at and ident in at:
            return
    raise AssertionError(f"Tab does not reach {ident}")


def _version(world: World) -> int:
    with Database(world.stage.settings.database_url).session() as session:
        snapshot = latest_snapshot(session, "adult")
    return snapshot.version if snapshot else 0


def _shows_the_champion(world: World, page: Page) -> None:
    with Database(world.stage.settings.database_url).session() as session:
        model = champion(session, "adult")
    assert model is not None
    page.goto("/assay/p/models?dataset=adult")
    page.locator(f'main a[href*="{model.id}"]').first.click()
    expect(page.locator("main")).to_contain_text("champion")
    expect(page.locator("main")).to_contain_text("at least 0.6")
    expect(page.locator("main")).to_contain_text(re.compile("signature", re.IGNORECASE))


def _follows_a_row_to_its_signed_file(world: World, page: Page) -> None:
    key = world.rounds.first["east"]["person_id"][0].as_py()
    page.goto("/assay/p/provenance")
    page.get_by_role("searchbox").wait_for()
    page.keyboard.press("/")
    page.keyboard.type(str(key))
    page.keyboard.press("Enter")
    found = page.get_by_role("listitem").filter(has_text="row")
    found.get_by_role("link").first.click()
    came = page.get_by_role("navigation", name="Came from")
    came.get_by_role("link", name=re.compile("^file", re.IGNORECASE)).first.click()
    expect(page.locator("main")).to_contain_text("rows-00")
    came.get_by_role("link", name=re.compile("^delivery", re.IGNORECASE)).first.click()
    came.get_by_role("link", name=re.compile("^(key|publisher)", re.IGNORECASE)).first.click()
    expect(page.locator("main")).to_contain_text(re.compile("census|minisign"))
