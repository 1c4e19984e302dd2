"""What a reviewer is told beside the verdicts: the nearest trusted rows, the members of groups, the findings file.

A reason says what a signal saw. Whether that is poison, a person judges by comparison: which hand-checked row is most
like this one, which is most like it under the row's own label, and how far apart trusted rows usually are. Rows that
belong together are told once: a finding on a group carries how many rows it has and the numbers of the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.findings import Finding
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.features import Distances
from assay.screen.sampling import Sample

MAX_LISTED = 100
"""Row numbers that a finding lists; the count beside them is exact."""
MAX_EXPLAINED = 1000
"""Quarantined rows, the most suspicious first, that are compared with the trusted rows."""
_MAX_TRUSTED = 5000
_NEAREST = 3
_MAX_TEXT = 60
_CHUNK = 256


def members(rows: NDArray[np.int64]) -> dict[str, Any]:
    """The rows of a group as evidence: how many (`members`), and the numbers of the first ones (`row_numbers`)."""
    return {"members": len(rows), "row_numbers": [int(row) for row in np.sort(rows)[:MAX_LISTED]]}


def shown(value: object) -> str:
    """A cell's value for a person, cut where it is long."""
    text = repr(value) if value is None or isinstance(value, str | bool | int | float) else str(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


class Explainer:
    """Follows the quarantined rows on their way into the report.

    Args:
        context: Columns, classes, and the pool that sets each column's spread.
        trusted: The trusted rows; None where there are none.
        signals: Signals that find groups: those with `subjects`.
        p_values: Of every row of the batch.
        quarantined: Row numbers, ascending.

    Attributes:
        nearest: For each compared row, the most similar trusted rows: their numbers in the trusted table and distances.
    """

    def __init__(
        self,
        context: Context,
        trusted: Sample | None,
        signals: Sequence[Any],
        p_values: F64,
        quarantined: NDArray[np.int64],
    ) -> None:
        self._signals = [signal for signal in signals if hasattr(signal, "subjects")]
        self._groups: dict[tuple[str, str], list[int]] = {}
        self._nearest = Nearest(context, trusted) if trusted is not None and trusted.rows else None
        self.nearest: dict[int, tuple[tuple[int, float], ...]] = {}
        worst = np.lexsort((quarantined, p_values[quarantined]))[:MAX_EXPLAINED]
        self._compared = np.sort(quarantined[worst])

    def see(self, block: Block, reasons: dict[int, list[str]]) -> None:
        """Add to the reasons of these quarantined rows, and remember which groups they belong to."""
        for signal in self._signals:
            for row, subject in zip(block.row.tolist(), signal.subjects(block), strict=True):
                if subject:
                    self._groups.setdefault((f"screen.{signal.name}", subject), []).append(row)
        if self._nearest is None:
            return
        mine = np.flatnonzero(np.isin(block.row, self._compared))
        if len(mine):
            for row, (text, near) in zip(
                block.row[mine], self._nearest.explain(block.take(mine)), strict=True
            ):
                reasons[int(row)].append(f"nearest: {text}")
                self.nearest[int(row)] = near

    @property
    def groups(self) -> dict[tuple[str, str], NDArray[np.int64]]:
        """The quarantined rows of each group, by the check that found it and the group's name; ascending."""
        return {key: np.sort(np.array(rows, dtype=np.int64)) for key, rows in sorted(self._groups.items())}

    def told(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings, those on groups with their quarantined members where they did not name them themselves."""
        out = []
        for finding in findings:
            rows = self._groups.get((finding.check, finding.subject))
            if rows and "row_numbers" not in finding.evidence:
                evidence = {**finding.evidence, **members(np.array(rows, dtype=np.int64))}
                finding = finding.model_copy(update={"evidence": evidence})
            out.append(finding)
        return out


class Nearest:
    """The trusted rows most like a given one: over all labels, and under its own.

    The distance is the root mean square over the feature columns of the difference in units of each column's spread;
    two categories that differ are at least a third of a spread apart, and a missing number is 5 spreads off.
    """

    def __init__(self, context: Context, trusted: Sample) -> None:
        self._encoder = context.encoder
        self._distances = Distances(context.encoder, context.pool)
        table = trusted.table.slice(0, _MAX_TRUSTED)
        batches = table.combine_chunks().to_batches()
        self._rows = self._encoder.encode(batches[0] if batches else pa.RecordBatch.from_pylist([]))
        self._positions = trusted.position[: len(self._rows)]
        self._keys = (
            table.select(list(self._encoder.schema.key)).to_pylist() if self._encoder.schema.key else []
        )
        self._dense = self._distances.transform(self._rows)
        self._width = max(1, self._dense.shape[1])
        self._usual = self._spacing()

    def _between(self, dense: NDArray[np.float32]) -> F64:
        """(n, trusted) distances."""
        squares = (dense.astype(np.float64) ** 2).sum(axis=1)[:, None] + (
            self._dense.astype(np.float64) ** 2
        ).sum(axis=1)
        product = dense.astype(np.float64) @ self._dense.T.astype(np.float64)
        return np.asarray(np.sqrt(np.maximum(squares - 2 * product, 0.0) / self._width))

    def _spacing(self) -> float:
        """The distance within which 9 of 10 trusted rows have another one; NaN for one trusted row."""
        some = np.arange(min(len(self._dense), 4 * _CHUNK))
        if len(self._dense) < 2:
            return float("nan")
        between = self._between(self._dense[some])
        between[some, some] = np.inf
        return float(np.quantile(between.min(axis=1), 0.9))

    def _name(self, index: int) -> str:
        if not self._keys:
            return f"trusted row {int(self._positions[index])}"
        return "trusted row " + ", ".join(f"{k} {shown(v)}" for k, v in self._keys[index].items())

    def explain(self, block: Block) -> list[tuple[str, tuple[tuple[int, float], ...]]]:
        """One sentence per row, and the trusted rows that are nearest: number in the trusted table, and distance."""
        out: list[tuple[str, tuple[tuple[int, float], ...]]] = []
        for start in range(0, len(block), _CHUNK):
            part = block.take(np.arange(start, min(start + _CHUNK, len(block))))
            between = self._between(self._distances.transform(part))
            out += [
                (self._sentence(between[i], int(part.y[i])), self._closest(between[i], int(part.y[i])))
                for i in range(len(part))
            ]
        return out

    def _closest(self, distance: F64, label: int) -> tuple[tuple[int, float], ...]:
        """The `_NEAREST` nearest rows, and the nearest with the row's own label and with another one."""
        chosen = [int(i) for i in np.argsort(distance, kind="stable")[:_NEAREST]]
        if label >= 0:
            for same in (self._rows.y == label, (self._rows.y != label) & (self._rows.y >= 0)):
                among = np.flatnonzero(same)
                if len(among):
                    chosen.append(int(among[np.argmin(distance[among])]))
        unique = sorted(set(chosen), key=lambda i: (distance[i], i))
        return tuple((int(self._positions[i]), float(distance[i])) for i in unique)

    def _sentence(self, distance: F64, label: int) -> str:
        first = int(np.argmin(distance))
        text = f"{self._name(first)}"
        if label >= 0:
            text += f", labelled {self._encoder.class_name(int(self._rows.y[first]))!r},"
        text += f" at distance {distance[first]:.2f}"
        if label >= 0 and self._rows.y[first] != label:
            own = np.flatnonzero(self._rows.y == label)
            if len(own):
                best = int(own[np.argmin(distance[own])])
                text += f"; with the row's own label {self._name(best)} at {distance[best]:.2f}"
            else:
                text += "; no trusted row has the row's own label"
        elif label >= 0:
            other = np.flatnonzero((self._rows.y != label) & (self._rows.y >= 0))
            if len(other):
                best = int(other[np.argmin(distance[other])])
                text += (
                    f"; with another label {self._name(best)} "
                    f"({self._encoder.class_name(int(self._rows.y[best]))!r}) at {distance[best]:.2f}"
                )
        if np.isfinite(self._usual):
            text += f" (9 of 10 trusted rows have another within {self._usual:.2f})"
        return text


def findings_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the findings file: a list of findings, each with its content id."""
    item = Finding.model_json_schema()
    definitions = item.pop("$defs", {})
    item["properties"] = {
        "id": {
            "type": "string",
            "pattern": "^finding-[0-9a-f]{32}$",
            "description": "Content id: the same answer about the same thing has the same id.",
        },
        **item["properties"],
    }
    item["required"] = list(item["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Findings of a screening",
        "type": "array",
        "items": item,
        "$defs": definitions,
    }
