"""The protocol between worker and supervisor: one JSON object per line on the worker's stdout."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from assay.train.errors import ProtocolError
from assay.train.network.spec import Number, Yardsticks

MAX_LINE_BYTES = 1 << 20


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> str:
        """The event as one line, newline included."""
        return self.model_dump_json() + "\n"


class Started(_Event):
    """The worker has its data and its backend, and begins."""

    event: Literal["started"] = "started"
    run_id: str
    backend: Literal["flux", "reference"]
    device: Literal["cpu", "gpu"]
    device_name: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    parameter_count: int
    rows: int
    yardsticks: Yardsticks
    resumed_from: int = Field(
        default=0, ge=0, description="Epochs that a checkpoint brought; 0 for a new start."
    )


class Progress(_Event):
    """A sign of life from within an epoch.

    Attributes:
        updates: Tried so far in this epoch.
        of: Updates of the whole epoch.
        dropped: For each update since the last such event, the numbers of the sources that krum or multi-krum left out;
            with them the whole epoch is covered.
    """

    event: Literal["progress"] = "progress"
    epoch: int = Field(ge=1)
    updates: int = Field(ge=0)
    of: int = Field(ge=0)
    dropped: tuple[tuple[int, ...], ...] = ()


class ClassStats(BaseModel):
    """Mean losses of one class's rows, not weighted; null where there were none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    train_loss: Number
    validation_loss: Number


class SourceStats(BaseModel):
    """One source in one epoch.

    Attributes:
        name: The source.
        rows: Rows that were learned from.
        loss: Their mean loss, not weighted.
        gradient_norm: Of the mean gradient over a fixed sample of its rows, at the epoch's end.
        cosines: Of that gradient with those of all sources, in their order; null where a gradient was zero.
        dropped: Share of the updates in which a robust aggregation left it out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows: int
    loss: Number
    gradient_norm: Number
    cosines: tuple[Number, ...] = ()
    dropped: float = 0.0


class Epoch(_Event):
    """One pass over the training split; losses are means per row, weighted as the run's loss weighs classes.

    Attributes:
        gradient_norm: Mean over updates of what the optimiser got.
        max_gradient_norm: The largest of these.
        learning_rate: Of the last update.
        skipped_updates: Not made, because loss or gradient was not finite.
        classes: Per class, for a classification.
        sources: Per source, where rows have one.
        clipped: Share of the sampled rows whose gradient was clipped, for a private run.
        epsilon_rdp: Privacy spent so far, by Rényi accounting; null for no bound.
        epsilon_pld: Likewise, by privacy loss distributions.
        device_memory: Bytes in use on the device, where it has memory of its own.
    """

    event: Literal["epoch"] = "epoch"
    epoch: int = Field(ge=1)
    train_loss: Number
    validation_loss: Number
    accuracy: Number = None
    r2: Number = None
    gradient_norm: Number
    max_gradient_norm: Number = None
    learning_rate: float
    skipped_updates: int = Field(ge=0)
    classes: tuple[ClassStats, ...] = ()
    sources: tuple[SourceStats, ...] = ()
    clipped: Number = None
    epsilon_rdp: Number = None
    epsilon_pld: Number = None
    device_memory: int | None = None
    seconds: float = Field(ge=0)
    rows_per_second: float = Field(ge=0)


class Warned(_Event):
    """Something that the reader of the log should know; the run goes on. Also a sign of life."""

    event: Literal["warning"] = "warning"
    message: str


class Finished(_Event):
    """The bundle stands complete at `bundle_dir`."""

    event: Literal["finished"] = "finished"
    run_id: str
    bundle_dir: str
    epochs: int
    best_epoch: int
    stopped_because: str | None = Field(
        default=None, description="Why before the last epoch: early stopping, or a spent privacy budget."
    )
    resumed: int = Field(default=0, ge=0, description="How often the run went on from a checkpoint.")
    seconds: float


class Failed(_Event):
    """No bundle. `not_checked`: the run could not be tried, because a tool was missing."""

    event: Literal["failed"] = "failed"
    outcome: Literal["failed", "not_checked"]
    reason: str


Event = Started | Progress | Epoch | Warned | Finished | Failed
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes) -> Event:
    """Read one protocol line.

    Raises:
        ProtocolError: The line is too long, not JSON, or not an event.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(
            "the trainer wrote a line that is too long",
            expected=f"at most {MAX_LINE_BYTES} bytes",
            found=len(line),
        )
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise ProtocolError(
            "the trainer wrote a line on stdout that is not a protocol event",
            expected="one JSON object per line: started, progress, epoch, warning, finished or failed",
            found=repr(line[:200].decode("utf-8", "replace")),
            next_step="look into worker.log in the run's directory for what wrote it",
        ) from error
