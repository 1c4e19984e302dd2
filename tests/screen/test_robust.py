"""Whatever the table looks like: a report, or a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.contract.models import Contract
from assay.findings import Outcome, Verdict
from assay.screen import Rows, ScreenError, ScreenUsageError, screen
from tests.screen import attacks


def small(rows: int = 400) -> tuple[pd.DataFrame, pd.DataFrame, Contract]:
    batch, trusted, _ = attacks.split(attacks.blobs(700, 5), rows, 150, 0)
    return batch, trusted, attacks.contract_for(batch)


def verdicts(table: pa.Table) -> list[str]:
    found: list[str] = table["verdict"].to_pylist()
    return found


def test_same_input_and_seed_give_the_same_report_byte_for_byte(tmp_path: Path) -> None:
    """Compared as files."""
    case = attacks.make_case(attacks.blobs(1500, 6), "fixed", 0.05, 1, rows=800, trusted=300)
    for name in ("a", "b"):
        report = screen(case.batch, case.contract, trusted=case.trusted, seed=7)
        pq.write_table(report.rows, tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.json").write_text("\n".join(f.model_dump_json() for f in report.findings))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_row_order_does_not_change_verdicts() -> None:
    """Shuffled rows, same verdict and score for each, even with fewer fitted rows than there are."""
    case = attacks.make_case(
        attacks.blobs(1500, 6), "fixed", 0.05, 1, rows=800, trusted=300, fit_rows=600, batch_rows=300
    )
    order = np.random.default_rng(0).permutation(len(case.batch))
    one = screen(case.batch, case.contract, trusted=case.trusted).rows
    two = screen(
        case.batch.iloc[order], case.contract, trusted=case.trusted.sample(frac=1, random_state=3)
    ).rows
    assert [verdicts(one)[i] for i in order] == verdicts(two)
    np.testing.assert_allclose(one["score"].to_numpy()[order], two["score"].to_numpy(), rtol=1e-9)


@pytest.mark.parametrize("form", ["table", "reader", "parquet", "csv", "rows"])
def test_every_form_of_table_gives_the_same_verdicts(form: str, tmp_path: Path) -> None:
    """Frame, Table, RecordBatchReader, Parquet file, CSV file, re-readable rows."""
    batch, trusted, contract = small(300)
    batch.loc[5, "x01"] = 1e6
    expected = screen(batch, contract, trusted=trusted).rows
    table = attacks.to_table(batch)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=70)
    batch.to_csv(tmp_path / "t.csv", index=False)
    given = {
        "table": table,
        "reader": table.to_reader(max_chunksize=50),
        "parquet": str(tmp_path / "t.parquet"),
        "csv": tmp_path / "t.csv",
        "rows": Rows(lambda size: table.to_batches(max_chunksize=size), "batch"),
    }[form]
    assert screen(given, contract, trusted=trusted).rows.equals(expected)


@pytest.mark.parametrize(
    "change",
    [
        "constant",
        "all missing",
        "one class",
        "null labels",
        "duplicate keys",
        "unseen",
        "infinite",
        "duplicated rows",
        "texts",
    ],
)
def test_odd_tables_get_a_report(change: str) -> None:
    """One odd thing each; the report has one row per input row and no clean row is lost."""
    batch, trusted, contract = small(300)
    if change == "constant":
        batch["x01"] = 1.0
        trusted["x01"] = 1.0
    elif change == "all missing":
        batch["x01"] = np.nan
        trusted["x01"] = np.nan
    elif change == "one class":
        batch, trusted = batch.assign(label="yes"), trusted.assign(label="yes")
    elif change == "null labels":
        batch.loc[:20, "label"] = None
    elif change == "duplicate keys":
        batch["id"] = 1
    elif change == "unseen":
        batch.loc[:3, ["src", "label"]] = ["elsewhere", "neither"]
    elif change == "infinite":
        batch.loc[:3, "x02"] = [np.inf, -np.inf, np.nan, 1e308]
    elif change == "duplicated rows":
        batch = pd.concat([batch, batch.iloc[:5]], ignore_index=True)
    else:
        words = np.random.default_rng(0)
        batch["note"] = ["".join(words.choice(list("abc "), 30)) for _ in range(len(batch))]
        trusted["note"] = ["".join(words.choice(list("abc "), 30)) for _ in range(len(trusted))]
        contract = attacks.contract_for(batch)
    report = screen(batch, contract, trusted=trusted)
    assert report.rows.num_rows == len(batch)
    assert report.quarantined <= 6


@pytest.mark.parametrize("rows", [0, 1, 2, 20, 49])
def test_few_rows_get_a_report(rows: int) -> None:
    """From none to 49; what cannot be said of so few is not checked."""
    batch, trusted, contract = small(60)
    report = screen(batch.iloc[:rows], contract, trusted=trusted)
    assert report.rows.num_rows == rows
    assert report.quarantined == 0
    alone = screen(batch.iloc[:rows], contract)
    assert any(f.outcome is Outcome.NOT_CHECKED for f in alone.findings)


def test_a_batch_given_as_its_own_trusted_set_vouches_for_nothing() -> None:
    """A poisoned batch would calibrate itself: the tier is that of a batch alone, and a finding says why."""
    case = attacks.make_case(attacks.blobs(1500, 6), "fixed", 0.05, 1, rows=800, trusted=300)
    report = screen(case.batch, case.contract, trusted=case.batch)
    assert "+trusted" not in report.tier
    told = [f.message for f in report.findings if f.check == "screen.trusted"]
    assert any("vouch for themselves" in message for message in told)
    assert "+trusted" in screen(case.batch, case.contract, trusted=case.batch.iloc[:400]).tier


def test_an_empty_batch_is_not_checked() -> None:
    """Nothing looked at is nothing passed."""
    batch, _, contract = small(60)
    assert screen(batch.iloc[:0], contract).outcome is Outcome.NOT_CHECKED


def test_a_number_as_label_is_screened_in_bins() -> None:
    """A regression target."""
    batch, trusted, _ = small(400)
    for frame in (batch, trusted):
        frame["label"] = frame["x00"] * 2 + frame["x01"]
    contract = Contract.model_validate(
        {
            "version": 1,
            "dataset": "numbers",
            "schema": {
                "key": ["id"],
                "label": {"column": "label"},
                "columns": {n: {"type": "string" if n == "src" else "number"} for n in batch.columns},
            },
        }
    )
    batch.loc[:15, "label"] = batch["label"].max()
    report = screen(batch, contract, trusted=trusted)
    assert report.rows["score"].to_numpy()[:16].mean() > report.rows["score"].to_numpy()[16:].mean()


def test_dates_booleans_and_decimals_are_read_by_the_contract() -> None:
    """Every column type, with nulls."""
    n = 120
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D")
    table = pa.table(
        {
            "id": pa.array(range(n)),
            "day": pa.array(days.date, pa.date32()),
            "at": pa.array(days, pa.timestamp("ms")),
            "flag": pa.array([None if v == 0 else bool(v == 1) for v in rng.integers(0, 3, n)]),
            "price": pa.array(rng.normal(size=n).round(2)).cast(pa.decimal128(8, 2)),
            "kind": pa.array(rng.choice(["a", "b"], n)).dictionary_encode(),
            "label": pa.array(rng.integers(0, 2, n)),
        }
    )
    types = {
        "id": "integer",
        "day": "date",
        "at": "timestamp",
        "flag": "boolean",
        "price": "number",
        "kind": "string",
    }
    schema = {
        "key": ["id"],
        "label": {"column": "label", "classes": [0, 1]},
        "columns": {k: {"type": v, "nullable": k != "id"} for k, v in {**types, "label": "integer"}.items()},
    }
    contract = Contract.model_validate({"version": 1, "dataset": "kinds", "schema": schema})
    report = screen(table, contract, trusted=table.slice(0, 80))
    assert report.rows.num_rows == n
    assert not [f for f in report.findings if f.check == "screen.labels" and f.outcome is Outcome.NOT_CHECKED]


def test_text_in_a_number_column_is_odd_not_fatal() -> None:
    """`n/a` among numbers is quarantined as a value of another type."""
    batch, trusted, contract = small(300)
    batch["x01"] = batch["x01"].astype(str)
    batch.loc[7, "x01"] = "n/a!"
    report = screen(batch, contract, trusted=trusted)
    assert [i for i, v in enumerate(verdicts(report.rows)) if v == "quarantine"] == [7]


def test_missing_columns_are_named() -> None:
    """With what the contract expects."""
    batch, _, contract = small(60)
    with pytest.raises(ScreenError, match="'x02' is missing"):
        screen(batch.drop(columns="x02"), contract)


def test_a_column_that_stands_twice_is_named() -> None:
    """Which of them would be meant?"""
    batch, _, contract = small(60)
    table = attacks.to_table(batch)
    with pytest.raises(ScreenError, match="'x00' stands twice"):
        screen(table.append_column("x00", table["x01"]), contract)


def test_what_is_no_table_is_a_usage_error(tmp_path: Path) -> None:
    """A number, a path that is not there, a file cut short."""
    batch, _, contract = small(60)
    with pytest.raises(ScreenUsageError, match="no table"):
        screen(5, contract)  # type: ignore[arg-type]
    with pytest.raises(ScreenError, match="no batch at"):
        screen(tmp_path / "none.parquet", contract)
    pq.write_table(attacks.to_table(batch), tmp_path / "t.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-200])
    with pytest.raises(ScreenError, match="cannot be read"):
        screen(tmp_path / "cut.parquet", contract)


def test_many_rows_are_scored_in_streams_by_the_cheap_signals() -> None:
    """Above 50,000 rows: batches side by side, the same verdicts for the planted rows."""
    batch, trusted, _ = attacks.split(attacks.blobs(62_000, 4), 60_000, 500, 0)
    contract = attacks.contract_for(batch, fit_rows=3000, batch_rows=8192)
    rows = np.random.default_rng(0).choice(len(batch), 1500, replace=False)
    batch.loc[rows, ["x00", "x01", "x02"]] = [2.125, -1.375, 0.625]
    batch.loc[rows, "label"] = "no"
    report = screen(batch, contract, trusted=trusted)
    quarantined = np.array(verdicts(report.rows)) == "quarantine"
    assert quarantined[rows].mean() > 0.99
    assert quarantined.sum() < 1500 + 0.005 * len(batch)


def test_the_delivery_is_held_when_too_much_is_quarantined() -> None:
    """By the contract's limit."""
    case = attacks.make_case(
        attacks.blobs(1500, 6), "fixed", 0.08, 1, rows=800, trusted=300, hold_delivery_above=0.05
    )
    report = screen(case.batch, case.contract, trusted=case.trusted)
    assert report.verdict is Verdict.HOLD
    assert report.outcome is Outcome.FAILED
