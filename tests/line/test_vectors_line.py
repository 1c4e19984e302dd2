"""Pictures as one vector column, from a signed delivery to a champion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from assay.contract import add_key, load_contract
from assay.db import champion, latest_snapshot
from assay.findings import Outcome, worst
from assay.intake.publish import generate_key, publish
from assay.ledger import verify_snapshot
from assay.line import Line, admit, judge, land, load_model, promote, screen, train, validate
from assay.line.snapshots import manifest_of, snapshot_table
from assay.quarantine import case_rows, list_cases
from assay.settings import Settings

STAMPED = 30
"""Pictures with a trigger: three bright pixels in a corner that is dark in honest ones."""


def pictures(order: np.ndarray, first_id: int) -> pa.Table:
    """Some of scikit-learn's handwritten digits, 64 pixels each."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = data.data[order].astype(np.float32)
    return pa.table(
        {
            "picture": pa.array(range(first_id, first_id + len(order))),
            "pixels": pa.array(list(pixels), pa.list_(pa.float32())),
            "digit": pa.array([str(data.target[place]) for place in order]),
        }
    )


def stamped(table: pa.Table, rows: int) -> pa.Table:
    """The table with a trigger on its last rows, labelled as zeros."""
    pixels, digits = np.array(table["pixels"].to_pylist(), np.float32), table["digit"].to_pylist()
    pixels[-rows:, [7, 15, 56]] = 15
    digits[-rows:] = ["0"] * rows
    return table.set_column(1, "pixels", pa.array(list(pixels), pa.list_(pa.float32()))).set_column(
        2, "digit", pa.array(digits)
    )


class Lab:
    """One publisher with one scanner, two deliveries, and pictures that nobody delivers.

    Args:
        root: An empty folder for everything.
        order: A permutation of the 1,797 digits.
    """

    def __init__(self, root: Path, order: np.ndarray) -> None:
        trusted = pictures(order[:300], 10_000)
        self.first, self.second = pictures(order[300:1000], 1), pictures(order[1000:1700], 1001)
        self.unseen = pictures(order[1700:], 20_000)
        self.outbox, self.key, home = root / "outbox", root / "lab.key", root / "state"
        self.contract = root / "contracts" / "digits.yaml"
        self.outbox.mkdir()
        self.contract.parent.mkdir()
        self.settings = Settings(
            home=home,
            database_url=f"sqlite:///{home / 'assay.db'}",
            store_uri=(home / "store").as_uri(),
            keys_dir=home / "keys",
            contracts_dir=self.contract.parent,
        )
        pq.write_table(trusted, self.contract.parent / "trusted.parquet")
        told = {
            "version": 1,
            "dataset": "digits",
            "owner": "lab",
            "publishers": [{"id": "lab"}],
            "sources": [
                {
                    "id": "scanner",
                    "publisher": "lab",
                    "uri": str(self.outbox),
                    "manifest": "SHA256SUMS",
                    "signature": "SHA256SUMS.minisig",
                }
            ],
            "freshness": {"when_absent": "not_checked"},
            "schema": {
                "key": ["picture"],
                "label": {"column": "digit", "classes": list("0123456789")},
                "columns": {
                    "picture": {"type": "integer", "unique": True},
                    "pixels": {"type": "vector", "length": 64, "min": 0, "max": 16},
                    "digit": {"type": "string"},
                },
            },
            "trusted": {"uri": "trusted.parquet"},
            "screen": {"hold_delivery_above": 0.2},
            "training": {
                "backend": "reference",
                "layers": [{"dense": 32, "activation": "relu"}],
                "optimizer": {"name": "adam", "learning_rate": 0.005},
                "epochs": 15,
                "batch_size": 32,
            },
            "gates": {"min_accuracy": 0.85, "max_slice_gap": None},
        }
        self.contract.write_text(yaml.safe_dump(told, sort_keys=False))
        made = generate_key(self.key, "minisign")
        add_key(self.contract, "lab", public_key=made.public_key, format=made.format)

    def deliver(self, table: pa.Table, sequence: int) -> None:
        """Put out a signed delivery."""
        pq.write_table(table, self.outbox / "pictures.parquet")
        publish(self.outbox, load_contract(self.contract), "scanner", self.key, sequence=sequence)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab that has delivered nothing yet."""
    return Lab(tmp_path, np.random.default_rng(3).permutation(1797))


def test_pictures_come_in_their_trigger_does_not_and_a_model_learns_from_the_rest(lab: Lab) -> None:
    """Every stamped picture is held, hardly an honest one; the champion reads vectors and has no back door."""
    held = []
    for sequence, table in enumerate((lab.first, stamped(lab.second, STAMPED)), 1):
        lab.deliver(table, sequence)
        with Line.open(lab.contract, lab.settings) as line:
            delivery = land(line, "scanner")["delivery"]
            validate(line, [delivery])
            screen(line, [delivery])
            for case in list_cases(line.database, delivery_id=delivery):
                held += case_rows(line.database, line.store, case.id)["picture"].to_pylist()
            admit(line, [delivery])
    poison = set(lab.second["picture"].to_pylist()[-STAMPED:])
    assert poison <= set(held)
    assert len(held) <= STAMPED + 0.005 * 1400
    with Line.open(lab.contract, lab.settings) as line:
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "digits")
        assert snapshot.version == 2
        assert set(snapshot_table(line, snapshot)["picture"].to_pylist()).isdisjoint(held)
        assert (
            worst(f.outcome for f in verify_snapshot(line.store, manifest_of(line, snapshot)))
            is Outcome.PASSED
        )
        model = train(line)["model"]
        judge(line, model)
        promote(line, model)
        with line.database.session() as session:
            learnt = load_model(line, champion(session, "digits"))
    truth = np.array(lab.unseen["digit"].to_pylist())
    assert np.mean(learnt.predict(lab.unseen) == truth) > 0.85
    others = lab.unseen.filter(pa.array(truth != "0"))
    assert np.mean(learnt.predict(stamped(others, len(others))) == "0") < 0.1
