"""Curves: what a run did at each epoch, where the accepted runs of the data set lie, and what the checks saw."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from assay.console.desk import Desk, missing
from assay.console.lines import finding_rows
from assay.console.live import Live, live_run
from assay.console.shelf import Shelf
from assay.db import ModelRow, Promotion, Run, get_run
from assay.errors import AssayError
from assay.ledger import NoLedgerKey
from assay.line.cells import facts, number

_KEPT = 64
_ACCEPTED = 20
_METRICS = (
    "accuracy",
    "r2",
    "gradient_norm",
    "max_gradient_norm",
    "learning_rate",
    "epsilon_rdp",
    "epsilon_pld",
)
_MOST_CURVE_BYTES = 64 << 20
_DEFAULT_RUNS = 5


@dataclass(frozen=True)
class Curve:
    """The epochs of a run, as plain dictionaries; what they were measured in, where that is known.

    Attributes:
        points: One per epoch, oldest first.
        trivial: The loss of the trivial predictor on the validation split.
        learned: What must agree for two runs to be compared; None where nobody knows.
        why: Why there are no points.
    """

    points: tuple[dict[str, Any], ...]
    trivial: float | None = None
    learned: str | None = None
    why: str | None = None


def curve(desk: Desk, run_id: str, compare: str | None = None, since: int | None = None) -> dict[str, Any]:
    """A run's curve.

    Args:
        desk: What is looked at.
        run_id: Which run.
        compare: A run to lay beside it.
        since: Only the epochs after this one, for a page that has the others already; band and comparison are left out.

    Raises:
        NotFound: There is no such run.
    """
    live = live_run(desk, run_id)
    with desk.session() as session:
        row = get_run(session, run_id)
        findings = finding_rows(session, run_id)
    if live is not None:
        mine = _of_events(live)
    elif row is not None:
        mine = _of_run(desk, row)
    else:
        raise missing("run", run_id, "the list of runs shows all")
    dataset = live.dataset if live is not None else row.dataset  # type: ignore[union-attr]
    shown = [point for point in mine.points if since is None or point["epoch"] > since]
    answer: dict[str, Any] = {
        **_columns(shown),
        "band": None,
        "why_no_band": None,
        "why_no_curve": mine.why if not mine.points else None,
        "anomalies": [
            {
                "epoch": (each.body or {}).get("evidence", {}).get("epoch"),
                "check": each.check,
                "message": facts(str((each.body or {}).get("message", ""))),
            }
            for each in findings
            if each.outcome == "failed" and live is None
        ],
        "compare": None,
        "live": live is not None,
        "rev": max((point["epoch"] for point in mine.points), default=0),
    }
    if since is None:
        answer["band"], answer["why_no_band"] = _band(desk, dataset, run_id, mine)
        answer["compare"] = _compared(desk, dataset, compare)
    return answer


# ---------------------------------------------------------------------------------------------------------- one's own
def _of_events(live: Live) -> Curve:
    """What a running training has said so far."""
    points = tuple(
        said for said in live.events() if said.get("event") == "epoch" and isinstance(said.get("epoch"), int)
    )
    started = next((said for said in live.events() if said.get("event") == "started"), {})
    # An epoch that a restart told again counts once, as it was told last.
    latest = {point["epoch"]: point for point in points}
    ordered = tuple(latest[epoch] for epoch in sorted(latest))
    why = None if points else "no epoch has ended yet"
    return Curve(ordered, _trivial(started.get("yardsticks")), None, why)


def _of_run(desk: Desk, row: Run) -> Curve:
    """The curve of a run that ended: from its bundle, from the store, or from what its supervisor left."""
    shelf: Shelf[Curve] = desk.shelf.setdefault("curves", Shelf(lambda _: 1, _KEPT))
    if row.bundle_uri and row.status == "finished":
        return shelf.get(row.id, lambda: _of_bundle(desk, row.id, Path(str(row.bundle_uri))))
    kept = (row.detail or {}).get("curve")
    if isinstance(kept, str):
        return shelf.get(kept, lambda: _of_object(desk, kept))
    left = live_run(desk, row.id, going=False)
    if left is not None:
        return _of_events(left)
    return Curve(
        (), why="the run made no bundle, and what its supervisor wrote is not on this machine any more"
    )


def _of_bundle(desk: Desk, run_id: str, bundle: Path) -> Curve:
    """The curve of a bundle, whose bytes must be the ones that the run's signed statement names."""
    try:
        named = _signed_files(desk, run_id)
        data = _read_named(bundle / "curve.parquet", named)
        spec = json.loads(_read_named(bundle / "spec.json", named))
    except (OSError, ValueError, AssayError) as error:
        return Curve((), why=f"its bundle's curve cannot be believed: {getattr(error, 'message', error)}")
    import pyarrow as pa
    import pyarrow.parquet as pq

    from assay.line.judging import learned
    from assay.train import BundleSpec

    try:
        points = pq.read_table(io.BytesIO(data)).to_pylist()
        same = repr(learned(BundleSpec.model_validate(spec)))
    except (pa.ArrowException, ValueError) as error:
        return Curve((), why=f"its bundle's curve cannot be read: {str(error).splitlines()[0]}")
    return Curve(tuple(points), _trivial(spec.get("yardsticks")), same)


def _of_object(desk: Desk, sha256: str) -> Curve:
    from assay.store import read_table

    try:
        return Curve(tuple(read_table(desk.store, sha256).to_pylist()))
    except AssayError as error:
        return Curve((), why=f"its curve cannot be read: {error.message}")


def _signed_files(desk: Desk, run_id: str) -> dict[str, str]:
    """SHA-256 of each file of a run's bundle, from its statement, the signature checked."""
    ledger = desk.ledger()
    if not ledger.has_key:
        raise NoLedgerKey("there is no public key to check the run's statement with")
    for entry in reversed(ledger.entries(run_id, role="subject")):
        statement = ledger.read(entry)
        if statement.step == "run-finished":
            return {item.name: str(item.sha256) for item in statement.subjects}
    raise ValueError("no statement in the ledger names its files")


def _read_named(path: Path, named: dict[str, str]) -> bytes:
    if path.stat().st_size > _MOST_CURVE_BYTES:
        raise ValueError(f"{path.name} is too large")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != named.get(path.name):
        raise ValueError(f"{path.name} is not the file that its signed statement names")
    return data


def _trivial(yardsticks: Any) -> float | None:
    if not isinstance(yardsticks, dict):
        return None
    trivial = number(yardsticks.get("trivial_validation_loss"))
    if trivial is not None and trivial > 0:
        return float(trivial)
    uninformed = number(yardsticks.get("uninformed_loss"))
    return None if uninformed is None else float(uninformed)


def _columns(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Points as one list per quantity."""

    def of(name: str) -> list[float | None]:
        return [number(point.get(name)) for point in points]

    metrics = {name: of(name) for name in _METRICS}
    return {
        "epoch": [point["epoch"] for point in points],
        "train_loss": of("train_loss"),
        "validation_loss": of("validation_loss"),
        "metrics": {name: values for name, values in metrics.items() if any(v is not None for v in values)},
        "per_class": _parts(points, "classes", lambda part: part.get("validation_loss")),
        "per_source": _parts(points, "sources", lambda part: part.get("loss")),
    }


def _parts(
    points: Sequence[dict[str, Any]], what: str, value: Callable[[dict[str, Any]], Any]
) -> dict[str, list[float | None]]:
    names = dict.fromkeys(str(part.get("name")) for point in points for part in point.get(what) or ())
    out: dict[str, list[float | None]] = {name[:200]: [] for name in names}
    for point in points:
        here = {str(part.get("name"))[:200]: number(value(part)) for part in point.get(what) or ()}
        for name, series in out.items():
            series.append(here.get(name))
    return out


# -------------------------------------------------------------------------------------------------------------- others
def _band(desk: Desk, dataset: str, run_id: str, mine: Curve) -> tuple[dict[str, Any] | None, str | None]:
    """Where the validation losses of accepted runs lie at each epoch, in the units of this run."""
    from assay.train.curve.bands import band

    known = desk.contracts.of(dataset)
    need = known.contract.training.curve.min_accepted_runs if known and known.contract else _DEFAULT_RUNS
    if not mine.points:
        return None, "the run has no curve"
    others = [each for each in _accepted(desk, dataset, run_id) if each.points]
    if mine.learned is not None:
        others = [each for each in others if each.learned == mine.learned]
    if len(others) < need:
        return None, f"{len(others)} runs that can be compared were accepted; a band needs {need}"
    low: list[float | None] = []
    middle: list[float | None] = []
    high: list[float | None] = []
    for place in range(max(len(mine.points), *(len(each.points) for each in others))):
        there = band((_scaled(each, place, mine.trivial) for each in others), need)
        low.append(None if there is None else number(max(0.0, there.middle - there.reach)))
        middle.append(None if there is None else number(there.middle))
        high.append(None if there is None else number(there.middle + there.reach))
    return {"low": low, "median": middle, "high": high, "runs": len(others)}, None


def _scaled(other: Curve, place: int, unit: float | None) -> float | None:
    loss = number(other.points[min(place, len(other.points) - 1)].get("validation_loss"))
    if loss is None or unit is None or not other.trivial:
        return loss
    return loss / other.trivial * unit


def _accepted(desk: Desk, dataset: str, run_id: str) -> list[Curve]:
    """The curves of the runs whose models were champion last."""
    with desk.session() as session:
        promoted = session.scalars(
            select(Promotion.model_id)
            .where(Promotion.dataset == dataset)
            .order_by(Promotion.position.desc())
            .limit(4 * _ACCEPTED)
        ).all()
        rows = []
        for model_id in dict.fromkeys(promoted):
            model = session.get(ModelRow, model_id)
            other = None if model is None else get_run(session, model.run_id)
            if other is not None and other.id != run_id:
                rows.append(other)
    return [_of_run(desk, other) for other in rows[:_ACCEPTED]]


def _compared(desk: Desk, dataset: str, name: str | None) -> dict[str, Any] | None:
    if not name:
        return None
    with desk.session() as session:
        other = get_run(session, name)
    if other is None or other.dataset != dataset:
        raise missing(f"run of {dataset} to compare with called", name)
    columns = _columns(_of_run(desk, other).points)
    return {
        "run": name,
        "epoch": columns["epoch"],
        "train_loss": columns["train_loss"],
        "validation_loss": columns["validation_loss"],
    }
