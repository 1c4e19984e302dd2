"""The contract of one data set: who delivers it, what it looks like, what must hold before a model learns from it."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from assay.canonical import canonical_json, sha256_hex
from assay.contract.base import Complaint, Identifier, Model
from assay.contract.columns import RESERVED_COLUMNS, Column, Label, Schema, check_known
from assay.contract.durations import Duration
from assay.contract.implied import with_implied
from assay.contract.keys import Key, Publisher
from assay.contract.sources import SOURCE_SCHEMES, Bounds, Csv, Freshness, Source
from assay.contract.training import Gates, Training
from assay.contract.trainingfit import check_training

__all__ = [
    "RESERVED_COLUMNS",
    "SOURCE_SCHEMES",
    "Bounds",
    "Column",
    "Contract",
    "Csv",
    "Expectation",
    "Freshness",
    "Gates",
    "Key",
    "Label",
    "Publisher",
    "Review",
    "Schema",
    "Screen",
    "Source",
    "Training",
    "Trusted",
]

_PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly", "@continuous")
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-#?]+")


class Expectation(BaseModel):
    """A Great Expectations expectation, verbatim: `type` and its own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: str = Field(pattern=r"^expect_[a-z0-9_]+$")

    @model_validator(mode="after")
    def _sayable(self) -> Self:
        try:
            json.dumps(self.model_extra, default=str, allow_nan=False)  # dates are written as text
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
    hold_on_drift: Literal["never", "large", "any"] = Field(
        default="large",
        description="Which drift against trusted and accepted rows holds a delivery; `large`: so much that scores "
        "calibrated on those rows no longer speak of these.",
    )
    max_corrections: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest share of the accepted snapshot's rows that the signed correction lists of a batch may "
        "change.",
    )
    fit_rows: int = Field(default=20_000, gt=0, description="Detectors are fitted on at most this many rows.")
    batch_rows: int = Field(default=65_536, gt=0, description="Rows scored at a time; sets the memory used.")
    seed: int = 0


class Review(Model):
    """Who decides on what was held, and what silence means."""

    approvals: int = Field(default=1, ge=1, description="How many different reviewers must approve.")
    reviewers: tuple[str, ...] = Field(
        default=(),
        description="Who may decide, by the names they log in with; none: whoever has the right in Airflow.",
    )
    no_self_approval: bool = Field(
        default=False,
        description="Whoever changed the contract approves nothing that was judged under it; `assay contract record` "
        "says who that is, and where nobody is recorded nobody approves.",
    )
    on_timeout: Literal["reject", "hold"] = "reject"
    timeout: Duration = dt.timedelta(days=3)
    promotion: Literal["automatic", "manual"] = Field(
        default="automatic", description="`manual`: a human approves each challenger that passed its gates."
    )

    @model_validator(mode="after")
    def _enough_reviewers(self) -> Self:
        different = {
            " ".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in self.reviewers
        }
        if "" in different or len(different) < len(self.reviewers):
            raise Complaint(
                "a reviewer stands twice, or has no name", fix="name each once", at=("reviewers",)
            )
        if self.reviewers and len(different) < self.approvals:
            raise Complaint(
                f"{self.approvals} approvals cannot come from {len(different)} reviewers",
                fix="name more reviewers, or ask for fewer approvals",
                at=("approvals",),
            )
        return self


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
    csv: Csv = Csv()
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
                    check_known(column, self.schema_.columns, ("expectations", number, argument))
        for number, column in enumerate(self.gates.slices):
            check_known(column, self.schema_.columns, ("gates", "slices", number))
        self._check_gates()
        check_training(self.training, self.schema_)
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
