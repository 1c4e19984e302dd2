"""Validation of a delivery: stream it once, ask every expectation as much of it as it must see, add up the answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.contract.models import Contract
from assay.errors import UsageError
from assay.expect.engine import Answer, Engine
from assay.expect.frames import to_frame
from assay.expect.plan import Planned, Reach, make_plan
from assay.expect.result import FileRows, Validation
from assay.expect.spool import Spool
from assay.expect.tally import EXAMPLES, RowSet, Tally, plain
from assay.findings import Finding, Outcome, Scope, Severity
from assay.intake.tables import (
    BadCells,
    ReadStats,
    TableFormat,
    count_rows,
    read_batches,
    sniff,
    table_batches,
    table_schema,
)

OnProgress = Callable[[int, "int | None"], None]
"""Called with the rows done and, where it is known, the rows in all."""

_CELLS = 10_000_000  # values in a chunk: what an expectation costs beside its rows is paid once per chunk
_CHUNK = (16_384, 500_000)  # rows in a chunk, least and most
_BATCH = 65_536  # rows read at a time
_WHOLE_BYTES = 2 << 30  # of the columns that one expectation must see at once


def validate_files(
    paths: Sequence[str | Path],
    contract: Contract,
    *,
    names: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
    docs_dir: str | Path | None = None,
    title: str | None = None,
    work_dir: str | Path | None = None,
) -> Validation:
    """Validate the tables of a delivery together: their rows are one data set, and keys are unique across all of them.

    Memory is set by the chunk (some 10 million values), not by the delivery; only an expectation that must see whole
    columns at once, such as a median, holds those columns.

    Args:
        paths: Parquet or CSV files, in the order in which rows are numbered.
        contract: Types, ranges, sets and expectations.
        names: The files' names in the delivery, where they differ from their paths'.
        on_progress: Called after each chunk.
        docs_dir: A folder for Data Docs: static pages of the results, to browse without a network.
        title: What the Data Docs call this delivery.
        work_dir: A folder for temporary files; by default the system's.

    Raises:
        ExpectError: The contract asks for an expectation that does not exist; nothing has been read.
        ReadError: A file cannot be read as the contract's table.
        UsageError: There are no files, or `docs_dir` holds something else.
    """
    given = [Path(path) for path in paths]
    if not given:
        raise UsageError(
            "no table to validate", expected="at least one file", next_step="name the delivery's tables"
        )
    _check_docs(docs_dir)
    called = list(names) if names is not None else [path.name for path in given]
    run = _Run(contract)
    total = _total(given, called, contract)
    return run.validate(
        run.read(given, called), total, on_progress, docs_dir, title or contract.dataset, work_dir
    )


def validate_table(
    table: pa.Table | str | Path,
    contract: Contract,
    *,
    on_progress: OnProgress | None = None,
    docs_dir: str | Path | None = None,
    title: str | None = None,
    work_dir: str | Path | None = None,
) -> Validation:
    """Validate one table, in memory or in a file; see `validate_files`.

    Raises:
        ExpectError: The contract asks for an expectation that does not exist; nothing has been read.
        ReadError: It cannot be read as the contract's table.
    """
    if not isinstance(table, pa.Table):
        return validate_files(
            [table], contract, on_progress=on_progress, docs_dir=docs_dir, title=title, work_dir=work_dir
        )
    _check_docs(docs_dir)
    run = _Run(contract)
    batches = run.take(table)
    return run.validate(batches, table.num_rows, on_progress, docs_dir, title or contract.dataset, work_dir)


def check_expectations(contract: Contract) -> None:
    """Build all expectations of a contract without any data.

    Raises:
        ExpectError: One does not exist, or does not take its arguments.
    """
    Engine(make_plan(contract))


def _total(paths: list[Path], names: list[str], contract: Contract) -> int | None:
    """The rows in all, where footers tell."""
    formats = [sniff(path, name=name) for path, name in zip(paths, names, strict=True)]
    if any(format_ is not TableFormat.PARQUET for format_ in formats):
        return None
    return sum(count_rows(path, contract, name=name) for path, name in zip(paths, names, strict=True))


def _check_docs(docs_dir: str | Path | None) -> None:
    """Find out before the work whether its pages can be kept there."""
    if docs_dir is not None:
        from assay.expect.docs import check_folder

        check_folder(Path(docs_dir).resolve())


class _Run:
    """One validation in the making."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.schema = table_schema(contract)
        self.plan = make_plan(contract)
        self.engine = Engine(self.plan)
        self.tallies = [Tally(planned) for planned in self.plan]
        self.bad: dict[str, dict[str, RowSet]] = {}
        self.bad_examples: dict[str, list[dict[str, Any]]] = {}
        self.stats = ReadStats()
        self.files: list[FileRows] = []
        self.chunk_rows = max(_CHUNK[0], min(_CHUNK[1], _CELLS // len(self.schema)))

    # ------------------------------------------------------------------------------------------------------- reading
    def read(self, paths: list[Path], names: list[str]) -> Generator[pa.RecordBatch, None, None]:
        """The batches of all files; bad cells are noted on the way."""
        for path, name in zip(paths, names, strict=True):
            first = self.stats.rows
            yield from read_batches(
                path,
                self.contract,
                name=name,
                batch_rows=min(_BATCH, self.chunk_rows),
                on_error="collect",
                on_bad_cells=lambda cells, first=first: self._note(cells, first),  # type: ignore[misc]
                stats=self.stats,
            )
            self.files.append(FileRows(name, first, self.stats.rows - first))

    def take(self, table: pa.Table) -> Generator[pa.RecordBatch, None, None]:
        """The batches of a table in memory; bad cells are noted on the way."""
        yield from table_batches(
            table,
            self.contract,
            batch_rows=min(_BATCH, self.chunk_rows),
            on_error="collect",
            on_bad_cells=lambda cells: self._note(cells, 0),
            stats=self.stats,
        )
        self.files.append(FileRows("table", 0, table.num_rows))

    def _note(self, cells: BadCells, first: int) -> None:
        rows = cells.rows + first
        self.bad.setdefault(cells.column, {}).setdefault(cells.problem, RowSet()).add(rows)
        examples = self.bad_examples.setdefault(cells.column, [])
        places = [{"file": cells.file, "line": line} for line in cells.lines]
        shown = zip_longest(cells.examples[: EXAMPLES - len(examples)], rows, places)
        examples += [
            {"row": int(row), "value": text, "problem": cells.problem, **(place or {})}
            for text, row, place in shown
            if text is not None
        ]

    def _chunks(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.Table, bool]]:
        """Chunks, and whether each is the last one."""
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            if rows >= self.chunk_rows:
                chunk = pa.Table.from_batches(held, self.schema)
                held, rows = [], 0
                yield chunk, False
                del chunk
            held.append(batch)
            rows += batch.num_rows
        yield pa.Table.from_batches(held, self.schema), True

    # ---------------------------------------------------------------------------------------------------------- asking
    def validate(
        self,
        batches: Generator[pa.RecordBatch, None, None],
        total: int | None,
        on_progress: OnProgress | None,
        docs_dir: str | Path | None,
        title: str,
        work_dir: str | Path | None,
    ) -> Validation:
        """Stream, ask and add up."""
        tell = on_progress or (lambda done, of: None)
        try:
            chunks = self._chunks(batches)
            chunk, only = next(chunks)
            if only:
                self._ask(chunk, range(chunk.num_rows), self.plan)
            else:
                with tempfile.TemporaryDirectory(prefix="assay-validate-", dir=work_dir) as folder:
                    self._stream(chunk, chunks, Path(folder), total, tell)
        finally:
            batches.close()
        tell(self.stats.rows, self.stats.rows)
        types = self._type_findings()
        findings = [*types, *(tally.finding() for tally in self.tallies)]
        docs = None
        if docs_dir is not None:
            from assay.expect.docs import write_docs

            about = {
                "rows": self.stats.rows,
                "types": "; ".join(f"{f.subject} {f.message}".strip() for f in types),
            }
            docs = write_docs(Path(docs_dir), self.engine, self.tallies, self.contract, title, about)
        reasons = [
            (f"{column}: {problem}", rows)
            for column in self.schema.names
            for problem, rows in self.bad.get(column, {}).items()
        ]
        reasons += [(tally.planned.reason, tally.rows) for tally in self.tallies if tally.fails_rows]
        return Validation(findings, self.stats.rows, tuple(self.files), docs, tuple(reasons))

    def _stream(
        self,
        chunk: pa.Table,
        others: Iterator[tuple[pa.Table, bool]],
        folder: Path,
        total: int | None,
        tell: OnProgress,
    ) -> None:
        """Ask of each chunk what can be asked of it, and of the columns set aside what cannot."""
        by_row = [planned for planned in self.plan if planned.reach is Reach.ROW]
        later = [planned for planned in self.plan if planned.reach is not Reach.ROW]
        kept = {name for planned in later if not planned.about_shape for name in planned.columns}
        with Spool(
            folder, pa.schema([f for f in self.schema if f.name in kept] or [self.schema.field(0)])
        ) as spool:
            row = 0
            while True:
                shapes = [planned for planned in later if planned.about_shape] if not row else []
                self._ask(chunk, range(row, row + chunk.num_rows), [*by_row, *shapes])
                if later:
                    spool.add(chunk)
                row += chunk.num_rows
                tell(row, total)
                del chunk  # before the next one is read
                following = next(others, None)
                if following is None:
                    break
                chunk = following[0]
                del following
            self._ask_later([planned for planned in later if not planned.about_shape], spool)

    def _ask_later(self, later: list[Planned], spool: Spool) -> None:
        for columns in dict.fromkeys(planned.columns for planned in later):
            together = [planned for planned in later if planned.columns == columns]
            by_key = [planned for planned in together if planned.reach is Reach.KEY]
            whole = [planned for planned in together if planned.reach is Reach.WHOLE]
            if by_key:
                for rows, table in spool.partitions(list(columns)):
                    self._ask(table, rows, by_key)
            size = sum(spool.bytes[name] for name in columns)
            if whole and size > _WHOLE_BYTES:
                for planned in whole:
                    reason = f"it must see {', '.join(columns)} at once: {size:,} bytes, more than {_WHOLE_BYTES:,}"
                    self.tallies[planned.index].add(
                        Answer(planned.index, success=False, raised=reason), None, ()
                    )
            elif whole:
                table = spool.columns(list(columns) or [self.schema.names[0]])
                self._ask(table, range(table.num_rows), whole)

    def _ask(self, table: pa.Table, rows: range | npt.NDArray[np.int64], plan: Sequence[Planned]) -> None:
        """Ask expectations of these rows, and note their answers.

        Args:
            table: The rows' columns.
            rows: The rows' numbers, ascending.
            plan: What to ask.
        """
        needed = dict.fromkeys(name for planned in plan for name in planned.columns)
        names = [name for name in table.column_names if name in needed] or table.column_names[:1]
        frame = to_frame(table.select(names), rows)
        for answer in self.engine.ask(frame, plan):
            planned = self.plan[answer.index]
            failing = answer.rows
            if failing is not None and planned.type == "expect_column_values_to_not_be_null":
                failing = self._unaccounted(failing, planned.columns[0])
            examples = [] if failing is None else _values(table, rows, failing[:EXAMPLES], planned.columns)
            self.tallies[answer.index].add(answer, failing, examples)

    def _unaccounted(self, rows: npt.NDArray[np.int64], column: str) -> npt.NDArray[np.int64]:
        """Rows whose null is the delivery's own, not the place of a cell that could not be read."""
        if not len(rows) or column not in self.bad:
            return rows
        mask = np.zeros(int(rows[-1]) - int(rows[0]) + 1, dtype=bool)
        for unreadable in self.bad[column].values():
            unreadable.mark(mask, int(rows[0]))
        kept: npt.NDArray[np.int64] = rows[~mask[rows - rows[0]]]
        return kept

    # -------------------------------------------------------------------------------------------------------- findings
    def _type_findings(self) -> list[Finding]:
        notes: dict[str, Any] = {}
        if self.stats.nan_as_null:
            notes["nan_as_null"] = dict(sorted(self.stats.nan_as_null.items()))
        if self.stats.assumed_utc:
            notes["assumed_utc"] = sorted(self.stats.assumed_utc)
        said = (
            [f"{sum(self.stats.nan_as_null.values()):,} NaN read as null"] if self.stats.nan_as_null else []
        )
        said += (
            [f"times without a zone taken as UTC: {', '.join(notes['assumed_utc'])}"]
            if self.stats.assumed_utc
            else []
        )
        findings = []
        for column in self.schema.names:
            problems = self.bad.get(column)
            if not problems:
                continue
            count = sum(rows.count for rows in problems.values())
            kind = self.contract.schema_.columns[column].type
            evidence = {
                "level": "row",
                "where": f"schema.columns.{column}.type",
                "rows": self.stats.rows,
                "unexpected_count": count,
                "unexpected_percent": round(100.0 * count / self.stats.rows, 6),
                "problems": {problem: rows.count for problem, rows in problems.items()},
                "examples": self.bad_examples[column],
            }
            message = f"{count:,} of {self.stats.rows:,} cells are no {kind}: {', '.join(problems)}"
            findings.append(
                Finding(
                    check="expect.types",
                    outcome=Outcome.FAILED,
                    severity=Severity.MEDIUM,
                    scope=Scope.COLUMN,
                    subject=column,
                    message=message,
                    evidence=evidence | notes,
                )
            )
        if not findings:
            message = "; ".join(["all cells hold a value of their column's type or null", *said])
            evidence = {"level": "table", "where": "schema.columns", "rows": self.stats.rows} | notes
            findings.append(
                Finding(check="expect.types", outcome=Outcome.PASSED, message=message, evidence=evidence)
            )
        return findings


def _values(
    table: pa.Table,
    rows: range | npt.NDArray[np.int64],
    failing: npt.NDArray[np.int64],
    columns: tuple[str, ...],
) -> list[tuple[int, Any]]:
    """Row number and value of a few rows, as the delivery has them."""
    places = failing - rows.start if isinstance(rows, range) else np.searchsorted(rows, failing)
    shown = [name for name in columns if name in table.column_names][:8]
    found = []
    for row, place in zip(failing, places, strict=True):
        values = {name: plain(table.column(name)[int(place)].as_py()) for name in shown}
        found.append((int(row), values[shown[0]] if len(shown) == 1 else values))
    return found
