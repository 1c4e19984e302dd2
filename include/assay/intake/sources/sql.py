"""A delivery that is the answer to one SQL query, read in one read-only transaction and streamed into Parquet."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import Connection as Session
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from assay.contract import Bounds, Source
from assay.errors import AssayError
from assay.intake.errors import CredentialsMissing, LocationError, SourceRefused, SourceUnreachable
from assay.intake.sources.base import Deadline, too_large
from assay.intake.sources.made import MadePlace
from assay.intake.sources.network import credentials_of
from assay.settings import Connection

_DRIVERS = {
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "sqlite": "sqlite",
    "mysql": "mysql+pymysql",
    "mssql": "mssql+pyodbc",
    "oracle": "oracle+oracledb",
}
_BATCH = 10_000  # rows that are in memory at a time
_LOOKED_AT = 50_000  # first rows that tell the columns' types


class SqlPlace(MadePlace):
    """The rows of a query, as `rows.parquet`.

    Args:
        uri: `sql://connection/`.
        deadline: When all must be over.
        source: Whose query it is.
        bounds: Limits on rows, columns and bytes.
        work: Scratch space of this machine.

    Raises:
        LocationError: The contract has no query for it.
        CredentialsMissing: The contract names a connection that is not in the environment.
    """

    def __init__(
        self, uri: str, deadline: Deadline, source: Source | None, bounds: Bounds, work: Path | None
    ) -> None:
        if source is None or source.sql is None:
            raise LocationError(
                f"no contract says what to ask at {uri}",
                expected="a source with `sql: {query: ...}`",
                next_step="name the source with --source, or add it to the contract",
            )
        found = credentials_of(source)
        if found is None or found.kind not in _DRIVERS:
            raise CredentialsMissing(
                "nothing says where the database is",
                expected=f"an Airflow connection of one of the kinds {', '.join(sorted(_DRIVERS))}",
                found=None if found is None else found.kind,
                next_step="name it in the source's transport.connection",
            )
        super().__init__(uri.partition("?")[0].rstrip("/") + "/", deadline, work)
        self._query = source.sql
        self._bounds = bounds
        self._url = _url(found)
        self._shown = {"dialect": found.kind, "host": found.host, "database": found.schema}

    def make(self, folder: Path) -> dict[str, Any]:
        """Run the query and write its rows."""
        try:
            engine = _engine(self._url, self._query.isolation, self.deadline)
            try:
                with engine.connect() as session:
                    self._limit_time(session)
                    return self._written(session, folder)
            finally:
                engine.dispose()
        except (SQLAlchemyError, ImportError) as error:
            self.deadline.check(f"the answer of {self.shown}")
            original = getattr(error, "orig", None) or error
            said = str(original).partition("\n")[0]
            lost = isinstance(error, DBAPIError) and (
                error.connection_invalidated or "connect" in said.lower()
            )
            kind = SourceUnreachable if lost else SourceRefused
            raise kind(
                f"the database does not answer the query of {self.shown}",
                found=f"{type(original).__name__}: {self._without_secrets(said)[:200]}",
                state="nothing was registered",
                next_step="check the connection, the query, and what the user may read",
            ) from None

    def _limit_time(self, session: Session) -> None:
        """Have the database itself end a query that takes too long."""
        if session.dialect.name == "postgresql":
            session.exec_driver_sql(
                f"SET LOCAL statement_timeout = {int(self.deadline.remaining * 1000) + 1}"
            )
        elif session.dialect.name == "sqlite":
            raw: Any = session.connection.driver_connection
            raw.set_progress_handler(lambda: int(self.deadline.remaining <= 0), 100_000)

    def _written(self, session: Session, folder: Path) -> dict[str, Any]:
        import pyarrow.parquet as pq

        answer = session.execution_options(stream_results=True, max_row_buffer=_BATCH).exec_driver_sql(
            self._query.query
        )
        if not answer.returns_rows:
            raise SourceRefused(f"the query of {self.shown} gives no rows", next_step="write one SELECT")
        names = [str(name) for name in answer.keys()]  # noqa: SIM118 - a result is no dict
        if len(set(names)) != len(names) or len(names) > self._bounds.max_columns:
            raise SourceRefused(
                f"the columns of the query of {self.shown} cannot make a table",
                expected=f"at most {self._bounds.max_columns} columns, each name once",
                found=f"{len(names)} columns, {len(set(names))} names",
                next_step="name each column once with AS",
            )
        batches = iter(lambda: [[_plain(v) for v in row] for row in answer.fetchmany(_BATCH)], [])
        first = list(itertools.islice(batches, _LOOKED_AT // _BATCH))
        schema = _schema(names, [row for batch in first for row in batch])
        seen, rows, target = hashlib.sha256(), 0, folder / self._query.file
        with pq.ParquetWriter(target, schema, compression="zstd", version="2.6") as writer:
            for batch in itertools.chain(first, batches):
                self.deadline.check(f"the answer of {self.shown}")
                rows += len(batch)
                if rows > self._bounds.max_rows:
                    raise too_many_rows(self.shown, self._bounds.max_rows)
                for row in batch:
                    seen.update(_line(row))
                writer.write_batch(_batch(batch, schema, self.shown))
                if target.stat().st_size > self._bounds.max_bytes:
                    raise too_large(self.shown, self._bounds.max_bytes)
        return {
            "made_by": "assay",
            "kind": "sql",
            "from": self._shown,
            "query_sha256": hashlib.sha256(self._query.query.encode()).hexdigest(),
            "isolation": self._query.isolation,
            "columns": [[field.name, str(field.type)] for field in schema],
            "rows": rows,
            "rows_sha256": seen.hexdigest(),
            "file": self._query.file,
        }

    def _without_secrets(self, text: str) -> str:
        for secret in filter(None, (self._url.password,)):
            text = text.replace(str(secret), "***")
        return text


def too_many_rows(shown: str, most: int) -> AssayError:
    """The error for more rows than the contract allows."""
    return SourceRefused(
        f"{shown} gives more rows than the contract allows",
        expected=f"at most {most}",
        next_step="raise bounds.max_rows in the contract, if so many rows are right",
    )


def _url(found: Connection) -> URL:
    query = {key: str(value) for key, value in found.extra.items() if isinstance(value, str | int)}
    if found.kind == "sqlite":
        path = Path(found.schema or found.host or "").absolute()
        return URL.create("sqlite", database=f"{path.as_uri()}", query={"mode": "ro", "uri": "true"})
    return URL.create(
        _DRIVERS[found.kind],
        username=found.user,
        password=found.password,
        host=found.host,
        port=found.port,
        database=found.schema,
        query=query,
    )


def _engine(url: URL, isolation: str, deadline: Deadline) -> Engine:
    """An engine whose connections are in one read-only transaction of that isolation."""
    kind = url.get_backend_name()
    options: dict[str, Any] = {"isolation_level": isolation.replace("_", " ").upper()}
    arguments: dict[str, Any] = {}
    if kind == "sqlite":
        options = {}  # the file is opened read-only, and one statement sees one state of it
    elif kind == "postgresql":
        arguments = {"connect_timeout": max(1, min(10, int(deadline.remaining)))}
        options["postgresql_readonly"] = True
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    return engine.execution_options(**options)


def _plain(value: Any) -> Any:
    """A database's value as one that Arrow has: what has no type there becomes text."""
    if value is None or isinstance(value, bool | int | float | str | bytes | dt.datetime | dt.date | dt.time):
        return value
    if isinstance(value, decimal.Decimal):
        return value
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _schema(names: Sequence[str], rows: list[list[Any]]) -> pa.Schema:
    fields = []
    for number, name in enumerate(names):
        values = [row[number] for row in rows if row[number] is not None]
        if not values:
            kind = pa.string()
        elif any(isinstance(value, decimal.Decimal) for value in values):
            scale = max(
                -int(v.as_tuple().exponent) if isinstance(v, decimal.Decimal) and v.is_finite() else 0
                for v in values
            )
            kind = pa.decimal128(38, max(0, min(scale, 37)))
        else:
            try:
                kind = pa.array(values).type
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                kind = pa.string()
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def _batch(rows: list[list[Any]], schema: pa.Schema, shown: str) -> pa.RecordBatch:
    columns = []
    for number, field in enumerate(schema):
        values = [row[number] for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            raise SourceRefused(
                f"the column {field.name!r} of {shown} has values of several types",
                expected=str(field.type),
                found=", ".join(sorted({type(v).__name__ for v in values if v is not None})),
                next_step="CAST the column to one type in the query",
            ) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _line(row: Sequence[Any]) -> bytes:
    """A row as one line of JSON: numbers, texts, true, false and null as they are, all else as text."""
    values: Iterator[Any] = (
        value
        if value is None or isinstance(value, bool | int | float | str)
        else value.hex()
        if isinstance(value, bytes)
        else str(value)
        for value in row
    )
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
