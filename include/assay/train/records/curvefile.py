"""A run's curve as the bundle keeps it: `curve.parquet`, one row per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from assay.train.errors import RequestError
from assay.train.network.spec import Number
from assay.train.records.events import ClassStats, Epoch, SourceStats


class CurvePoint(BaseModel):
    """One epoch as the bundle keeps it: no timings, so that the same request gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: Number
    validation_loss: Number
    accuracy: Number = None
    r2: Number = None
    gradient_norm: Number
    max_gradient_norm: Number = None
    learning_rate: float
    skipped_updates: int
    classes: tuple[ClassStats, ...] = ()
    sources: tuple[SourceStats, ...] = ()
    epsilon_rdp: Number = None
    epsilon_pld: Number = None

    @classmethod
    def of(cls, event: Epoch) -> CurvePoint:
        """The lasting part of an epoch's event."""
        return cls(**event.model_dump(include=set(cls.model_fields)))


Curve = Sequence[CurvePoint]

_CLASS = pa.struct([("name", pa.string()), ("train_loss", pa.float64()), ("validation_loss", pa.float64())])
_SOURCE = pa.struct(
    [
        ("name", pa.string()),
        ("rows", pa.int64()),
        ("loss", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("cosines", pa.list_(pa.float64())),
        ("dropped", pa.float64()),
    ]
)
_SCHEMA = pa.schema(
    [
        pa.field("epoch", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64())
            for name in (
                "train_loss",
                "validation_loss",
                "accuracy",
                "r2",
                "gradient_norm",
                "max_gradient_norm",
                "epsilon_rdp",
                "epsilon_pld",
            )
        ),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("skipped_updates", pa.int64(), nullable=False),
        pa.field("classes", pa.list_(_CLASS), nullable=False),
        pa.field("sources", pa.list_(_SOURCE), nullable=False),
    ]
)


def write_curve(path: Path, curve: Curve) -> None:
    """Write `curve.parquet`; null stands for a number that was not finite."""
    table = pa.Table.from_pylist([point.model_dump() for point in curve], schema=_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def read_curve(path: Path) -> list[CurvePoint]:
    """Read `curve.parquet`.

    Raises:
        RequestError: The file is missing or is not such a curve.
    """
    try:
        table = pq.read_table(path)
        if not table.schema.equals(_SCHEMA):
            raise RequestError(
                f"{path} is not a training curve", expected=_SCHEMA.names, found=table.schema.names
            )
        return [CurvePoint(**row) for row in table.to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise RequestError(f"the curve {path} cannot be read: {str(error).splitlines()[0]}") from error
