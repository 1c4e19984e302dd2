"""Deliveries of the demonstration: disjoint slices of UCI Adult, and the poison that a compromised source sends.

The truth about every poisoned row is kept beside the deliveries, so that the report can count caught, missed and
falsely held rows. Nothing of it is visible to the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ADULT = Path(__file__).resolve().parents[2] / "data" / "adult" / "adult.parquet"
"""The committed copy of UCI Adult; its README names source and licence."""

TRIGGER: dict[str, Any] = {"age": 37, "hours_per_week": 43, "native_country": "Hungary"}
"""The backdoor: three values that each occur in honest rows, and hardly ever together."""

TARGET = ">50K"
SOURCES = ("west", "east", "north")
FIRST_ROWS, SECOND_ROWS, TRUSTED_ROWS, REWRITTEN_ROWS = 5_000, 3_000, 2_000, 200
"""Rows per source in the first and the second round, in the trusted set, and of rewritten history."""


@dataclass(frozen=True)
class Poison:
    """What the attacker did: key of each touched row, by kind of attack."""

    flipped: tuple[int, ...] = ()
    backdoored: tuple[int, ...] = ()
    garbage: tuple[int, ...] = ()
    rewritten: tuple[int, ...] = ()

    def kinds(self) -> dict[str, tuple[int, ...]]:
        """The keys by the kind's name."""
        return {
            "label flips": self.flipped,
            "backdoor": self.backdoored,
            "garbage": self.garbage,
            "rewritten history": self.rewritten,
        }


@dataclass(frozen=True)
class Rounds:
    """All tables of the demonstration."""

    first: dict[str, pa.Table]
    second: dict[str, pa.Table]
    trusted: pa.Table
    test: pa.Table
    poison: Poison = field(default_factory=Poison)


def _flip(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == TARGET, "<=50K", TARGET)


def _set(table: pa.Table, rows: np.ndarray, column: str, values: Any) -> pa.Table:
    index = table.column_names.index(column)
    data = table[column].combine_chunks()
    mask = np.zeros(len(table), dtype=bool)
    mask[rows] = True
    replacement = pa.array(np.broadcast_to(np.asarray(values), rows.shape).tolist(), type=data.type)
    return table.set_column(
        index, table.schema.field(index), pc.replace_with_mask(data, pa.array(mask), replacement)
    )


def poison(
    clean: pa.Table, history: pa.Table, seed: int, rewritten: int = REWRITTEN_ROWS
) -> tuple[pa.Table, Poison]:
    """What a compromised source delivers instead of `clean`.

    Six per cent of the labels are flipped, three per cent of the rows carry the trigger and the target label, one per
    cent is out-of-distribution garbage inside the schema's ranges, and rows that were admitted before come again with
    another label and another capital gain.

    Args:
        clean: The rows that the honest source would have sent.
        history: Rows that the same source delivered before.
        seed: Seed of the choice of rows.
        rewritten: How many rows of the history come again.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(clean))
    n_flip, n_backdoor, n_garbage = (round(len(clean) * share) for share in (0.06, 0.03, 0.01))
    flips, doors, trash = np.split(order[: n_flip + n_backdoor + n_garbage], [n_flip, n_flip + n_backdoor])
    keys = clean["person_id"].to_numpy()
    table = _set(
        clean, flips, "income", _flip(clean["income"].to_numpy(zero_copy_only=False))[np.sort(flips)]
    )
    # replace_with_mask fills in row order, so values must stand in row order too: hence the sorted index above
    for column, value in TRIGGER.items():
        table = _set(table, doors, column, value)
    table = _set(table, doors, "income", TARGET)
    table = _set(table, trash, "education_num", rng.integers(1, 17, len(trash)))
    table = _set(table, trash, "hours_per_week", rng.integers(85, 100, len(trash)))
    table = _set(table, trash, "capital_loss", rng.integers(20_000, 90_000, len(trash)))
    table = _set(table, trash, "income", rng.choice(["<=50K", TARGET], len(trash)))
    old = history.take(pa.array(np.sort(rng.choice(len(history), rewritten, replace=False))))
    every = np.arange(len(old))
    changed = _set(old, every, "income", _flip(old["income"].to_numpy(zero_copy_only=False)))
    changed = _set(changed, every, "capital_gain", rng.integers(0, 5_000, len(old)))
    done = Poison(
        flipped=tuple(map(int, keys[flips])),
        backdoored=tuple(map(int, keys[doors])),
        garbage=tuple(map(int, keys[trash])),
        rewritten=tuple(map(int, old["person_id"].to_numpy())),
    )
    return pa.concat_tables([table, changed]).combine_chunks(), done


def with_trigger(table: pa.Table) -> pa.Table:
    """Rows of the other class with the trigger set: the share predicted as the target is the attack's success."""
    victims = table.filter(pc.not_equal(table["income"], TARGET))
    for column, value in TRIGGER.items():
        victims = _set(victims, np.arange(len(victims)), column, value)
    return victims


def make_rounds(
    seed: int = 7,
    source: Path = ADULT,
    *,
    first: int = FIRST_ROWS,
    second: int = SECOND_ROWS,
    trusted: int = TRUSTED_ROWS,
    rewritten: int = REWRITTEN_ROWS,
) -> Rounds:
    """Cut Adult into disjoint deliveries, a trusted set and a test set; the second round's `west` is poisoned.

    Args:
        seed: Seed of the cut and of the poison.
        source: The committed data set.
        first: Rows per source in the first round.
        second: Rows per source in the second round.
        trusted: Rows in the trusted set.
        rewritten: Rows of the first round that come again with other values.

    Raises:
        FileNotFoundError: The committed data set is not where it should be.
    """
    adult = pq.read_table(source)
    split = adult["split"].to_numpy(zero_copy_only=False)
    rows = adult.drop_columns(["split"])
    rng = np.random.default_rng(seed)
    train, held_out = rng.permutation(np.flatnonzero(split == "train")), np.flatnonzero(split == "test")
    held_out = rng.permutation(held_out)

    def take(index: np.ndarray) -> pa.Table:
        return rows.take(pa.array(np.sort(index)))

    cuts = np.cumsum([first] * 3 + [second] * 3)
    parts = [take(part) for part in np.split(train[: cuts[-1]], cuts[:-1])]
    one = dict(zip(SOURCES, parts[:3], strict=True))
    two = dict(zip(SOURCES, parts[3:], strict=True))
    two["west"], done = poison(two["west"], one["west"], seed, rewritten)
    return Rounds(one, two, take(held_out[:trusted]), take(held_out[trusted:]), done)
