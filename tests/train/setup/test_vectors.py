"""Vectors as features: one per component, standardised, the same at inference, and a flag for a missing one."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from assay.model.probes import probe_rows
from assay.train import PreprocessError, load_preprocessing
from assay.train.setup.preprocess import CLIP, Preprocessing, fit
from tests.train.helpers import contract

COLUMNS = {
    "emb": {"type": "vector", "length": 2, "nullable": True},
    "x": {"type": "number"},
    "label": {"type": "string"},
}
ROWS = [[0.0, 5.0], [2.0, 5.0], None, [4.0, 5.0]]


def table(rows: list, kind: pa.DataType | None = None) -> pa.Table:
    """As many rows, with a number and a label."""
    emb = pa.array(rows, kind or pa.list_(pa.float64()))
    return pa.table({"emb": emb, "x": [1.0] * len(rows), "label": ["a"] * len(rows)})


def fitted() -> Preprocessing:
    """On `ROWS`."""
    return fit(table(ROWS), contract(COLUMNS, classes=["a", "b"]))


def test_each_component_is_a_feature_of_its_own() -> None:
    """Standardised by its own mean and spread; a constant one is only centred; a missing vector stands at the mean."""
    state = fitted()
    assert state.features == ("emb[0]", "emb[1]", "emb:missing", "x")
    found = state.transform(table(ROWS))
    spread = np.std([0.0, 2.0, 4.0])
    assert np.allclose(found[:, 0], [-2 / spread, 0, 0, 2 / spread])
    assert found[:, 1].tolist() == [0, 0, 0, 0]
    assert found[:, 2].tolist() == [0, 0, 1, 0]


def test_the_state_survives_json_and_list_types_do_not_matter() -> None:
    """Fixed lists of float32 at inference are the same rows."""
    state = fitted()
    loaded = load_preprocessing(json.loads(json.dumps(state.model_dump(mode="json"))))
    assert loaded == state
    fixed = table(ROWS, pa.list_(pa.float32(), 2))
    assert np.array_equal(loaded.transform(fixed), state.transform(table(ROWS)))


def test_vectors_that_are_none_are_missing_or_refused() -> None:
    """A gap or an infinity counts as missing, another length cannot be read, far values are held in."""
    state = fitted()
    found = state.transform(table([[1.0, None], [float("inf"), 5.0], [1e300, 5.0]]))
    assert found[:, 2].tolist() == [1, 1, 0]
    assert found[2, 0] == np.float32(CLIP)
    assert np.isfinite(found).all()
    with pytest.raises(PreprocessError, match="another length"):
        state.transform(table([[1.0]]))
    with pytest.raises(PreprocessError, match="cannot be read as vectors"):
        state.transform(table(["x"], pa.string()))
    gone = table([None, None]).set_column(0, "emb", pa.nulls(2))
    assert state.transform(gone)[:, 2].tolist() == [1, 1]


@pytest.mark.parametrize("broken", [{"means": [0.0]}, {"scales": [0.0, 1.0]}, {"kind": "number"}])
def test_a_state_that_contradicts_itself_is_refused(broken: dict) -> None:
    """As many scales as means, none of them 0, and neither but for vectors."""
    state = fitted().model_dump(mode="json")
    state["columns"][0] |= broken
    with pytest.raises(PreprocessError, match="cannot be used"):
        load_preprocessing(state)


def test_probe_rows_hold_vectors_within_a_few_deviations() -> None:
    """As the preprocessing makes them: a missing one stands at the mean and says so."""
    rows = probe_rows(fitted(), 1)
    assert rows.shape[1] == 4
    assert np.abs(rows[:, :2]).max() > 1
    gone = rows[:, 2] == 1
    assert gone.any()
    assert not rows[gone, :2].any()
