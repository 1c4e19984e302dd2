"""Stations that look at rows: validate and screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.contract import Contract
from assay.contract.models import Column
from assay.db import add_findings, advance_delivery, findings_of, get_delivery, latest_snapshot
from assay.findings import Finding, Outcome, Scope, Severity, Verdict
from assay.intake.tables import ReadError, table_schema
from assay.line.context import Line
from assay.line.errors import DeliveryRejected
from assay.line.exhibits import Screened, make_exhibits
from assay.line.remembered import correction_lists, rejected_rows
from assay.line.rows import DataFile, data_files, delivery_batches, picked, trusted_table, without
from assay.line.snapshots import snapshot_file
from assay.quarantine import CaseView, list_cases, open_case
from assay.store import put_table, read_table

if TYPE_CHECKING:
    from assay.screen import ScreenReport

Numbers = npt.NDArray[np.int64]
FAILING = pa.schema([("row", pa.int64()), ("reasons", pa.list_(pa.string()))])
SOURCE_COLUMN = "_source"
"""Name of the column that carries each row's source where the contract's tables have none of their own."""


def validate(line: Line, deliveries: list[str]) -> dict[str, Any]:
    """Check the contract's expectations on each delivery; failing rows are numbered and kept out.

    Returns:
        `deliveries`: ids that could be read, and the number of `failing` rows.

    Raises:
        DeliveryRejected: No delivery of the run could be read.
    """
    from assay.expect import validate_files

    readable, failing, reasons = [], 0, []
    for delivery_id in deliveries:
        files = data_files(line, delivery_id)
        docs = line.settings.home / "docs" / delivery_id
        try:
            if not files:
                raise ReadError(
                    "the delivery holds no data file",
                    file="manifest",
                    expected="a .parquet or .csv file in the manifest",
                )
            result = validate_files(
                [f.local for f in files],
                line.contract,
                names=[f.path for f in files],
                docs_dir=docs,
                title=f"{line.dataset}: {delivery_id}",
                work_dir=line.settings.work_dir,
            )
        except ReadError as error:
            _reject(line, delivery_id, error)
            reasons.append(str(error))
            continue
        stored = put_table(line.store, result.failing_batches(), schema=FAILING)
        doubtful = [
            f
            for f in result.findings
            if f.outcome is Outcome.NOT_CHECKED
            or (f.outcome is Outcome.FAILED and f.evidence["level"] == "table")
        ]
        facts = {
            "failing_rows": stored.sha256,
            "failing": result.failing_count,
            "hold": [f"{f.check}: {f.message}" for f in doubtful],
            "docs": str(result.docs) if result.docs else None,
        }
        with line.database.write() as session:
            add_findings(session, delivery_id, result.findings)
            advance_delivery(
                session, delivery_id, "validated", rows=result.rows, detail={"validation": facts}
            )
            line.record(
                "delivery-validated",
                [(delivery_id, _manifest(session, delivery_id)), ("failing-rows", stored.sha256)],
                {
                    "delivery": delivery_id,
                    "rows": result.rows,
                    "failing": facts["failing"],
                    "verdict": None,
                },
                inputs=_inputs_of(files),
                findings=result.findings,
                session=session,
            )
        readable.append(delivery_id)
        failing += result.failing_count
    if not readable:
        raise DeliveryRejected(
            f"no delivery could be read: {'; '.join(reasons)}", state="its bytes are kept sealed"
        )
    return {"deliveries": readable, "failing": failing}


def screen(line: Line, deliveries: list[str]) -> dict[str, Any]:
    """A verdict for each row of a run's deliveries together, a verdict for each delivery, and cases for both.

    Deliveries are screened as one batch, so that sources can be told from each other. A delivery is held when too many
    of its rows are quarantined, when a table-level expectation fails, or when a finding of high severity names it.

    Returns:
        `held`: ids of held deliveries; `quarantined`: number of rows; `summary`: text for the reviewer.
    """
    from assay.screen import screen as screen_rows

    with line.database.session() as session:
        known = {d: get_delivery(session, d) for d in deliveries}
        alive = [
            d
            for d, row in known.items()
            if row is not None and row.state not in {"rejected", "landed", "verified"}
        ]
        sources = {d: known[d].source for d in alive}  # type: ignore[union-attr]
        details = {d: dict(known[d].detail) for d in alive}  # type: ignore[union-attr]
        manifests = {d: known[d].manifest_sha256 for d in alive}  # type: ignore[union-attr]
        unsure = {d: [f.message for f in findings_of(session, d) if _freshness_unknown(f)] for d in alive}
        previous = latest_snapshot(session, line.dataset)
    failing = {d: failing_numbers(line, details[d]) for d in alive}
    contract = with_source(line.contract)
    work = line.work_dir(f"screen-{'-'.join(d[-8:] for d in alive)[:100]}")
    batch, numbers = _spool(line, contract, alive, sources, failing, work / "batch.parquet")
    schema = table_schema(contract)
    trusted = _trusted(line, schema)
    report = screen_rows(
        str(batch),
        contract,
        trusted=trusted,
        previous=str(snapshot_file(line, previous, work / "previous.parquet", schema)) if previous else None,
        seed=line.contract.screen.seed,
        corrections=correction_lists(line, alive, {d: len(numbers[d]) for d in alive}),
        rejected=rejected_rows(line, schema, SOURCE_COLUMN),
    )
    stored = put_table(line.store, report.rows)
    shares = _shares(batch, contract, report.rows["verdict"])
    offset, held, quarantined, lines = 0, [], 0, []
    for delivery_id in alive:
        rows = numbers[delivery_id]
        mine = report.rows.slice(offset, len(rows))
        offset += len(rows)
        bad = np.flatnonzero(pc.equal(mine["verdict"], "quarantine").to_numpy(zero_copy_only=False))
        why = [*details[delivery_id].get("validation", {}).get("hold", [])]
        why += unsure[delivery_id]
        share = len(bad) / max(1, len(rows))
        if share > line.contract.screen.hold_delivery_above:
            why.append(
                f"{share:.1%} of its rows look poisoned (limit {line.contract.screen.hold_delivery_above:.1%})"
            )
        why += [f.message for f in report.findings if _names(f, sources[delivery_id])]
        why += report.why_held
        suspects = _suspects(line, delivery_id, mine, rows, bad, details[delivery_id])
        exhibits = _exhibits(
            line, contract, report, trusted, Screened(batch, offset - len(rows), rows, shares, *suspects), why
        )
        cases = _open_cases(line, delivery_id, len(rows), *suspects, exhibits, why)
        facts = {
            "report": stored.sha256,
            "first": offset - len(rows),
            "rows": len(rows),
            "quarantined": len(bad),
        }
        with line.database.write() as session:
            add_findings(session, delivery_id, report.findings)
            advance_delivery(
                session,
                delivery_id,
                "held" if why else "screened",
                verdict=str(Verdict.HOLD if why else Verdict.ACCEPT),
                detail={"screen": {**facts, "why_held": why}},
            )
            line.record(
                "delivery-screened",
                [
                    (delivery_id, manifests[delivery_id]),
                    ("screen-report", stored.sha256),
                    *((case.id, case.digest) for case in cases),
                ],
                {
                    "delivery": delivery_id,
                    "verdict": "hold" if why else "accept",
                    "why": why,
                    "tier": report.tier,
                    "rows": len(rows),
                    "quarantined": len(bad),
                    "cases": [{"case": c.id, "kind": c.kind, "rows": c.rows} for c in cases],
                },
                inputs=[
                    *_inputs_of(data_files(line, delivery_id)),
                    *([(previous.id, previous.manifest_object)] if previous else []),
                ],
                findings=report.findings,
                session=session,
            )
        quarantined += len(bad)
        if why:
            held.append(delivery_id)
            lines.append(
                f"- **{sources[delivery_id]}** ({len(rows)} rows, {len(bad)} quarantined): {'; '.join(why)}"
            )
    for leftover in work.iterdir():
        leftover.unlink()
    work.rmdir()
    return {"held": held, "quarantined": quarantined, "summary": "\n".join(lines)[:600]}


def failing_numbers(line: Line, detail: dict[str, Any]) -> Numbers:
    """Sorted numbers of a delivery's rows that failed validation, int64."""
    table = read_table(line.store, detail["validation"]["failing_rows"], ["row"])
    return np.sort(np.asarray(table["row"].to_numpy(), dtype=np.int64))


def quarantined_numbers(line: Line, detail: dict[str, Any], failing: Numbers) -> Numbers:
    """Sorted numbers of a delivery's rows that screening quarantined, int64."""
    facts = detail["screen"]
    report = read_table(line.store, facts["report"], ["verdict"]).slice(facts["first"], facts["rows"])
    every = np.setdiff1d(np.arange(facts["rows"] + len(failing), dtype=np.int64), failing, assume_unique=True)
    mask: npt.NDArray[np.bool_] = pc.equal(report["verdict"], "quarantine").to_numpy(zero_copy_only=False)
    return every[mask]


def with_source(contract: Contract) -> Contract:
    """The contract with a source column, added where the data set has none."""
    if contract.schema_.source:
        return contract
    columns = {**contract.schema_.columns, SOURCE_COLUMN: Column(type="string")}
    schema = contract.schema_.model_copy(update={"columns": columns, "source": SOURCE_COLUMN})
    return contract.model_copy(update={"schema_": schema})


def _spool(
    line: Line,
    contract: Contract,
    deliveries: list[str],
    sources: dict[str, str],
    failing: dict[str, Numbers],
    target: Path,
) -> tuple[Path, dict[str, Numbers]]:
    """Write the valid rows of all deliveries to one file; returns it, and each delivery's row numbers in order."""
    schema = table_schema(contract)
    numbers: dict[str, Numbers] = {}

    def rows() -> Iterator[pa.RecordBatch]:
        for delivery_id in deliveries:
            kept = []
            for batch in delivery_batches(line, delivery_id):
                left, left_numbers = without(batch, failing[delivery_id])
                kept.append(left_numbers)
                arrays = [
                    left.column(name)
                    if name in left.schema.names
                    else pa.array([sources[delivery_id]] * left.num_rows, pa.string())
                    for name in schema.names
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            numbers[delivery_id] = np.concatenate(kept) if kept else np.empty(0, np.int64)

    with pq.ParquetWriter(target, schema, compression="none") as writer:
        for piece in rows():
            writer.write_batch(piece)
    return target, numbers


def _trusted(line: Line, schema: pa.Schema) -> pa.Table | None:
    """The trusted rows in the batch's columns; they come from no source."""
    trusted = trusted_table(line)
    if trusted is not None and SOURCE_COLUMN in schema.names and SOURCE_COLUMN not in trusted.column_names:
        trusted = trusted.append_column(SOURCE_COLUMN, pa.nulls(trusted.num_rows, pa.string()))
    return trusted


def _shares(batch: Path, contract: Contract, verdict: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """How many rows each source of the batch has, and how many of them are quarantined."""
    name = contract.schema_.source
    assert name is not None, "the contract was given a source column"
    bad = pc.equal(verdict, "quarantine").combine_chunks()
    rows: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    first = 0
    with pq.ParquetFile(batch) as file:
        for part in file.iter_batches(columns=[name]):
            column = part.column(0)
            mine = bad.slice(first, part.num_rows)
            first += part.num_rows
            for counts, some in ((rows, column), (quarantined, column.filter(mine))):
                counts.update({str(p["values"]): p["counts"] for p in pc.value_counts(some).to_pylist()})
    return {source: (rows[source], quarantined[source]) for source in sorted(rows)}


def _suspects(
    line: Line, delivery_id: str, report: pa.Table, numbers: Numbers, bad: Numbers, detail: dict[str, Any]
) -> tuple[pa.Table | None, pa.Table | None]:
    """The delivery's quarantined rows and those that failed validation, each with what was seen in it."""
    held = failing = None
    if len(bad):
        held = picked(line, delivery_id, numbers[bad])
        chosen = report.take(pa.array(bad))
        for name in ("score", "p_value", "reasons"):
            held = held.append_column(f"_{name}", chosen[name])
    told = read_table(line.store, detail["validation"]["failing_rows"])
    if told.num_rows:
        told = told.take(pc.sort_indices(told["row"]))
        failing = picked(line, delivery_id, np.asarray(told["row"].to_numpy(), dtype=np.int64))
        failing = failing.append_column("_reasons", told["reasons"])
    return held, failing


def _exhibits(
    line: Line,
    contract: Contract,
    report: ScreenReport,
    trusted: pa.Table | None,
    screened: Screened,
    why: list[str],
) -> dict[str, str]:
    """What reviewers look at beside the cases' rows, sealed; as evidence that says where it is, or why it is not."""
    if screened.held is None and screened.failing is None and not why:
        return {}
    try:
        made = make_exhibits(screened, contract, report, trusted)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        # The verdicts stand without their pictures; whoever reviews is told that there are none.
        return {"exhibits_missing": f"the plots could not be prepared: {type(error).__name__}"}
    return {"exhibits": line.store.put_bytes(made, sealed=True).sha256}


def _open_cases(
    line: Line,
    delivery_id: str,
    count: int,
    held: pa.Table | None,
    failing: pa.Table | None,
    exhibits: dict[str, str],
    why: list[str],
) -> list[CaseView]:
    """A case for rows that failed validation, one for rows that look poisoned, one for the delivery if it is held."""
    common: dict[str, Any] = {
        "database": line.database,
        "store": line.store,
        "dataset": line.dataset,
        "delivery_id": delivery_id,
        "review": line.contract.review,
    }
    if failing is not None:
        open_case(
            **common,
            kind="validation",
            rows=failing,
            summary=f"{failing.num_rows} rows fail the contract's expectations",
            evidence={"rows": failing.num_rows, **exhibits},
            blocking=bool(why),
        )
    if held is not None:
        counts: dict[str, int] = {}
        for entry in held["_reasons"].to_pylist():
            for reason in {str(r).split(":")[0] for r in entry}:
                counts[reason] = counts.get(reason, 0) + 1
        open_case(
            **common,
            kind="screening",
            rows=held,
            summary=f"{held.num_rows} of {count} rows look poisoned",
            evidence={"reasons": dict(sorted(counts.items(), key=lambda item: -item[1])[:20]), **exhibits},
            blocking=bool(why),
        )
    if why:
        open_case(
            **common,
            kind="delivery",
            rows=None,
            summary=f"held: {'; '.join(why)}"[:500],
            evidence={"why": why, **exhibits},
            blocking=True,
        )
    opened = [case for case in list_cases(line.database, delivery_id=delivery_id) if case.parent_id is None]
    return sorted(opened, key=lambda case: case.id)


def _names(finding: Finding, source: str) -> bool:
    """Whether a failed finding of high severity is about this source."""
    grave = finding.severity in {Severity.HIGH, Severity.CRITICAL} and finding.outcome is Outcome.FAILED
    return grave and finding.scope is Scope.SOURCE and finding.subject == source


def _freshness_unknown(finding: Finding) -> bool:
    return finding.check.startswith("intake.freshness") and finding.outcome is Outcome.NOT_CHECKED


def _inputs_of(files: list[DataFile]) -> list[tuple[str, str | None] | str]:
    """What a step that read these files worked on, for its statement."""
    return [(f"file:{file.path}", file.sha256) for file in files]


def _manifest(session: Any, delivery_id: str) -> str:
    delivery = get_delivery(session, delivery_id)
    assert delivery is not None
    return delivery.manifest_sha256


def _reject(line: Line, delivery_id: str, error: Exception) -> None:
    finding = Finding(
        check="expect.readable",
        outcome=Outcome.FAILED,
        severity=Severity.HIGH,
        subject=delivery_id,
        message=str(error).splitlines()[0],
    )
    with line.database.write() as session:
        add_findings(session, delivery_id, [finding])
        advance_delivery(session, delivery_id, "rejected", verdict="reject")
        line.record(
            "delivery-validated",
            [(delivery_id, _manifest(session, delivery_id))],
            {"delivery": delivery_id, "rows": None, "failing": None, "verdict": "reject"},
            inputs=_inputs_of(data_files(line, delivery_id)),
            findings=[finding],
            session=session,
        )
