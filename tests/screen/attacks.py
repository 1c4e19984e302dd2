"""Poison made to order, with the truth known: each attack takes clean rows and says which of them it touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from assay.contract.models import Contract

REPOSITORY = Path(__file__).resolve().parents[2]
ADULT = REPOSITORY / "include" / "data" / "adult" / "adult.parquet"
SOURCES = 5


@dataclass
class Case:
    """A batch with what is known about it."""

    batch: pd.DataFrame
    trusted: pd.DataFrame
    test: pd.DataFrame
    contract: Contract
    poisoned: np.ndarray
    previous: pd.DataFrame | None = None
    trigger: dict[str, Any] | None = None
    target: Any = None


def contract_for(frame: pd.DataFrame, **screen: Any) -> Contract:
    """A contract for a frame with columns `id`, `src`, `label` and features."""
    columns: dict[str, Any] = {}
    for name in frame.columns:
        if name in ("src", "label") or not pd.api.types.is_numeric_dtype(frame[name]):
            columns[name] = {"type": "string", "nullable": True}
        elif pd.api.types.is_bool_dtype(frame[name]):
            columns[name] = {"type": "boolean"}
        elif pd.api.types.is_integer_dtype(frame[name]):
            columns[name] = {"type": "integer"}
        else:
            columns[name] = {"type": "number", "nullable": True}
    schema: dict[str, Any] = {"columns": columns}
    if "id" in frame:
        schema["key"] = ["id"]
    if "src" in frame:
        schema["source"] = "src"
    if "label" in frame:
        schema["label"] = {"column": "label", "classes": sorted(frame["label"].dropna().unique().tolist())}
    return Contract.model_validate({"version": 1, "dataset": "test", "schema": schema, "screen": screen})


def adult(rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """UCI Adult with mixed columns and real missing values; `label` is the income class."""
    frame = (
        pq.read_table(ADULT)
        .to_pandas()
        .drop(columns=["person_id", "split"])
        .rename(columns={"income": "label"})
    )
    return frame if rows is None else frame.sample(rows, random_state=seed).reset_index(drop=True)


def digits() -> pd.DataFrame:
    """Scikit-learn's digits: 64 image-like columns, ten classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    frame = pd.DataFrame(data.data, columns=[f"p{i:02d}" for i in range(64)])
    frame["label"] = data.target.astype(str)
    return frame


def blobs(rows: int = 4000, columns: int = 12, seed: int = 0) -> pd.DataFrame:
    """Two overlapping classes over correlated numeric columns."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.3 * rng.normal(size=(columns, columns)))
    x[:, : columns // 2] += 1.2 * label[:, None]
    frame = pd.DataFrame(np.round(x, 3), columns=[f"x{i:02d}" for i in range(columns)])
    frame["label"] = np.where(label == 1, "yes", "no")
    return frame


def split(
    frame: pd.DataFrame, rows: int, trusted: int, seed: int, test: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Batch, trusted and test rows, with keys and five sources given at random."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    whole = frame.iloc[order].reset_index(drop=True)
    whole.insert(0, "id", rng.permutation(10**6)[: len(whole)])
    whole.insert(1, "src", [f"s{v}" for v in rng.integers(0, SOURCES, len(whole))])
    trusted_rows = whole.iloc[:trusted].reset_index(drop=True)
    test_rows = whole.iloc[trusted : trusted + test].reset_index(drop=True)
    batch = whole.iloc[trusted + test : trusted + test + rows].reset_index(drop=True)
    return batch, trusted_rows, test_rows


def _features(frame: pd.DataFrame, numeric: bool = False) -> list[str]:
    names = [c for c in frame.columns if c not in ("id", "src", "label")]
    return [c for c in names if pd.api.types.is_numeric_dtype(frame[c])] if numeric else names


def _other(labels: pd.Series, classes: list[Any], rng: np.random.Generator) -> list[Any]:
    return [rng.choice([c for c in classes if c != v]) for v in labels]


def random_flip(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Another label, at random, in place; returns the touched rows."""
    rows = rng.choice(len(frame), max(1, round(rate * len(frame))), replace=False)
    classes = sorted(frame["label"].unique())
    frame.loc[rows, "label"] = _other(frame.loc[rows, "label"], classes, rng)
    return rows


def source_flip(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """30 % of one source's rows get another label."""
    mine = np.flatnonzero(frame["src"] == "s3")
    rows = rng.choice(mine, round(0.3 * len(mine)), replace=False)
    classes = sorted(frame["label"].unique())
    frame.loc[rows, "label"] = _other(frame.loc[rows, "label"], classes, rng)
    return rows


def boundary_flip(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The rows of the commonest class that a linear model finds likest to its most confusable class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(pd.get_dummies(frame[_features(frame)]).fillna(0).astype(float))
    model = LogisticRegression(max_iter=300).fit(x, frame["label"])
    p = model.predict_proba(x)
    classes = list(model.classes_)
    a = classes.index(frame["label"].value_counts().index[0])
    mine = np.flatnonzero(frame["label"] == classes[a])
    mean = p[mine].mean(axis=0)
    mean[a] = -1
    b = int(np.argmax(mean))
    count = min(max(1, round(rate * len(frame))), len(mine) // 2)
    rows = mine[np.argsort(-p[mine, b])][:count]
    frame.loc[rows, "label"] = classes[b]
    return rows


def backdoor(
    frame: pd.DataFrame,
    rate: float,
    rng: np.random.Generator,
    *,
    jitter: float = 0.0,
    columns: int = 3,
    categorical: bool = False,
) -> tuple[np.ndarray, dict[str, Any], Any]:
    """In-range values written into some columns and the label set to a target; jittered values are ones that occur."""
    names = _features(frame, numeric=not categorical)
    varied = [c for c in names if frame[c].nunique() > (1 if categorical else 5)] or names
    chosen = [str(c) for c in rng.choice(varied, min(columns, len(varied)), replace=False)]
    classes = sorted(frame["label"].unique())
    target = classes[int(rng.integers(len(classes)))]
    pool = np.flatnonzero(frame["label"] != target)
    rows = rng.choice(pool, min(len(pool), max(1, round(rate * len(frame)))), replace=False)
    trigger: dict[str, Any] = {}
    for c in chosen:
        if not pd.api.types.is_numeric_dtype(frame[c]):
            values = frame[c].value_counts()
            trigger[c] = values.index[int(rng.integers(len(values)))]
            frame.loc[rows, c] = trigger[c]
            continue
        values = frame[c].to_numpy(dtype=float)
        common, counts = np.unique(values, return_counts=True)
        if counts.max() > 0.2 * len(values):  # a value that every fifth row has makes no trigger
            values = values[values != common[np.argmax(counts)]]
        value = float(np.quantile(values, rng.uniform(0.1, 0.9), method="nearest"))
        trigger[c] = value
        written = np.full(len(rows), value)
        if jitter:
            occurring = np.unique(frame[c].to_numpy(dtype=float))
            wanted = value + rng.uniform(-jitter, jitter, len(rows)) * float(frame[c].std())
            place = np.clip(np.searchsorted(occurring, wanted), 1, len(occurring) - 1)
            lower = wanted - occurring[place - 1] < occurring[place] - wanted
            written = occurring[np.where(lower, place - 1, place)]
        frame.loc[rows, c] = written.astype(frame[c].dtype)
    frame.loc[rows, "label"] = target
    return rows, trigger, target


def garbage(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """One to three columns far out of range, and a random label."""
    rows = rng.choice(len(frame), max(1, round(rate * len(frame))), replace=False)
    names = _features(frame, numeric=True)
    classes = sorted(frame["label"].unique())
    frame[names] = frame[names].astype(
        {c: "float64" if frame[c].dtype.kind == "f" else "int64" for c in names}
    )
    ranges = {c: (float(frame[c].min()), float(frame[c].max())) for c in names}
    for row in rows:
        for c in rng.choice(names, int(rng.integers(1, 4)), replace=False):
            low, high = ranges[c]
            span = max(high - low, 1.0)
            value = (
                high + span * rng.uniform(0.3, 2) if rng.random() < 0.5 else low - span * rng.uniform(0.3, 2)
            )
            frame.loc[row, c] = value if frame[c].dtype.kind == "f" else round(value)
        frame.loc[row, "label"] = rng.choice(classes)
    return rows


def flood(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Near-copies of one row with a wrong label take the place of other rows."""
    rows = rng.choice(len(frame), max(8, round(rate * len(frame))), replace=False)
    origin = frame.iloc[int(rows[0])].copy()
    wrong = _other(pd.Series([origin["label"]]), sorted(frame["label"].unique()), rng)[0]
    for c in _features(frame):
        if pd.api.types.is_float_dtype(frame[c]):
            frame.loc[rows, c] = origin[c] + rng.normal(0, 0.01, len(rows)) * float(frame[c].std())
        else:
            frame.loc[rows, c] = origin[c]
    frame.loc[rows, "label"] = wrong
    return rows


def shift(frame: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Two columns moved by half a standard deviation."""
    rows = rng.choice(len(frame), max(1, round(rate * len(frame))), replace=False)
    for c in rng.choice(_features(frame, numeric=True), 2, replace=False):
        moved = frame.loc[rows, c] + 0.5 * float(frame[c].std())
        frame.loc[rows, c] = (
            moved.astype(frame[c].dtype)
            if frame[c].dtype.kind == "f"
            else moved.round().astype(frame[c].dtype)
        )
    return rows


ATTACKS = ("random_flip", "source_flip", "boundary_flip", "fixed", "jittered", "garbage", "flood", "shift")


def make_case(
    frame: pd.DataFrame,
    attack: str,
    rate: float,
    seed: int,
    *,
    rows: int = 3000,
    trusted: int = 500,
    test: int = 0,
    history: bool = False,
    **screen: Any,
) -> Case:
    """One attack on one data set; `attack` is one of `ATTACKS` or `clean`."""
    batch, sound, held_out = split(frame, rows, trusted, seed, test)
    contract = contract_for(batch, **screen)
    previous = None
    if history:
        # The snapshot is the clean past of most keys; the batch brings them again, with some new rows.
        previous = batch.iloc[: int(0.85 * len(batch))].copy()
    rng = np.random.default_rng(seed + 1000)
    trigger, target = None, None
    if attack == "clean":
        touched = np.zeros(0, dtype=int)
    elif attack in ("fixed", "jittered"):
        touched, trigger, target = backdoor(batch, rate, rng, jitter=0.1 if attack == "jittered" else 0.0)
    else:
        touched = globals()[attack](batch, rate, rng)
    poisoned = np.zeros(len(batch), dtype=bool)
    poisoned[touched] = True
    return Case(batch, sound, held_out, contract, poisoned, previous, trigger, target)


def recall_at(score: np.ndarray, poisoned: np.ndarray, rate: float) -> float:
    """Share of poisoned rows above the score that this share of clean rows exceeds."""
    cut = np.quantile(score[~poisoned], 1 - rate, method="higher")
    return float((score[poisoned] > cut).mean())


def to_table(frame: pd.DataFrame) -> pa.Table:
    """The frame as Arrow."""
    return pa.Table.from_pandas(frame, preserve_index=False)
