"""Small contracts, tables and requests for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.contract.models import Contract
from assay.train import PreparedData, TrainRequest, make_request, prepare


def contract(
    columns: dict[str, Any],
    label: str = "label",
    classes: list[Any] | None = None,
    *,
    key: list[str] | None = None,
    source: str | None = None,
    **training: Any,
) -> Contract:
    """A contract of these columns; `training` overrides a small, quick training on the reference backend."""
    return Contract.model_validate(
        {
            "version": 1,
            "dataset": "small",
            "schema": {
                "key": key or [],
                "source": source,
                "label": {"column": label, "classes": classes},
                "columns": columns,
            },
            "training": {
                "backend": "reference",
                "layers": [{"dense": 16}],
                "epochs": 5,
                "batch_size": 32,
                "validation_fraction": 0.2,
                "optimizer": {"name": "adam", "learning_rate": 0.01},
                **training,
            },
        }
    )


def blobs(rows: int = 300, *, seed: int = 0, classes: int = 2, distance: float = 3.0) -> pa.Table:
    """Clouds of points, one per class, with their class as label."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    points = generator.normal(size=(rows, 4)) + distance * np.eye(4)[labels % 4]
    names = np.array(["red", "green", "blue", "black"])
    columns = {f"x{i}": points[:, i] for i in range(4)}
    return pa.table({"id": np.arange(rows), **columns, "label": names[labels]})


def blob_contract(classes: int = 2, **training: Any) -> Contract:
    """The contract of `blobs`."""
    columns = {"id": {"type": "integer"}, **{f"x{i}": {"type": "number"} for i in range(4)}}
    columns["label"] = {"type": "string"}
    return contract(columns, classes=["red", "green", "blue", "black"][:classes], key=["id"], **training)


def ready(
    folder: Path, table: pa.Table | None = None, agreed: Contract | None = None, **options: Any
) -> tuple[TrainRequest, Contract]:
    """A request ready to run, and its contract."""
    agreed = agreed or blob_contract()
    prepared: PreparedData = prepare(blobs() if table is None else table, agreed, folder / "run")
    request = make_request(prepared, agreed, snapshot_id="snapshot-1", out_dir=folder / "bundle", **options)
    return request, agreed


def leftovers(folder: Path) -> list[str]:
    """Names of what a run left beside its bundle's place, but for the lock and the run's own directory."""
    return sorted(path.name for path in folder.iterdir() if path.name not in {"run", ".bundle.lock"})
