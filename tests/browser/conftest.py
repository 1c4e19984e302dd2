"""Chromium in front of the world's Airflow, one browser per test process and one login per test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.world import World

# Other tests keep the machine busy meanwhile: how long a page takes is no question of theirs.
_PATIENCE_MS = 60_000
expect.set_options(timeout=_PATIENCE_MS)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def world(world_folder: Path) -> World:
    """An Airflow that has a delivery waiting for a human."""
    return World.open(world_folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    found = next(path for name in _NAMES if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        yield browser
        browser.close()


@pytest.fixture
def login(world: World, browser: Browser) -> Iterator[Callable[..., Page]]:
    """A page of Airflow, logged in through its own form; `login("olga", width=390, dark=True)`."""
    contexts: list[BrowserContext] = []

    def enter(user: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        context = browser.new_context(
            base_url=world.airflow.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto("/auth/login")
        page.locator("input").nth(0).fill(user)
        page.locator("input").nth(1).fill(world.airflow.password_of(user))
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/auth/login" not in url)
        return page

    yield enter
    for context in contexts:
        context.close()
