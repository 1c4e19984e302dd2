"""The order and the groups in which test processes get their tests."""

from __future__ import annotations

from pathlib import Path

from tests import spread

PROJECT = Path(__file__).resolve().parents[1]


def test_tests_of_one_world_stay_together_and_other_files_stay_whole():
    """A world is built in one process only; a file's fixtures, too."""
    assert spread.group_of("tests/browser/test_pages.py::test_a") == spread.group_of(
        "tests/browser/test_review.py::b[x::y]"
    )
    assert spread.group_of("tests/plugins/test_ui_fab.py::a") == spread.group_of(
        "tests/plugins/test_ui_race.py::a"
    )
    assert spread.group_of("tests/plugins/test_hitl_airflow.py::a") == "tests/plugins/test_hitl_airflow.py"
    assert spread.group_of("tests/db/test_engine.py::TestIt::a") == "tests/db/test_engine.py"


def test_what_takes_long_is_given_out_first_and_nothing_is_lost():
    """The order within a group is that of the collection."""
    names = [
        "tests/a.py::1",
        "tests/demo/test_demo.py::2",
        "tests/a.py::3",
        "tests/browser/b.py::4",
        "tests/demo/test_demo.py::5",
    ]
    assert [names[place] for place in spread.in_order(names)] == [
        names[3],
        names[1],
        names[4],
        names[0],
        names[2],
    ]


def test_every_named_path_is_there():
    """A renamed file must not lose its place unnoticed."""
    for beginning in (*spread.WORLDS, *spread.LONGEST_FIRST):
        assert any(PROJECT.glob(f"{beginning}*")), beginning
