"""The two profiles of the fuzz tests; `@limited` puts the one that was asked for on a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

Test = TypeVar("Test", bound=Callable[..., None])

_ALWAYS = {"deadline": None, "suppress_health_check": list(HealthCheck)}
_BOUNDED = settings(max_examples=40, derandomize=True, database=None, **_ALWAYS)
_LONG = settings(max_examples=1_000, print_blob=True, **_ALWAYS)


def register() -> None:
    """Make `--hypothesis-profile=long` known."""
    settings.register_profile("long", _LONG)


def limited(test: Test) -> Test:
    """Bound a test, or let it look for long where the profile says so."""
    chosen = _LONG if settings.get_current_profile_name() == "long" else _BOUNDED
    return chosen(test)
