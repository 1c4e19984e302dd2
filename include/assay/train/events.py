"""The protocol between worker and supervisor: one JSON object per line on the worker's stdout."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from assay.train.errors import ProtocolError
from assay.train.spec import Number, Yardsticks

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


class Epoch(_Event):
    """One pass over the training split; losses are means per row, the gradient norm is the mean over updates."""

    event: Literal["epoch"] = "epoch"
    epoch: int = Field(ge=1)
    train_loss: Number
    validation_loss: Number
    accuracy: Number = None
    r2: Number = None
    gradient_norm: Number
    learning_rate: float
    skipped_updates: int = Field(ge=0)
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
    seconds: float


class Failed(_Event):
    """No bundle. `not_checked`: the run could not be tried, because a tool was missing."""

    event: Literal["failed"] = "failed"
    outcome: Literal["failed", "not_checked"]
    reason: str


Event = Started | Epoch | Warned | Finished | Failed
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
            expected="one JSON object per line: started, epoch, warning, finished or failed",
            found=repr(line[:200].decode("utf-8", "replace")),
            next_step="look into worker.log in the run's directory for what wrote it",
        ) from error
