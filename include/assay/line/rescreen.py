"""Looking again at the rows that a run learnt from, with what the run and its model show of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.db import ModelRow, get_run, list_models
from assay.errors import UsageError
from assay.intake.tables import table_schema
from assay.line.context import Line
from assay.line.judging import load_model
from assay.line.rows import trusted_table
from assay.line.runs import row_losses
from assay.line.snapshots import find_snapshot, snapshot_table
from assay.model import LoadedModel
from assay.train import load_preprocessing
from assay.train.backends.reference import forward

if TYPE_CHECKING:
    from assay.screen import ScreenReport

_CHUNK = 16_384


def screen_run(line: Line, name: str) -> ScreenReport:
    """Screen the training rows of a run by their losses and by their place in its model.

    The rows are those of the run's snapshot; the ones that it kept for validation have no losses. A run that kept no
    losses at all, or whose model is gone or has no hidden layer, gives a weaker answer, and says so.

    Args:
        line: The open line.
        name: Id of a run or of a model.

    Returns:
        The report; its row numbers are those of the snapshot's rows, as `row_losses` has them.

    Raises:
        UsageError: There is no such run or model.
        BundleRefused: The model's bundle is not what was registered.
    """
    from assay.screen import RunRecord
    from assay.screen import screen_run as judge

    run_id, model = _found(line, name)
    with line.database.session() as session:
        run = get_run(session, run_id)
        assert run is not None
        snapshot_id = run.snapshot_id
    table = snapshot_table(line, find_snapshot(line, snapshot_id)).select(table_schema(line.contract).names)
    why: dict[str, str] = {}
    losses = None
    try:
        kept = row_losses(line, run_id)
    except UsageError as error:
        why["losses"] = error.message
    else:
        found = _matrix(kept["losses"])
        losses = np.full((table.num_rows, found.shape[1]), np.nan, dtype=np.float32)
        losses[kept["row"].to_numpy()] = found
    trusted = trusted_table(line)
    activations = trusted_activations = None
    if model is None:
        why["activations"] = "the run made no model that is registered"
    else:
        loaded = load_model(line, model)
        if len(loaded.spec.layers) < 2:
            why["activations"] = "the model has no hidden layer"
        else:
            activations = penultimate(loaded, table)
            trusted_activations = None if trusted is None else penultimate(loaded, trusted)
    return judge(
        table,
        line.contract,
        RunRecord(run_id, losses, activations, trusted_activations, why),
        trusted=trusted,
        seed=line.contract.screen.seed,
    )


def penultimate(model: LoadedModel, table: pa.Table) -> npt.NDArray[np.float32]:
    """What the last layer of a model is given for each row, computed from its portable weights.

    Args:
        model: A model with at least one layer before the last.
        table: Rows of the contract's columns.

    Returns:
        float32 (rows, width).
    """
    state = load_preprocessing(model.spec.preprocessing)
    shorter = model.spec.model_copy(update={"layers": model.spec.layers[:-1]})
    parts = [
        forward(model.weights, shorter, state.transform(table.slice(start, _CHUNK)))
        for start in range(0, max(table.num_rows, 1), _CHUNK)
    ]
    joined = np.concatenate(parts)
    return joined.reshape(len(joined), -1).astype(np.float32)


def _found(line: Line, name: str) -> tuple[str, ModelRow | None]:
    """The run of that id, or the model's; and its model."""
    with line.database.session() as session:
        models = list_models(session, line.dataset)
        model = next((m for m in models if name in {m.id, m.run_id}), None)
        run = get_run(session, name if model is None else model.run_id)
        if run is None or run.dataset != line.dataset:
            raise UsageError(
                f"there is no run or model {name!r} of {line.dataset!r}",
                expected="the id of a run or a model",
                next_step="`assay model show` lists the models and their runs",
            )
        return run.id, model


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Lists of equal length as a matrix, NaN for null."""
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(values) if values else np.zeros(0)
    return np.asarray(flat, dtype=np.float32).reshape(len(column), -1)
