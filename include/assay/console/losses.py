"""How single rows fared in a training: the loss of each at every epoch, beside what all rows did."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from assay.console.casefile import CaseFile, open_file
from assay.console.desk import Desk, missing
from assay.console.errors import NotFound
from assay.console.rowindex import Numbers
from assay.console.shelf import Shelf
from assay.db import get_run
from assay.errors import AssayError
from assay.ledger.rows.hashing import row_hashes
from assay.ledger.rows.snapshot import META_FIELDS, ROW_HASH
from assay.line.cells import number
from assay.train.records.rowlosses import EPOCHS

MOST_MEMBERS = 50
_BAND_GROUPS = 8
_BAND = (0.05, 0.5, 0.95)
_MOST_HASHES = 96 << 20

Hashes = npt.NDArray[np.uint8]


class Losses:
    """The losses of one run: an index of its rows' hashes; losses are read for the rows that are asked for.

    Args:
        desk: Where the object is.
        sha256: The object.
    """

    def __init__(self, desk: Desk, sha256: str) -> None:
        self._desk, self._sha256 = desk, sha256
        parts: list[Hashes] = [np.zeros((0, 32), np.uint8)]
        self._first = [0]
        with desk.store.open(sha256) as stored, pq.ParquetFile(stored) as file:
            said = (file.schema_arrow.metadata or {}).get(EPOCHS, b"[]")
            self.epochs: list[int] = [int(each) for each in json.loads(said)]
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=[ROW_HASH]).column(0)
                joined = b"".join(column.to_pylist())
                parts.append(np.frombuffer(joined, np.uint8).reshape(-1, 32))
                self._first.append(self._first[-1] + len(parts[-1]))
        self._hashes: Hashes = np.concatenate(parts)

    @property
    def weight(self) -> int:
        """Bytes in memory."""
        return int(self._hashes.nbytes)

    def places(self, wanted: Hashes) -> Numbers:
        """Where rows with these hashes stand, -1 for those that the run did not learn from."""
        out = np.full(len(wanted), -1, dtype=np.int64)
        if not len(self._hashes) or not len(wanted):
            return out
        mine, theirs = (
            np.ascontiguousarray(each[:, :8]).view("<u8").ravel() for each in (self._hashes, wanted)
        )
        for place in np.flatnonzero(np.isin(mine, theirs)):
            same = np.flatnonzero((wanted == self._hashes[place]).all(axis=1))
            out[same[out[same] < 0]] = place
        return out

    def read(self, places: Numbers) -> list[list[float | None]]:
        """The losses of some rows, null where a row was in no batch."""
        out: dict[int, list[float | None]] = {}
        with self._desk.store.open(self._sha256) as stored, pq.ParquetFile(stored) as file:
            for group in range(file.num_row_groups):
                low, high = self._first[group], self._first[group + 1]
                here = [int(place) for place in places if low <= place < high]
                if here:
                    column = file.read_row_group(group, columns=["losses"]).column(0)
                    for place in here:
                        out[place] = [number(each) for each in column[place - low].as_py()]
        return [out[int(place)] for place in places]

    def band(self) -> dict[str, list[float | None]]:
        """The fifth, the fiftieth and the ninety-fifth hundredth of the rows at each epoch, from some of them."""
        with self._desk.store.open(self._sha256) as stored, pq.ParquetFile(stored) as file:
            every = np.linspace(0, file.num_row_groups - 1, min(_BAND_GROUPS, file.num_row_groups))
            parts = [
                _matrix(file.read_row_group(int(group), columns=["losses"]).column(0), len(self.epochs))
                for group in sorted({int(each) for each in every})
            ]
        table = np.concatenate(parts) if parts else np.zeros((0, len(self.epochs)))
        bands: list[list[float | None]] = [[], [], []]
        for column in table.T:
            known = column[np.isfinite(column)]
            for line, share in zip(bands, _BAND, strict=True):
                line.append(number(float(np.quantile(known, share))) if len(known) else None)
        return {"low": bands[0], "median": bands[1], "high": bands[2]}


def plot_losses(desk: Desk, case_id: str, run: str | None = None) -> dict[str, Any]:
    """How the rows of a released case fared in a run that learnt from them, the most suspicious first.

    Args:
        desk: What is looked at.
        case_id: Which case.
        run: A run's id; by default the newest that learnt from any of its rows.

    Raises:
        NotFound: There is no such case, or no such run kept losses of its rows; the message says why.
    """
    file = open_file(desk, case_id)
    runs, why = file.runs_with_losses(desk)
    if run is not None and run not in runs:
        raise missing(f"run with losses of rows of {case_id} called", run, why)
    chosen = np.argsort(-np.nan_to_num(file.rows.scores, nan=-1.0), kind="stable")
    for name in [run] if run is not None else runs:
        losses = _losses(desk, name)
        if losses is None:
            continue
        wanted = chosen[: 4 * MOST_MEMBERS]
        places = losses.places(_hashes(desk, file, wanted))
        found = np.flatnonzero(places >= 0)[:MOST_MEMBERS]
        if not len(found):
            continue
        return {
            "run": name,
            "epochs": losses.epochs,
            "members": [
                {"row": int(file.rows.numbers[wanted[i]]), "losses": series}
                for i, series in zip(found, losses.read(places[found]), strict=True)
            ],
            "band": losses.band(),
        }
    raise NotFound(
        f"there are no losses of the rows of {case_id}: {why or 'no run that kept losses learnt from its rows'}",
        next_step="they are kept when a run learns from released rows, unless it is private",
    )


def losses_of_row(desk: Desk, file: CaseFile, place: int) -> dict[str, list[float | None]] | None:
    """The losses of one row in the newest runs that learnt from it, by run; None where there are none."""
    out = {}
    for name in file.runs_with_losses(desk)[0][:3]:
        losses = _losses(desk, name)
        if losses is None:
            continue
        places = losses.places(_hashes(desk, file, np.array([place])))
        if places[0] >= 0:
            out[name] = losses.read(places)[0]
    return out or None


def _losses(desk: Desk, run_id: str) -> Losses | None:
    with desk.session() as session:
        run = get_run(session, run_id)
        stored = None if run is None else (run.detail or {}).get("row_losses")
    if not isinstance(stored, str):
        return None
    shelf: Shelf[Losses] = desk.shelf.setdefault("losses", Shelf(lambda each: each.weight, _MOST_HASHES))
    try:
        return shelf.get(stored, lambda: Losses(desk, stored))
    except (AssayError, pa.ArrowException):
        return None


def _hashes(desk: Desk, file: CaseFile, places: Numbers) -> Hashes:
    """Hashes of rows of the case, as a snapshot has them."""
    known = desk.contracts.of(file.case.dataset)
    contract = known.contract if known else None
    names = list(contract.schema_.columns) if contract else file.rows.columns
    added = {field.name for field in META_FIELDS}
    if not set(names) <= set(file.rows.columns) | added:
        return np.zeros((len(places), 32), np.uint8)
    table = file.rows.table.select([name for name in names if name in file.rows.columns])
    some = table.take(pa.array(np.asarray(places, dtype=np.int64))).combine_chunks()
    batches = some.to_batches()
    return row_hashes(batches[0], some.column_names) if batches else np.zeros((0, 32), np.uint8)


def _matrix(column: pa.ChunkedArray, width: int) -> npt.NDArray[np.float32]:
    flat = [np.asarray(chunk.flatten().to_numpy(zero_copy_only=False), np.float32) for chunk in column.chunks]
    return (np.concatenate(flat) if flat else np.zeros(0, np.float32)).reshape(-1, max(width, 1))
