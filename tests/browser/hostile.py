"""A data set whose cells and texts try to be more than text: markup, scripts, links, marks, NUL, size, width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from assay.contract import add_key, load_contract
from assay.intake.publish import generate_key, publish
from assay.line import Line, land, screen, validate
from assay.settings import Settings

DATASET = "hostile"
COLUMNS = 500
SCRIPT = "<script>document.title='owned'</script>"
IMAGE = "<img src=x onerror=\"document.title='owned'\">"
LINK = "javascript:document.title='owned'"
CELLS = (
    SCRIPT,
    IMAGE,
    LINK,
    "\"'><svg onload=document.title='owned'>",
    "{{constructor.constructor('document.title=1')()}}",
    "right \u202eto left\u202c and \u2066isolated\u2069",
    "a\x00b",
    "bell \x07 and escape \x1b[31m",
    '=HYPERLINK("http://127.0.0.1/","click")',
    "[a link](javascript:document.title='owned') ![x](http://127.0.0.1/x.png)",
    "Z" * 1_000_000,
)
"""One value per trick; the last is a megabyte long."""

REASON = f"{SCRIPT} is what they said"
"""What a reviewer writes as the reason."""


def deliver(root: Path, settings: Settings, contracts: Path) -> str:
    """Put out one signed delivery of hostile rows and take it in as far as its cases; returns its id."""
    contract = contracts / f"{DATASET}.yaml"
    outbox = root / "outbox-hostile"
    outbox.mkdir(parents=True)
    contract.write_text(yaml.safe_dump(_contract(outbox), sort_keys=False))
    key = generate_key(root / "hostile.key", "ed25519")
    add_key(contract, "mallory", public_key=key.public_key, format=key.format)
    pq.write_table(_rows(), outbox / "rows.parquet", compression="zstd")
    publish(outbox, load_contract(contract), "mallory", root / "hostile.key", sequence=1)
    with Line.open(contract, settings) as line:
        delivery = str(land(line, "mallory")["delivery"])
        validate(line, [delivery])
        screen(line, [delivery])
    return delivery


def _rows(count: int = 240) -> pa.Table:
    rng = np.random.default_rng(3)
    bad = {8 * number + 3: cell for number, cell in enumerate(CELLS)}
    columns: dict[str, pa.Array] = {"id": pa.array(range(count), pa.int64())}
    columns["text"] = pa.array([bad.get(row, f"plain words {row % 7}") for row in range(count)])
    for number in range(COLUMNS - 4):
        columns[f"value_{number:03}"] = pa.array(np.round(rng.normal(size=count), 3))
    # What fails the contract stands in a case of its own: rows with hostile texts among them.
    size = [1_000.0 if row in bad else 1.0 for row in range(count)]
    columns["size"] = pa.array(size)
    columns["label"] = pa.array(np.where(rng.random(count) < 0.5, "yes", "no"))
    return pa.table(columns)


def _contract(outbox: Path) -> dict[str, object]:
    return {
        "version": 1,
        "dataset": DATASET,
        "description": f"{IMAGE} {LINK}",
        "publishers": [{"id": "mallory"}],
        "sources": [
            {
                "id": "mallory",
                "publisher": "mallory",
                "uri": str(outbox),
                "manifest": "SHA256SUMS",
                "signature": "SHA256SUMS.sig",
            }
        ],
        "schema": {
            "key": ["id"],
            "label": {"column": "label", "classes": ["yes", "no"]},
            "columns": {
                "id": {"type": "integer", "unique": True},
                "text": {"type": "string"},
                **{f"value_{number:03}": {"type": "number"} for number in range(COLUMNS - 4)},
                "size": {"type": "number", "max": 10},
                "label": {"type": "string", "allowed": ["yes", "no"]},
            },
        },
        "review": {"approvals": 2, "on_timeout": "hold", "timeout": "3d"},
        "training": {"backend": "reference", "epochs": 2},
    }
