"""A small town of three sources, delivering slices of Adult from folders, in states that tests go on from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from assay.demo.data import SOURCES, Rounds, make_rounds
from assay.demo.stage import Stage
from assay.ledger import model_key
from assay.line import Line, admit, land, screen, validate
from assay.settings import Settings
from tests.shared import built_once

PROJECT = Path(__file__).resolve().parents[2]


class Town:
    """A stage with its data; `line()` opens the line on it, on any database."""

    def __init__(self, root: Path, rounds: Rounds, database_url: str | None = None) -> None:
        self.stage = Stage(root, PROJECT)
        self.rounds = rounds
        self.settings: Settings = self.stage.settings
        if database_url is not None:
            self.settings = replace(self.settings, database_url=database_url)

    @contextmanager
    def line(self) -> Iterator[Line]:
        """Open the line."""
        with Line.open(self.stage.contract, self.settings) as line:
            yield line

    def change(self, **sections: object) -> None:
        """Change sections of the contract."""
        contract = yaml.safe_load(self.stage.contract.read_text())
        for name, section in sections.items():
            contract[name] = {**contract.get(name, {}), **section} if isinstance(section, dict) else section
        self.stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))

    def take_in(self, tables: dict[str, object], sequence: int) -> list[str]:
        """Deliver and land tables; returns the delivery ids."""
        for source, table in tables.items():
            self.stage.deliver(source, table, sequence)
        with self.line() as line:
            return [land(line, source)["delivery"] for source in tables]


def build_town(root: Path, rounds: Rounds, database_url: str | None = None) -> Town:
    """A town that has delivered nothing yet."""
    town = Town(root, rounds, database_url)
    town.stage.build(rounds, str(town.stage.outbox), PROJECT / "include" / "contracts" / "adult.yaml")
    town.change(
        training={
            "backend": "reference",
            "epochs": 8,
            "batch_size": 32,
            "layers": [{"dense": 16, "activation": "relu"}],
        },
        gates={"min_accuracy": 0.7, "max_slice_gap": None, "min_slice_rows": 20},
        screen={"false_discovery_rate": 0.05, "hold_delivery_above": 0.05},
    )
    return town


@pytest.fixture(scope="session")
def rounds() -> Rounds:
    """Small deliveries: 700 rows per source, then 500; 60 rows of history rewritten."""
    return make_rounds(seed=11, first=700, second=500, trusted=500, rewritten=60)


@pytest.fixture
def town(tmp_path: Path, rounds: Rounds) -> Town:
    """A town that has delivered nothing yet."""
    return build_town(tmp_path / "town", rounds)


@pytest.fixture(scope="session")
def settled_root(rounds: Rounds) -> Path:
    """Where a town's clean first round is admitted; all test processes share it, and tests go on from copies."""

    def build(folder: Path) -> None:
        town = build_town(folder, rounds)
        model_key(town.settings)  # towns that go on from here sign alike, and can be compared
        deliveries = town.take_in(rounds.first, 1)
        with town.line() as line:
            validate(line, deliveries)
            screen(line, deliveries)
            admit(line, deliveries)

    return built_once("settled-town", build)


@pytest.fixture(scope="session")
def held_root(rounds: Rounds, settled_root: Path) -> Path:
    """The same after its second round, with `west` held; shared, too."""

    def build(folder: Path) -> None:
        town = moved(settled_root, folder, rounds)
        deliveries = town.take_in(rounds.second, 2)
        with town.line() as line:
            validate(line, deliveries)
            screen(line, deliveries)

    return built_once("held-town", build)


def moved(root: Path, to: Path, rounds: Rounds) -> Town:
    """A copy of a town with all its state, in another place."""
    shutil.copytree(root, to)
    town = Town(to, rounds)
    contract = yaml.safe_load(town.stage.contract.read_text())
    for source in contract["sources"]:
        source["uri"] = f"{town.stage.outbox}/{source['id']}/"
    town.stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))
    return town


@pytest.fixture
def settled_town(tmp_path: Path, rounds: Rounds, settled_root: Path) -> Town:
    """A town whose clean first round is admitted as snapshot 1."""
    return moved(settled_root, tmp_path / "town", rounds)


@pytest.fixture
def held_town(tmp_path: Path, rounds: Rounds, held_root: Path) -> Town:
    """A settled town whose second round is screened; `west` is compromised and held."""
    return moved(held_root, tmp_path / "town", rounds)


__all__ = ["SOURCES", "Town", "build_town", "moved"]
