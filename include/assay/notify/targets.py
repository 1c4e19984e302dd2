"""Where news goes: Apprise URLs. They hold passwords and tokens, so that nothing here ever shows one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from assay.errors import UsageError
from assay.settings import Connection, connection

CONNECTION = "airflow://"
"""An Airflow connection in the place of a URL: `airflow://CONNECTION_ID`."""

# What these write at DEBUG, and Apprise at WARNING too, has the addresses in it.
_TALKATIVE = ("apprise", "requests_oauthlib", "urllib3", "urllib3.connectionpool", "markdown")


class NotifyError(UsageError):
    """The configuration of notifications cannot be used."""


@dataclass(frozen=True)
class Target:
    """One place that news goes to.

    Attributes:
        name: The service and a digest of the URL, e.g. `mailto-3f2a9c0d1e4b`: the same for the same URL, with no part
            of it that is secret.
        url: The Apprise URL.
    """

    name: str
    url: str = field(repr=False)

    def send(self, title: str, text: str) -> str:
        """Send one message; returns what went wrong, or nothing.

        The problem is said in words of ours: an exception's text may hold the URL.
        """
        import apprise

        with _quiet():
            try:
                service = apprise.Apprise()
                if not service.add(self.url):
                    return "no notification service takes this URL"
                done = service.notify(
                    body=text,
                    title=title,
                    body_format=apprise.NotifyFormat.TEXT,
                    notify_type=apprise.NotifyType.WARNING,
                )
            except Exception as error:  # noqa: BLE001 - Apprise's plugins raise what they like; its text is secret
                return f"the notification service broke ({type(error).__name__})"
        return "" if done else "the service did not take it, or did not answer"


def targets_of(
    places: Iterable[str], find: Callable[[str], Connection | None] = connection
) -> tuple[Target, ...]:
    """The places that a setting names, each once.

    Args:
        places: Apprise URLs, or `airflow://ID` for an Airflow connection of the type `apprise`, whose extra says
            `{"config": {"path": URL}}` or a list of these.
        find: Looks an Airflow connection up.

    Raises:
        NotifyError: A connection is not there, or names no URL; no URL is shown.
    """
    found: dict[str, Target] = {}
    for place in places:
        urls = (
            _of_connection(place.removeprefix(CONNECTION), find) if place.startswith(CONNECTION) else [place]
        )
        for url in urls:
            kind = url.split(":", 1)[0].lower()
            service = (
                kind if kind.isascii() and kind.isalnum() and len(kind) <= 20 and ":" in url else "unknown"
            )
            name = f"{service}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
            found[name] = Target(name, url)
    return tuple(found.values())


def _of_connection(name: str, find: Callable[[str], Connection | None]) -> list[str]:
    try:
        known = find(name)
    except ValueError as error:
        raise NotifyError(str(error), next_step="correct the connection") from None
    config: Any = None if known is None else known.extra.get("config")
    listed = [config] if isinstance(config, Mapping) else config if isinstance(config, list) else []
    urls = [str(each["path"]) for each in listed if isinstance(each, Mapping) and each.get("path")]
    if not urls:
        raise NotifyError(
            f"the Airflow connection {name!r} names no place for notifications",
            expected='a connection of the type apprise with the extra {"config": {"path": URL}}',
            found="no such connection" if known is None else "a connection without it",
            next_step="add the connection, or correct ASSAY_NOTIFY",
        )
    return urls


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries that log addresses from doing so while a message is sent."""
    before = {name: logging.getLogger(name).level for name in _TALKATIVE}
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
