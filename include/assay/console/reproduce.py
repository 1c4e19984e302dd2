"""Commands that show on the command line what a page shows; they run as they stand on the line's machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from assay.console.desk import Desk


def commands(desk: Desk, *wanted: tuple[str, list[str]]) -> list[dict[str, str]]:
    """Titled commands, with the places that differ from the defaults; no secret is ever among them.

    Args:
        desk: Whose places.
        wanted: Title and the arguments of `assay`.
    """
    prefix, note = _places(desk)
    return [
        {"title": f"{title}{note}", "command": " ".join([*prefix, "assay", *map(shlex.quote, arguments)])}
        for title, arguments in wanted
    ]


def contract_option(desk: Desk, dataset: str) -> list[str]:
    """`--contract FILE` of a data set; empty where it has none."""
    known = desk.contracts.of(dataset)
    return [] if known is None else ["--contract", str(known.path)]


def _places(desk: Desk) -> tuple[list[str], str]:
    from sqlalchemy import make_url

    settings, note = desk.settings, ""
    wanted: dict[str, Any] = {}
    if settings.home != (Path.home() / ".assay").resolve():
        wanted["ASSAY_HOME"] = settings.home
    if settings.contracts_dir != Path(__file__).resolve().parents[2] / "contracts":
        wanted["ASSAY_CONTRACTS_DIR"] = settings.contracts_dir
    if settings.keys_dir != settings.home / "keys":
        wanted["ASSAY_KEYS_DIR"] = settings.keys_dir
    if settings.store_uri != (settings.home / "store").as_uri():
        if "@" in settings.store_uri:
            note = " (with the line's ASSAY_STORE_URI in the environment)"
        else:
            wanted["ASSAY_STORE_URI"] = settings.store_uri
    if settings.database_url != f"sqlite:///{settings.home / 'assay.db'}":
        url = make_url(settings.database_url)
        if url.password or url.query:
            note = " (with the line's ASSAY_DATABASE_URL in the environment)"
        else:
            wanted["ASSAY_DATABASE_URL"] = settings.database_url
    return [f"{name}={shlex.quote(str(value))}" for name, value in wanted.items()], note
