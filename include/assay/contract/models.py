"""The contract of one data set: who delivers it, what it looks like, what must hold before a model learns from it."""

from __future__ import annotations

import datetime as dt
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from assay.canonical import canonical_json, sha256_hex
from assay.contract.base import Complaint, Identifier, Model
from assay.contract.durations import Duration
from assay.contract.implied import with_implied
from assay.contract.keys import Publisher
from assay.contract.training import Gates, Training

SOURCE_SCHEMES = ("file", "http", "https")
"""Schemes of a source's URI; one without a scheme is a local path."""

RESERVED_COLUMNS = frozenset({"_row", "_score", "_p_value", "_reasons", "_source", "_delivery", "_decision"})
"""Names of columns that Assay adds to tables of its own."""

_PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly", "@continuous")
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-#?]+")


class Source(Model):
    """One place that a publisher delivers from."""

    id: Identifier
    publisher: Identifier
    uri: str = Field(min_length=1, description="Local path, file:// or http(s):// folder; ends in /.")
    manifest: str = "SHA256SUMS"
    signature: str | None = Field(default=None, description="File name of the signature over the manifest.")
    on_repeat: Literal["reject", "skip"] = Field(
        default="reject",
        description="What an unchanged, already admitted delivery means: a replay, or just nothing new.",
    )

    @model_validator(mode="after")
    def _safe_transport(self) -> Self:
        parts = urlsplit(self.uri) if "://" in self.uri else None
        if parts is not None and parts.scheme not in SOURCE_SCHEMES:
            raise Complaint(
                f"sources cannot be read over {parts.scheme}",
                fix=f"use a local path or one of {', '.join(f'{each}://' for each in SOURCE_SCHEMES)}",
                at=("uri",),
            )
        if parts is not None and (parts.username or parts.password):
            raise Complaint(
                "the address carries a user name or password, and contracts are no place for secrets",
                fix="take it out; let a connection or the environment carry it",
                at=("uri",),
            )
        if parts is not None and parts.scheme == "http" and not self.signature:
            raise Complaint(
                "plain http without a signature: anyone on the way could change the data",
                fix="name the signature file in `signature`, or use https",
                at=("uri",),
            )
        for field, name in (("manifest", self.manifest), ("signature", self.signature)):
            if name is not None and (not name or "/" in name or "\\" in name or name in {".", ".."}):
                raise Complaint(
                    f"{name!r} is not a plain file name",
                    fix="name a file that lies in the delivery itself",
                    at=(field,),
                )
        if self.signature == self.manifest:
            raise Complaint(
                "manifest and signature are the same file", fix="name each file", at=("signature",)
            )
        return self


class Freshness(Model):
    """How new a delivery must be. Sequence or date come from what is signed."""

    when_absent: Literal["not_checked", "accept"] = Field(
        default="not_checked",
        description="What a delivery without a signed sequence or date means; `accept`: its digest is enough.",
    )
    max_age: Duration | None = Field(default=None, description="Oldest acceptable signed date, e.g. 7d.")


class Bounds(Model):
    """Limits on what is read from an untrusted delivery."""

    max_bytes: int = Field(default=20 * 2**30, gt=0)
    max_files: int = Field(default=10_000, gt=0)
    max_rows: int = Field(default=100_000_000, gt=0)
    max_columns: int = Field(default=20_000, gt=0)
    max_string_bytes: int = Field(default=1 << 20, gt=0)
    max_ratio: float = Field(default=1000.0, gt=1, description="Decompressed to compressed size.")
    timeout: Duration = dt.timedelta(minutes=10)


class Column(Model):
    """One column: its type and what its values may be."""

    type: Literal["integer", "number", "string", "boolean", "date", "timestamp"]
    nullable: bool = False
    unique: bool = False
    min: float | dt.datetime | dt.date | None = Field(default=None, description="Smallest value that may be.")
    max: float | dt.datetime | dt.date | None = Field(default=None, description="Largest value that may be.")
    allowed: tuple[str | int | float | bool, ...] | None = None
    pattern: str | None = Field(
        default=None, description="Regular expression that each string must match in full."
    )
    max_length: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_bounds()
        if self.pattern is not None:
            if self.type != "string":
                raise Complaint(
                    f"pattern makes no sense for type {self.type}", fix="leave it out", at=("pattern",)
                )
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise Complaint(
                    f"not a regular expression: {error}", fix="correct it; quote it in YAML", at=("pattern",)
                ) from error
        if self.max_length is not None and self.type != "string":
            raise Complaint(
                f"max_length makes no sense for type {self.type}", fix="leave it out", at=("max_length",)
            )
        for number, value in enumerate(self.allowed or ()):
            _check_value(value, self.type, ("allowed", number))
        return self

    def _check_bounds(self) -> None:
        for field, bound in (("min", self.min), ("max", self.max)):
            if bound is None:
                continue
            if self.type in {"string", "boolean"}:
                raise Complaint(
                    f"{field} makes no sense for type {self.type}",
                    fix="use allowed, pattern or max_length",
                    at=(field,),
                )
            if isinstance(bound, float) != (self.type in {"integer", "number"}):
                wanted = "a number" if self.type in {"integer", "number"} else "a date such as 2026-01-31"
                raise Complaint(
                    f"{field} {bound} does not go with type {self.type}", fix=f"write {wanted}", at=(field,)
                )
        low, high = self.min, self.max
        if low is not None and high is not None and low > high:  # type: ignore[operator]  # both of one kind, see above
            raise Complaint(f"min {low} is above max {high}", fix="swap them", at=("min",))


class Label(Model):
    """What the model learns to predict; no `classes` means a number (regression)."""

    column: str
    classes: tuple[str | int | bool, ...] | None = Field(default=None, min_length=2)


class Schema(Model):
    """Columns, keys and the label."""

    key: tuple[str, ...] = ()
    source: str | None = Field(default=None, description="Column that names each row's source.")
    immutable: tuple[str, ...] = Field(
        default=(), description="Columns that must not change under the same key."
    )
    label: Label | None = None
    ignore: tuple[str, ...] = Field(
        default=(), description="Columns that neither screening nor training uses."
    )
    columns: dict[str, Column] = Field(
        min_length=1,
        description="What each column holds; one that is only named elsewhere is taken to be text.",
    )

    @model_validator(mode="before")
    @classmethod
    def _imply(cls, data: Any) -> Any:
        return with_implied(data)

    @model_validator(mode="after")
    def _names(self) -> Self:
        self._check_column_names()
        named: list[tuple[tuple[str | int, ...], str]] = []
        for field in ("key", "immutable", "ignore"):
            named += [((field, number), name) for number, name in enumerate(getattr(self, field))]
        if self.label:
            named.append((("label", "column"), self.label.column))
        if self.source is not None:
            named.append((("source",), self.source))
        for at, column in named:
            _check_known(column, self.columns, at)
        for number, column in enumerate(self.key):
            if self.columns[column].nullable:
                raise Complaint(
                    f"key column {column!r} is nullable, and a row without its key cannot be told from others",
                    fix="set nullable to false, or choose another key",
                    at=("key", number),
                )
        if self.immutable and not self.key:
            raise Complaint(
                "immutable needs a key to tell which row is which",
                fix="name the key column(s) in `key`",
                at=("immutable",),
            )
        if self.label:
            self._check_label(self.label)
        return self

    def _check_column_names(self) -> None:
        lowered: dict[str, str] = {}
        for name in self.columns:
            if not name.strip() or len(name) > 200 or not name.isprintable():
                raise Complaint(
                    f"{name!r} is no usable column name",
                    fix="use 1 to 200 printable characters",
                    at=("columns",),
                )
            if name in RESERVED_COLUMNS:
                raise Complaint(
                    f"{name!r} is a column that Assay adds itself",
                    fix="rename it in the data",
                    at=("columns", name),
                )
            if (twin := lowered.setdefault(name.lower(), name)) != name:
                raise Complaint(
                    f"columns {twin!r} and {name!r} differ only in case, and SQL would take them for one",
                    fix="rename one of them in the data",
                    at=("columns", name),
                )

    def _check_label(self, label: Label) -> None:
        column = self.columns[label.column]
        at: tuple[str | int, ...] = ("label", "column")
        for field in ("key", "ignore"):
            if label.column in getattr(self, field):
                raise Complaint(
                    f"the label {label.column!r} also stands in {field}", fix="take it out there", at=at
                )
        if label.column == self.source:
            raise Complaint(
                f"the label {label.column!r} is also the source column", fix="choose another", at=at
            )
        if label.classes is None:
            if column.type not in {"integer", "number"}:
                raise Complaint(
                    f"the label {label.column!r} is of type {column.type} and names no classes",
                    fix='list them, e.g. classes: ["no", "yes"]',
                    at=("label",),
                )
            return
        for number, value in enumerate(label.classes):
            _check_value(value, column.type, ("label", "classes", number))
            if column.allowed is not None and value not in column.allowed:
                raise Complaint(
                    f"class {value!r} is not among the values that columns.{label.column}.allowed lists",
                    fix="add it there or take it out here",
                    at=("label", "classes", number),
                )
        if len(set(label.classes)) != len(label.classes):
            raise Complaint("a class stands twice", fix="list each class once", at=("label", "classes"))

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that a model may learn from: not key, source, label or ignored, in the contract's order."""
        skip = {*self.key, *self.ignore, self.source, self.label.column if self.label else None}
        return tuple(name for name in self.columns if name not in skip)


class Expectation(BaseModel):
    """A Great Expectations expectation, verbatim: `type` and its own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: str = Field(pattern=r"^expect_[a-z0-9_]+$")

    @model_validator(mode="after")
    def _sayable(self) -> Self:
        try:
            canonical_json(self.model_dump(mode="json"))
        except (ValueError, TypeError) as error:
            raise Complaint(
                f"an argument cannot be written as JSON: {error}", fix="use text and finite numbers"
            ) from error
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The expectation's arguments without its type."""
        return dict(self.model_extra or {})


class Trusted(Model):
    """A small hand-checked set: the reference of screening and the hold-out of the gates."""

    uri: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Screen(Model):
    """How suspicious rows are told from the rest."""

    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    hold_delivery_above: float = Field(
        default=0.10, ge=0, le=1, description="Quarantined fraction that holds a delivery."
    )
    fit_rows: int = Field(default=20_000, gt=0, description="Detectors are fitted on at most this many rows.")
    batch_rows: int = Field(default=65_536, gt=0, description="Rows scored at a time; sets the memory used.")
    seed: int = 0


class Review(Model):
    """Who decides on what was held, and what silence means."""

    approvals: int = Field(default=1, ge=1)
    on_timeout: Literal["reject", "hold"] = "reject"
    timeout: Duration = dt.timedelta(days=3)
    promotion: Literal["automatic", "manual"] = Field(
        default="automatic", description="`manual`: a human approves each challenger that passed its gates."
    )


class Contract(Model):
    """The contract of one data set."""

    version: Literal[1] = Field(description="Version of the contract format.")
    dataset: Identifier = Field(description="Name of the data set; its DAGs are called after it.")
    description: str = ""
    owner: str = Field(default="assay", description="Who looks after the data set; shown on its DAGs.")
    publishers: tuple[Publisher, ...] = ()
    sources: tuple[Source, ...] = ()
    freshness: Freshness = Freshness()
    bounds: Bounds = Bounds()
    schema_: Schema = Field(alias="schema")
    expectations: tuple[Expectation, ...] = ()
    trusted: Trusted | None = None
    screen: Screen = Screen()
    review: Review = Review()
    training: Training = Training()
    gates: Gates = Gates()
    schedule: str | None = Field(
        default=None, description="Cron expression or preset of the intake DAG; none: by hand."
    )

    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _imply(cls, data: Any) -> Any:
        """Slices may name columns too, and stand outside the schema section."""
        if not isinstance(data, dict) or not isinstance(gates := data.get("gates"), dict):
            return data
        return (
            {**data, "schema": with_implied(data.get("schema"), gates.get("slices"))}
            if "schema" in data
            else data
        )

    @model_validator(mode="after")
    def _references(self) -> Self:
        self._check_ids()
        for number, expectation in enumerate(self.expectations):
            for argument in ("column", "column_A", "column_B"):
                column = expectation.arguments.get(argument)
                if isinstance(column, str):
                    _check_known(column, self.schema_.columns, ("expectations", number, argument))
        for number, column in enumerate(self.gates.slices):
            _check_known(column, self.schema_.columns, ("gates", "slices", number))
        self._check_gates()
        if self.schedule is not None and self.schedule not in _PRESETS:
            fields = self.schedule.split()
            if len(fields) != 5 or not all(_CRON_FIELD.fullmatch(field) for field in fields):
                near = get_close_matches(self.schedule, _PRESETS, 1)
                raise Complaint(
                    f"{self.schedule!r} is no schedule",
                    fix=f"write {near[0]!r}"
                    if near
                    else 'write five cron fields such as "0 6 * * *", or "@daily"',
                    at=("schedule",),
                )
        return self

    def _check_ids(self) -> None:
        for field, ids in (
            ("publishers", [p.id for p in self.publishers]),
            ("sources", [s.id for s in self.sources]),
        ):
            for number, each in enumerate(ids):
                if each in ids[:number]:
                    raise Complaint(
                        f"the id {each!r} stands twice",
                        fix="give each a name of its own",
                        at=(field, number, "id"),
                    )
        known = [p.id for p in self.publishers]
        for number, source in enumerate(self.sources):
            if source.publisher not in known:
                near = get_close_matches(source.publisher, known, 1)
                raise Complaint(
                    f"no publisher {source.publisher!r} is listed",
                    fix=f"did you mean {near[0]!r}?"
                    if near
                    else f"add it to publishers, or its keys as publishers/{source.publisher}.yaml beside the contract",
                    at=("sources", number, "publisher"),
                )

    def _check_gates(self) -> None:
        label = self.schema_.label
        regression = label is not None and label.classes is None
        if self.gates.min_accuracy is not None and regression:
            raise Complaint(
                "accuracy needs classes, and the label has none",
                fix="use min_r2",
                at=("gates", "min_accuracy"),
            )
        if self.gates.min_r2 is not None and label is not None and not regression:
            raise Complaint(
                "R² is for labels without classes", fix="use min_accuracy", at=("gates", "min_r2")
            )

    @property
    def digest(self) -> str:
        """SHA-256 over the contract's canonical JSON, keys from the trust store included."""
        return sha256_hex(canonical_json(self.model_dump(mode="json", by_alias=True)))

    @property
    def path(self) -> Path | None:
        """The file that the contract was read from."""
        return self._path

    def locate(self, uri: str) -> str:
        """A URI of this contract as something to open: relative local ones start at the contract's own folder.

        `file://trusted.parquet` and `trusted.parquet` name a file beside the contract, `file:///data/t.parquet` and
        `/data/t.parquet` an absolute path; both come back as a plain path. Other schemes come back as they are.
        """
        if uri.startswith("file://"):
            uri = unquote(uri.removeprefix("file://"))
        elif "://" in uri:
            return uri
        base = self._path.parent if self._path is not None else Path.cwd()
        return str((base / Path(uri).expanduser()).resolve())

    def source(self, source_id: str) -> Source:
        """The source of that id.

        Raises:
            KeyError: The contract has no such source.
        """
        return {s.id: s for s in self.sources}[source_id]

    def publisher(self, publisher_id: str) -> Publisher:
        """The publisher of that id.

        Raises:
            KeyError: The contract has no such publisher.
        """
        return {p.id: p for p in self.publishers}[publisher_id]


def _check_known(column: str, columns: dict[str, Column], at: tuple[str | int, ...]) -> None:
    if column in columns:
        return
    near = get_close_matches(column, list(columns), 1)
    raise Complaint(
        f"schema.columns has no column {column!r}",
        fix=f"did you mean {near[0]!r}?"
        if near
        else f"add it there, or use one of: {', '.join(list(columns)[:12])}",
        at=at,
    )


def _check_value(value: object, column_type: str, at: tuple[str | int, ...]) -> None:
    """A listed value must be of the column's type; YAML reads an unquoted `no` or `1` as something else than text."""
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(column_type, isinstance(value, str))
    if not fits:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        fix = "put it in quotes (YAML reads unquoted yes, no, on, off and numbers as other things than text)"
        raise Complaint(
            f"{shown} is not of the column's type {column_type}",
            fix=fix
            if column_type not in {"boolean", "integer", "number"}
            else f"write a value of type {column_type}",
            at=at,
        )
