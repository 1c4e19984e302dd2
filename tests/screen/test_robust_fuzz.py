"""Small random tables of any kind: a report or an `AssayError`, whatever the order of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.contract.models import Contract
from assay.errors import AssayError
from assay.screen import screen

KINDS = {
    "integer": st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
    "number": st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, -1.0])),
    "string": st.one_of(st.text(max_size=12), st.sampled_from(["a", "b", ""])),
    "boolean": st.booleans(),
    "date": st.integers(-719162, 2932896),
    "timestamp": st.integers(-62135596800 * 10**6, 253402300799 * 10**6),
}
ARROW = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[Contract, pa.Table, pa.Table | None, np.ndarray]:
    kinds = {
        f"c{i}": kind
        for i, kind in enumerate(draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5)))
    }
    label = draw(st.sampled_from(["none", "classes", "number"]))
    schema: dict[str, Any] = {
        "columns": {name: {"type": kind, "nullable": True} for name, kind in kinds.items()}
    }
    if label == "classes":
        kinds["y"] = "string"
        schema["columns"]["y"] = {"type": "string", "nullable": True}
        schema["label"] = {"column": "y", "classes": ["a", "b"]}
    elif label == "number":
        kinds["y"] = "number"
        schema["columns"]["y"] = {"type": "number", "nullable": True}
        schema["label"] = {"column": "y"}
    if draw(st.booleans()):
        kinds["id"] = "integer"
        schema["columns"]["id"] = {"type": "integer"}
        schema["key"] = ["id"]
    contract = Contract.model_validate({"version": 1, "dataset": "fuzz", "schema": schema})

    def table(rows: int) -> pa.Table:
        pools = {
            name: draw(st.lists(st.one_of(st.none(), KINDS[kind]), min_size=1, max_size=6))
            for name, kind in kinds.items()
        }
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        return pa.table(
            {
                name: pa.array([pool[i] for i in rng.integers(0, len(pool), rows)], ARROW[kinds[name]])
                for name, pool in pools.items()
            }
        )

    batch = table(draw(st.sampled_from([1, 7, 55])))
    trusted = table(draw(st.sampled_from([0, 30]))) if draw(st.booleans()) else None
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(batch.num_rows)
    return contract, batch, trusted, order


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_small_table_gets_a_report_or_a_clear_error(
    case: tuple[Contract, pa.Table, pa.Table | None, np.ndarray],
) -> None:
    """One row per input row; shuffled rows keep their verdicts and scores."""
    contract, batch, trusted, order = case
    try:
        report = screen(batch, contract, trusted=trusted)
    except AssayError:
        return
    assert report.rows.num_rows == batch.num_rows
    p = report.rows["p_value"].to_numpy()
    assert ((p > 0) & (p <= 1)).all()
    again = screen(batch.take(pa.array(order)), contract, trusted=trusted)
    assert [report.rows["verdict"].to_pylist()[i] for i in order] == again.rows["verdict"].to_pylist()
    np.testing.assert_allclose(p[order], again.rows["p_value"].to_numpy(), rtol=1e-9)
