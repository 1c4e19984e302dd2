"""A small line that ran for real: a champion, a poisoned delivery, rows that fail, and a strange data set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from assay.console import Console
from assay.db import Snapshot, put_delivery, put_model, put_run, put_snapshot
from assay.demo.data import Rounds, make_rounds
from assay.ledger import model_key
from assay.line import admit, judge, promote_as, screen, train, validate
from assay.quarantine import case_numbers, list_cases
from tests.db.rows import a_case, a_delivery, a_model, a_run
from tests.line.conftest import Town, build_town, moved

STRANGE = "secrets"
"""A data set that the reader of `adult` may not see."""


@dataclass
class World:
    """The town, its data, and ids of what is in it."""

    town: Town
    rounds: Rounds
    ids: dict[str, str]

    @property
    def console(self) -> Console:
        """A console of its own on the town."""
        return Console.open(self.town.settings)


def broken(table: pa.Table) -> pa.Table:
    """The table with three ages that no contract allows."""
    ages = table["age"].to_pylist()
    ages[3:6] = [400, 401, 402]
    return table.set_column(table.column_names.index("age"), "age", pa.array(ages, table["age"].type))


def _strange(town: Town) -> None:
    with town.line() as line, line.database.write() as session:
        put_delivery(
            session,
            a_delivery(
                "delivery-strange",
                dataset=STRANGE,
                source="hidden",
                publisher="nobody",
                state="held",
                verdict="hold",
            ),
            [("secret.csv", "cd" * 32, 7)],
        )
        session.add(a_case("case-strange", "delivery-strange", dataset=STRANGE, summary="secret rows"))
        put_snapshot(
            session,
            Snapshot(
                id="snapshot-strange",
                dataset=STRANGE,
                version=1,
                merkle_root="ef" * 32,
                manifest_object="ef" * 32,
                rows=1,
                admitted_at="2026-01-01T00:00:00Z",
            ),
            ["delivery-strange"],
        )
        put_run(session, a_run("run-strange", dataset=STRANGE, snapshot_id="snapshot-strange"))
        put_model(
            session, a_model("model-strange", "run-strange", dataset=STRANGE, snapshot_id="snapshot-strange")
        )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rounds]:
    """The world, made once."""
    rounds = make_rounds(seed=11, first=700, second=500, trusted=500, rewritten=60)
    town = build_town(tmp_path_factory.mktemp("console") / "town", rounds)
    model_key(town.settings)
    first = town.take_in(rounds.first, 1)
    with town.line() as line:
        validate(line, first)
        screen(line, first)
        admit(line, first)
        trained = train(line)
        judge(line, trained["model"])
        promote_as(line, trained["model"], "olga", "the first one")
    second = town.take_in({**rounds.second, "north": broken(rounds.second["north"])}, 2)
    with town.line() as line:
        validate(line, second)
        screen(line, second)
    _strange(town)
    return town.stage.root, rounds


def ids_of(town: Town) -> dict[str, str]:
    """Ids of what a test looks at."""
    with town.line() as line:
        found = {}
        for case in list_cases(line.database, dataset="adult"):
            if case.source in {"west", "north"}:
                found[f"{case.source}/{case.kind}"] = case.id
                found[case.source] = case.delivery_id
    console = Console.open(town.settings)
    found["run"] = console.runs(datasets=["adult"])["items"][0]["id"]
    found["model"] = console.models(datasets=["adult"])["items"][0]["id"]
    found["snapshot"] = console.overview(["adult"])["datasets"][0]["snapshot"]["id"]
    console.close()
    return found


@pytest.fixture(scope="session")
def world(built: tuple[Path, Rounds]) -> World:
    """The world, for tests that only look."""
    root, rounds = built
    town = Town(root, rounds)
    return World(town, rounds, ids_of(town))


@pytest.fixture
def own_world(built: tuple[Path, Rounds], tmp_path: Path) -> Iterator[World]:
    """A copy of the world, for tests that change it."""
    root, rounds = built
    town = moved(root, tmp_path / "town", rounds)
    yield World(town, rounds, ids_of(town))
    shutil.rmtree(tmp_path / "town", ignore_errors=True)


@pytest.fixture(scope="session")
def console(world: World) -> Iterator[Console]:
    """A console on the world that nobody changes."""
    opened = world.console
    yield opened
    opened.close()


def poisoned(world: World) -> set[int]:
    """Keys of the rows that carry the trigger."""
    return set(world.rounds.poison.backdoored)


def suspicious(world: World) -> int:
    """How many rows of west's second delivery screening holds, by what the store keeps of them."""
    with world.town.line() as line:
        case = next(c for c in list_cases(line.database, kind="screening") if c.source == "west")
        return len(case_numbers(line.store, case))


__all__ = ["STRANGE", "World", "poisoned", "suspicious"]
