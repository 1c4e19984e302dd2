"""A data set whose champions a human chooses: a first champion, and as many challengers as a test asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from assay.contract import add_key, load_contract
from assay.intake.publish import generate_key, publish
from assay.line import Line, admit, judge, land, promote_as, screen, train, validate
from assay.settings import Settings

DATASET = "loans"
TRAINING = f"{DATASET}__training"


def settle(root: Path, settings: Settings, contracts: Path) -> str:
    """Take in one signed delivery and make the model that learns from it the champion; returns the model's id."""
    outbox = root / f"outbox-{DATASET}"
    outbox.mkdir(parents=True)
    contract = _contract_file(contracts)
    trusted = contracts / "trusted" / f"{DATASET}.parquet"
    pq.write_table(_rows(10_000, 300), trusted)
    contract.write_text(yaml.safe_dump(_contract(outbox, trusted), sort_keys=False))
    key = generate_key(root / f"{DATASET}.key", "ed25519")
    add_key(contract, "bank", public_key=key.public_key, format=key.format)
    pq.write_table(_rows(0, 400), outbox / "rows.parquet")
    publish(outbox, load_contract(contract), "bank", root / f"{DATASET}.key", sequence=1)
    with Line.open(contract, settings) as line:
        delivered = [str(land(line, "bank")["delivery"])]
        validate(line, delivered)
        screen(line, delivered)
        admit(line, delivered)
        model = str(train(line)["model"])
        judge(line, model)
        promote_as(line, model, "founder", "the first model")
    return model


def challenge(settings: Settings) -> str:
    """Train and judge a challenger with one epoch more than the last; returns the model's id."""
    further(settings.contracts_dir)
    with Line.open(_contract_file(settings.contracts_dir), settings) as line:
        model = str(train(line)["model"])
        judge(line, model)
    return model


def further(contracts: Path) -> None:
    """Let the next training last one epoch longer: another run, and so another model."""
    file = _contract_file(contracts)
    contract = yaml.safe_load(file.read_text())
    contract["training"]["epochs"] += 1
    whole = file.with_suffix(".partial")
    whole.write_text(yaml.safe_dump(contract, sort_keys=False))
    whole.replace(file)


def _contract_file(contracts: Path) -> Path:
    return contracts / f"{DATASET}.yaml"


def _rows(first: int, count: int) -> pa.Table:
    """Whoever earns more than they owe has paid back; nobody earns about what they owe."""
    rng = np.random.default_rng(first)
    good = rng.random(count) < 0.5
    owed = rng.normal(20, 3, count)
    return pa.table(
        {
            "id": [f"loan-{number:05}" for number in range(first, first + count)],
            "owed": np.round(owed, 2),
            "earned": np.round(owed + np.where(good, 1, -1) * rng.uniform(2, 8, count), 2),
            "paid": np.where(good, "yes", "no"),
        }
    )


def _contract(outbox: Path, trusted: Path) -> dict[str, object]:
    return {
        "version": 1,
        "dataset": DATASET,
        "publishers": [{"id": "bank"}],
        "sources": [
            {
                "id": "bank",
                "publisher": "bank",
                "uri": str(outbox),
                "manifest": "SHA256SUMS",
                "signature": "SHA256SUMS.sig",
            }
        ],
        "schema": {
            "key": ["id"],
            "label": {"column": "paid", "classes": ["yes", "no"]},
            "columns": {
                "id": {"type": "string", "unique": True},
                "owed": {"type": "number"},
                "earned": {"type": "number"},
                "paid": {"type": "string", "allowed": ["yes", "no"]},
            },
        },
        "trusted": {"uri": trusted.as_uri()},
        "review": {"promotion": "manual", "on_timeout": "hold"},
        "training": {
            "backend": "reference",
            "epochs": 8,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 0.01},
            "layers": [{"dense": 8, "activation": "relu"}],
        },
        "gates": {"min_accuracy": 0.7, "max_drop_vs_champion": None},
    }
