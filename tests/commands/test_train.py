"""What people see while a run goes on, on a live bar or in lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from assay.commands.train import _Teller
from assay.train.network.spec import Yardsticks
from assay.train.records.events import Epoch, Event, Finished, Progress, Started, Warned

KNOWN = Yardsticks(
    trivial_train_loss=0.7,
    trivial_validation_loss=0.7,
    initial_train_loss=0.9,
    uninformed_loss=0.69,
    validation_rows=10,
    updates_per_epoch=4,
)


def started(resumed_from: int = 0) -> Started:
    """The first event of a run."""
    return Started(
        run_id="run-1", backend="reference", device="cpu", parameter_count=1, rows=90, yardsticks=KNOWN,
        resumed_from=resumed_from,
    )  # fmt: skip


def epoch(number: int, **more: float | None) -> Epoch:
    """One epoch's event."""
    facts = {"train_loss": 0.5, "validation_loss": None, "gradient_norm": 1.0, **more}
    return Epoch(
        epoch=number, learning_rate=0.1, skipped_updates=0, seconds=1.0, rows_per_second=90.0, **facts
    )


def lines_of(events: list[Event], epochs: int = 20) -> str:
    """What is printed where nobody watches a bar."""
    out = io.StringIO()
    teller = _Teller(epochs, Console(file=out, width=200), None)
    for event in events:
        teller.tell(event)
    return out.getvalue()


def test_lines_tell_start_losses_now_and_then_and_why_it_ended():
    """A tenth of the epochs, with the privacy spent; a loss that is not finite is called so."""
    said = lines_of(
        [
            started(),
            Warned(message="a [warning] with brackets"),
            *(epoch(number, epsilon_pld=1.5) for number in range(1, 7)),
            Finished(
                run_id="run-1", bundle_dir="b", epochs=6, best_epoch=3, stopped_because="early stopping: enough",
                seconds=1.0,
            ),
        ]
    )  # fmt: skip
    assert "reference on cpu: 90 rows" in said
    assert "a [warning] with brackets" in said
    assert "epoch 2/20: loss 0.5000, validation not finite, epsilon 1.5" in said
    assert "epoch 3/20" not in said
    assert "early stopping: enough" in said


def test_a_run_that_goes_on_says_from_where_and_does_not_repeat_its_epochs():
    """They were told before it was killed."""
    said = lines_of([started(resumed_from=4), *(epoch(number) for number in range(1, 7))])
    assert "going on after epoch 4" in said
    assert "epoch 2/20" not in said
    assert "epoch 4/20" not in said
    assert "epoch 6/20" in said


@pytest.mark.parametrize("resumed_from", [0, 2])
def test_a_bar_follows_epochs_and_the_updates_within_them(resumed_from):
    """Losses beside it; the place within an epoch is forgotten when the epoch is done."""
    shown: list[dict[str, object]] = []
    teller = _Teller(20, Console(file=io.StringIO()), lambda **fields: shown.append(fields))
    for event in (
        started(resumed_from),
        epoch(1),
        epoch(2),
        Progress(epoch=3, updates=2, of=4),
        epoch(3, validation_loss=0.4),
    ):
        teller.tell(event)
    assert shown[0]["description"] == "reference on cpu"
    assert [fields["completed"] for fields in shown if "completed" in fields] == [1, 2, 3]
    assert shown[-2] == {"within": "2/4 updates"}
    assert shown[-1] == {"completed": 3, "losses": "loss 0.5000, validation 0.4000", "within": ""}
