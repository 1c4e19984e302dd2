"""A case, and the scene that it stands for: batch, trusted rows, accepted snapshot and test rows.

The clean rows of a scene depend on table, seed and sizes alone, so that all attacks, rates, tiers and tools meet the
same ones.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from benchmarks.detection import tables
from benchmarks.detection.attacks import ATTACKS, FIXED_RATE, Base, Poisoned

SOURCES, KNOWN, TEST = 5, 0.8, 1500
TIERS = ("trusted", "history")


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        table: Name of the table.
        attack: Name of the attack.
        rate: Its rate.
        seed: Draws the rows and the attack.
        tier: `trusted` (trusted rows and sources), or `history` (and the accepted snapshot).
        tool: Who screens.
        rows: Rows of the batch, at most.
        trusted: Trusted rows, at most.
        tainted: Share of the trusted rows that are poison of the same attack.
    """

    table: str
    attack: str
    rate: float
    seed: int
    tier: str
    tool: str
    rows: int = 3000
    trusted: int = 500
    tainted: float = 0.0

    def fields(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """What a tool may see, and what it may not (`base`, `done.truth`, `test`).

    Attributes:
        base: The clean batch.
        done: The batch after the attack.
        trusted: Trusted rows.
        previous: The accepted snapshot; None in the tier without it.
        test: Clean rows that nobody trains on.
        seed: For whatever else needs a draw.
    """

    base: Base
    done: Poisoned
    trusted: pd.DataFrame
    previous: pd.DataFrame | None
    test: pd.DataFrame
    seed: int


def rng_of(*parts: object) -> np.random.Generator:
    """Random numbers that depend on these parts, and on nothing else."""
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in parts])


@lru_cache(maxsize=4)
def _clean(table: str, seed: int, rows: int, trusted: int) -> tuple[Base, pd.DataFrame, pd.DataFrame]:
    """The clean batch, the trusted rows and the test rows.

    The trusted rows that are asked for do not move rows between batch and test.
    """
    whole = tables.load(table)
    rng = rng_of("rows", table, seed)
    count = len(whole)
    held = min(500, count // 5)
    test = min(TEST, count // 5)
    order = rng.permutation(count)[: held + test + min(rows, count - held - test)]
    frame = whole.iloc[order].reset_index(drop=True)
    frame.insert(0, "id", rng.permutation(10 * len(frame))[: len(frame)])
    frame.insert(1, "src", [f"s{number}" for number in rng.integers(0, SOURCES, len(frame))])
    parts = (frame.iloc[:held], frame.iloc[held : held + test], frame.iloc[held + test :])
    sound, unseen, batch = (part.reset_index(drop=True) for part in parts)
    known = np.zeros(len(batch), dtype=bool)
    known[rng.permutation(len(batch))[: int(KNOWN * len(batch))]] = True
    return Base(batch, known), sound.iloc[:trusted], unseen


@lru_cache(maxsize=4)
def _attacked(table: str, attack: str, rate: float, seed: int, rows: int) -> Poisoned:
    base, _, _ = _clean(table, seed, rows, 500)
    return ATTACKS[attack](base, rate, rng_of(table, attack, round(rate * 1e4), seed))


def build(case: Case) -> Scene:
    """The scene of a case.

    Raises:
        Unfit: The attack cannot be mounted on this table.
        Absent: The table is not to be had.
    """
    base, sound, test = _clean(case.table, case.seed, case.rows, case.trusted)
    done = _attacked(case.table, case.attack, FIXED_RATE.get(case.attack, case.rate), case.seed, case.rows)
    if case.tainted and done.truth.any():
        sound = _tainted(sound, done, case.tainted, rng_of("tainted", case.table, case.seed))
    previous = None
    if case.tier == "history":
        previous = base.frame.loc[base.known].reset_index(drop=True)
    return Scene(base, done, sound, previous, test, case.seed)


def _tainted(sound: pd.DataFrame, done: Poisoned, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """Some of the trusted rows replaced by poison of the batch's kind."""
    poison = done.frame.loc[done.truth]
    count = min(max(1, round(share * len(sound))), len(poison))
    given = poison.iloc[rng.choice(len(poison), count, replace=False)].copy()
    given["id"] = max(int(done.frame["id"].max()), int(sound["id"].max())) + 1 + np.arange(count)
    kept = sound.drop(index=rng.choice(len(sound), count, replace=False))
    return pd.concat([kept, given], ignore_index=True)


def arrow(frame: pd.DataFrame) -> pa.Table:
    """The frame as an Arrow table."""
    return pa.table({name: pa.array(frame[name], from_pandas=True) for name in frame.columns})


def contract_of(frame: pd.DataFrame, labels: pd.Series) -> Any:
    """A contract that names types, key, source and label, and no bounds."""
    from assay.contract.models import Contract

    columns: dict[str, Any] = {}
    for name in frame.columns:
        values = frame[name]
        kind = "string"
        if pd.api.types.is_integer_dtype(values):
            kind = "integer"
        elif pd.api.types.is_numeric_dtype(values):
            kind = "number"
        columns[str(name)] = {"type": kind, "nullable": bool(values.isna().any())}
    schema = {
        "key": ["id"],
        "source": "src",
        "label": {"column": "label", "classes": sorted(labels.unique())},
        "columns": columns,
    }
    return Contract.model_validate({"version": 1, "dataset": "bench", "schema": schema})
