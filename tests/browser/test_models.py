"""An administrator on a model's page: a challenger is refused, another is promoted, and the champion before is back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from assay.db import Database, ModelRow, champion, get_model, list_promotions
from tests.browser import challengers
from tests.browser.challengers import DATASET, TRAINING
from tests.browser.world import World

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1200)]

Login = Callable[..., Page]


def test_challengers_are_refused_and_promoted_and_champions_rolled_back(world: World, login: Login):
    """One day in one test, for each part of it changes who is the champion."""
    first = _champion(world)
    _is_shown_what_an_operator_may_not_do(world, login("olga"), _refuses(world, login("ada")))
    assert _champion(world) == first
    page = login("ada")
    second = _promotes_what_airflow_waits_for(world, page)
    assert _champion(world) == second
    _rolls_back(world, page)
    assert _champion(world) == first


def _refuses(world: World, page: Page) -> str:
    """By mouse; returns the model's id."""
    settings = world.stage.settings
    model = challengers.challenge(settings)
    bar = _open(page, model)
    expect(bar).to_contain_text("Champion:")
    bar.get_by_role("button", name="Refuse").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("never answers")
    # Greyed only for those who read the page: pressed without a reason, it says what is missing.
    dialog.get_by_role("button", name="Refuse").click(force=True)
    expect(dialog).to_contain_text("at least three characters")
    dialog.get_by_role("textbox").fill("its slices were not looked at")
    dialog.get_by_role("button", name="Refuse").click()
    expect(dialog).to_have_count(0)
    expect(bar.get_by_role("button", name="Refuse")).to_have_count(0)
    expect(bar).to_contain_text("already decided by ada")
    row = _row(world, model)
    assert (row.state, row.metrics["refused_by"]) == ("refused", "ada")
    assert row.metrics["refused_because"] == "its slices were not looked at"
    return model


def _is_shown_what_an_operator_may_not_do(world: World, page: Page, refused: str) -> None:
    model = challengers.challenge(world.stage.settings)
    bar = _open(page, model)
    expect(bar).to_contain_text("only an administrator may promote a model")
    for name in ("Promote", "Refuse"):
        expect(bar.get_by_role("button", name=name)).to_be_disabled()
    bar = _open(page, refused)
    expect(bar.get_by_role("button", name="Promote")).to_have_count(0)
    assert _row(world, model).state == "challenger"


def _promotes_what_airflow_waits_for(world: World, page: Page) -> str:
    """By keyboard; the run that waited goes on. Returns the model's id."""
    client = world.client
    challengers.further(world.stage.settings.contracts_dir)
    run = client.trigger(TRAINING)
    world.wait_for_question(TRAINING, run)
    model = str(client.xcom(TRAINING, run, "judge")["model"])
    bar = _open(page, model)
    expect(bar.get_by_role("link", name="Airflow waits for the decision")).to_be_visible()
    bar.get_by_role("button", name="Promote").press("Enter")
    _says_why(page, "better on every slice")
    expect(bar).to_contain_text("This model answers now")
    expect(bar.get_by_role("link", name="Airflow waits for the decision")).to_have_count(0)
    assert client.wait(TRAINING, run, 300) == "success"
    assert _last_change(world) == ("promote", "ada", "better on every slice")
    return model


def _rolls_back(world: World, page: Page) -> None:
    bar = page.get_by_role("region", name="Promotion", exact=True)
    bar.get_by_role("button", name="Roll back").press("Enter")
    _says_why(page, "it answers too slowly")
    expect(bar).to_contain_text("Champion:")
    expect(page.locator("main")).to_contain_text("it answers too slowly")
    assert _last_change(world) == ("rollback", "ada", "it answers too slowly")


def _open(page: Page, model: str) -> Locator:
    """The page of a model, at what can be done with it."""
    page.goto(f"/assay/p/model/{model}")
    bar = page.get_by_role("region", name="Promotion", exact=True)
    bar.wait_for()
    return bar


def _says_why(page: Page, reason: str) -> None:
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Reason (required")
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)


def _champion(world: World) -> str:
    with Database(world.stage.settings.database_url).session() as session:
        model = champion(session, DATASET)
    assert model is not None
    return model.id


def _row(world: World, model: str) -> ModelRow:
    with Database(world.stage.settings.database_url).session() as session:
        row = get_model(session, model)
    assert row is not None
    return row


def _last_change(world: World) -> tuple[str, str, str]:
    with Database(world.stage.settings.database_url).session() as session:
        last = list_promotions(session, DATASET)[-1]
    return last.action, last.by, last.reason
