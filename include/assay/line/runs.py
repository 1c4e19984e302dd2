"""What is kept of a run beside its bundle: the facts of its statement, and how each row fared in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.db import get_run
from assay.errors import UsageError
from assay.ledger.rows.snapshot import ROW_HASH, SOURCE
from assay.line.context import Line
from assay.store import read_table
from assay.train import RunResult, TrainRequest
from assay.train.records.curvefile import write_curve


def run_facts(request: TrainRequest, result: RunResult) -> dict[str, Any]:
    """How a run went, as its statement and the registry say it: nothing that a second try would see otherwise."""
    spec = result.spec
    return {
        "status": result.status,
        # What a finished run says there is how long it took: a clock.
        "reason": "" if result.status == "finished" else result.reason,
        "backend": result.backend,
        "backend_reason": result.backend_reason,
        "device": result.device,
        "device_name": spec.device_name if spec else None,
        "versions": result.versions or {},
        "epochs": len(result.curve),
        "best_epoch": spec.best_epoch if spec else None,
        "stopped_because": spec.stopped_because if spec else None,
        "curve_outcome": str(result.curve_outcome),
        "loss": request.loss.model_dump(mode="json"),
        "privacy": _privacy(request, result),
        "aggregation": {**request.aggregation.model_dump(mode="json"), "dropped": dropped_shares(result)}
        if request.aggregation.name != "mean"
        else None,
    }


def _privacy(request: TrainRequest, result: RunResult) -> dict[str, Any] | None:
    """What was promised, and what a finished run spent; of others what the last epoch says."""
    if request.privacy is None:
        return None
    report = result.spec.privacy if result.spec else None
    last = result.curve[-1] if result.curve else None
    return {
        **request.privacy.model_dump(mode="json"),
        "sampling_rate": report.sampling_rate if report else None,
        "steps": report.steps if report else None,
        "epsilon_rdp": report.epsilon_rdp if report else last.epsilon_rdp if last else None,
        "epsilon_pld": report.epsilon_pld if report else last.epsilon_pld if last else None,
        "neighbours": "add_or_remove_one_row",
    }


def dropped_shares(result: RunResult) -> dict[str, float]:
    """For each source, the share of the updates in which the aggregation left it out."""
    shares: dict[str, list[float]] = {}
    for point in result.curve:
        for source in point.sources:
            shares.setdefault(source.name, []).append(source.dropped)
    return {name: sum(values) / len(values) for name, values in sorted(shares.items())}


def keep_curve(line: Line, result: RunResult, work: Path) -> str | None:
    """Store the curve of a run that made no bundle: a bundle brings its own.

    Args:
        line: The open line.
        result: The run.
        work: Scratch folder.

    Returns:
        The object's SHA-256; `None` where a bundle has the curve, or there is none.
    """
    if result.bundle_dir is not None or not result.curve:
        return None
    path = work / "curve.parquet"
    write_curve(path, result.curve)
    try:
        return line.store.put_file(path).sha256
    finally:
        path.unlink()


def keep_row_losses(line: Line, path: Path | None, table: pa.Table) -> str | None:
    """Store a run's row losses with what names each row: its hash, its source, and the contract's key.

    Args:
        line: The open line.
        path: From `RunResult.row_losses`.
        table: The rows that were prepared, in their order.

    Returns:
        The object's SHA-256; `None` without a file.
    """
    if path is None:
        return None
    names = [ROW_HASH, SOURCE, *(name for name in line.contract.schema_.key if name in table.column_names)]
    keys = table.select(names)
    with pq.ParquetFile(path) as file, line.store.writer() as sink:
        losses = file.schema_arrow
        schema = pa.schema(
            [losses.field("row"), *keys.schema, losses.field("losses")], metadata=losses.metadata
        )
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for number in range(file.num_row_groups):
                part = file.read_row_group(number)
                named = keys.take(part.column("row"))
                columns = [part.column("row"), *named.columns, part.column("losses")]
                writer.write_table(pa.table(columns, schema=schema))
    assert sink.stored is not None
    return sink.stored.sha256


def row_losses(line: Line, run_id: str) -> pa.Table:
    """How every training row fared in a run: which rows fought the model.

    A private run has none: the loss of a single row is what its noise hides.

    Args:
        line: The open line.
        run_id: A registered run's id.

    Returns:
        One row per training row: `row` (its number in the snapshot), `_row_hash`, `_source`, the contract's key
        columns, and `losses`: one float32 per epoch, not weighted, as it was before the update of the row's batch, null
        where the row was in no batch of that epoch. The schema's metadata `assay.epochs` names the epochs, which with
        very many rows and epochs are not all.

    Raises:
        UsageError: There is no such run, or it kept no row losses.
        ObjectMissing: The object is gone.
        StoreCorrupt: Its bytes are others.
    """
    with line.database.session() as session:
        run = get_run(session, run_id)
        kept = None if run is None or run.dataset != line.dataset else run.detail.get("row_losses")
    if kept is None:
        raise UsageError(
            f"there are no row losses of the run {run_id!r}",
            expected=f"a run of {line.dataset!r} that made an epoch and was not private",
            next_step="`assay model show` lists the runs",
        )
    return read_table(line.store, str(kept))
