"""How tests are spread over the test processes: by what they share, and what takes long first.

Tests that look at the same costly world run in one process, so that it is built once; other files stay whole for the
same reason. A process that has nothing to do takes the next group, so that what takes minutes must not come last.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

WORLDS = ("tests/browser/", "tests/console/", "tests/plugins/test_ui_")
"""Beginnings of the paths of tests that share a world of their own."""

FIRST = ("tests/store/test_packs.py",)
"""Tests that fork their process hundreds of times, which is quick only while it is small."""

LONGEST_FIRST = (
    *FIRST,
    "tests/browser/",
    "tests/line/test_kill.py",
    "tests/line/test_training_kill.py",
    "tests/demo/test_demo.py",
    "tests/plugins/test_hitl_airflow.py",
    "tests/plugins/test_ui_",
    "tests/dags/",
    "tests/console/",
    "tests/benchmarks/",
    "tests/train/run/test_resume.py",
    "tests/line/",
    "tests/screen/",
    "tests/train/",
)
"""Beginnings of the paths of tests that take a minute or more; the others follow as they were collected."""


def group_of(nodeid: str) -> str:
    """What a test is run together with: its world, or else its file."""
    path = nodeid.partition("::")[0]
    return next((world for world in WORLDS if path.startswith(world)), path)


def in_order(nodeids: Iterable[str]) -> list[int]:
    """Places of the tests in the order in which they are given out."""
    names = list(nodeids)
    return sorted(range(len(names)), key=lambda place: (_rank(names[place]), place))


def _rank(nodeid: str) -> int:
    return next(
        (rank for rank, path in enumerate(LONGEST_FIRST) if nodeid.startswith(path)), len(LONGEST_FIRST)
    )


class ByGroup(LoadScopeScheduling):
    """Gives each process a group at a time, in the order of the collection."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
