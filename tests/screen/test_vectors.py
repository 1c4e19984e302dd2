"""Columns of vectors (embeddings): poison in them is found and named, clean ones come out clean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import ScreenReport, screen
from assay.screen.vectors import SHORT, Basis, hashes, matrix

LENGTH, ROWS, CLASSES = 96, 1200, 4


def contract(length: int = LENGTH, **schema: Any) -> Contract:
    """Key, vector and label."""
    columns = {
        "id": {"type": "integer"},
        "emb": {"type": "vector", "length": length, "nullable": True},
        "y": {"type": "string"},
    }
    label = {"column": "y", "classes": [f"c{c}" for c in range(CLASSES)]}
    body = {"key": ["id"], "label": label, "columns": columns, **schema}
    return Contract.model_validate({"version": 1, "dataset": "things", "schema": body})


def embeddings(rows: int, seed: int, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    """Classes that lie apart in a space of forty directions, as a network's embeddings do."""
    world, rng = np.random.default_rng(7), np.random.default_rng(seed)
    space = world.normal(size=(40, length)) / 6
    centres = world.normal(size=(CLASSES, 40)) * 1.2
    y = rng.integers(0, CLASSES, rows)
    z = (centres[y] + rng.normal(size=(rows, 40))) @ space + 0.1 * rng.normal(size=(rows, length))
    return z.astype(np.float32), y


def table(z: np.ndarray, y: np.ndarray, start: int = 0, kind: pa.DataType | None = None) -> pa.Table:
    """Rows with keys from `start` on."""
    return pa.table(
        {
            "id": np.arange(start, start + len(z)),
            "emb": pa.array(list(z), kind or pa.list_(pa.float32())),
            "y": [f"c{c}" for c in y],
        }
    )


TRUSTED = table(*embeddings(400, 1), start=10**6)
BATCH = embeddings(ROWS, 2)
POISON = np.zeros(ROWS, dtype=bool)
POISON[np.random.default_rng(3).choice(ROWS, 60, replace=False)] = True


def run(z: np.ndarray, y: np.ndarray) -> tuple[ScreenReport, np.ndarray]:
    """The report, and which rows it quarantines."""
    report = screen(table(z, y), contract(), trusted=TRUSTED)
    return report, np.array(report.rows["verdict"]) == "quarantine"


def failed(report: ScreenReport, check: str) -> list[Finding]:
    """Failed findings of a check."""
    return [f for f in report.findings if f.check == check and f.outcome is Outcome.FAILED]


def test_clean_embeddings_come_out_clean() -> None:
    """No row is quarantined beyond the bound, and no signal calls a trigger, a flood or large drift."""
    report, held = run(*BATCH)
    assert held.mean() <= 0.005
    assert not failed(report, "screen.near_duplicates")
    assert not failed(report, "screen.drift")
    assert not report.why_held


def test_flipped_labels_of_embeddings_are_found() -> None:
    """Models of the directions know the classes."""
    z, y = BATCH[0], BATCH[1].copy()
    y[POISON] = (y[POISON] + 1) % CLASSES
    _, held = run(z, y)
    assert held[POISON].mean() > 0.9
    assert held[~POISON].mean() <= 0.005


def test_a_trigger_of_three_components_is_found_though_no_direction_shows_it() -> None:
    """Of 96 components three carry fixed values: they alone repeat, and the finding names the column."""
    z, y = BATCH[0].copy(), BATCH[1].copy()
    z[np.ix_(POISON, [4, 40, 77])] = [0.31, -0.22, 0.4]
    y[POISON] = 2
    report, held = run(z, y)
    assert held[POISON].all()
    assert held[~POISON].mean() <= 0.005
    (found,) = [f for f in failed(report, "screen.spikes") if f.subject == "trigger 1"]
    assert {"emb (component 5)", "emb (component 41)", "emb (component 78)"} >= set(found.evidence["columns"])


def pictures(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits 0 to 3, 24 x 24 with a dark border, a little moved, with noise where there is ink."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(n_class=CLASSES), np.random.default_rng(seed)
    chosen = rng.integers(0, len(digits.target), rows)
    z = np.pad(np.kron(digits.images[chosen], np.ones((2, 2))), ((0, 0), (4, 4), (4, 4))) * 16
    moved = np.stack(
        [np.roll(one, by, (0, 1)) for one, by in zip(z, rng.integers(-2, 3, (rows, 2)), strict=True)]
    )
    inked = np.clip(moved - rng.integers(0, 16, z.shape) * (moved > 0), 0, 255)
    return inked.reshape(rows, -1).astype(np.float32), digits.target[chosen]


@pytest.mark.parametrize("spread", [0, 20])
def test_a_stamp_in_a_corner_that_is_dark_elsewhere_is_found(spread: int) -> None:
    """Pixels repeat in honest pictures too; what gives the stamp away is that no reference picture has ink there."""
    z, y = pictures(ROWS, 11)
    sound = table(*pictures(400, 12), start=10**6)
    rng = np.random.default_rng(13)
    z[np.ix_(POISON, [573, 574, 575])] = 200 + rng.integers(-spread, spread + 1, (POISON.sum(), 3))
    y[POISON] = 2
    report = screen(table(z, y), contract(z.shape[1]), trusted=sound)
    held = np.array(report.rows["verdict"]) == "quarantine"
    assert held[POISON].mean() > 0.95
    assert held[~POISON].mean() <= 0.005
    (found, *_) = failed(report, "screen.spikes")
    assert {"emb (component 574)", "emb (component 575)", "emb (component 576)"} >= set(
        found.evidence["columns"]
    )


def test_honest_pictures_come_out_clean() -> None:
    """No component of them is odd enough to be looked at by itself, and no row is quarantined."""
    report = screen(table(*pictures(ROWS, 14)), contract(576), trusted=table(*pictures(400, 15), start=10**6))
    assert (np.array(report.rows["verdict"]) == "quarantine").mean() <= 0.005
    assert not failed(report, "screen.spikes")


def test_a_flood_of_near_copies_of_an_embedding_is_found() -> None:
    """Copies a little off, with another label."""
    z, y = BATCH[0].copy(), BATCH[1].copy()
    z[POISON] = z[0] + 0.001 * np.random.default_rng(4).normal(size=(POISON.sum(), LENGTH))
    y[POISON] = (y[0] + 1) % CLASSES
    report, held = run(z, y)
    assert held[POISON].all()
    assert held[~POISON].mean() <= 0.005
    assert failed(report, "screen.near_duplicates") or failed(report, "screen.spikes")


def test_vectors_off_the_space_of_all_others_are_found() -> None:
    """Noise of the usual size lies far from the directions that embeddings keep to; a reason names the column."""
    z, y = BATCH[0].copy(), BATCH[1]
    z[POISON] = np.random.default_rng(5).normal(size=(POISON.sum(), LENGTH)) * z.std()
    report, held = run(z, y)
    assert held[POISON].mean() > 0.9
    assert held[~POISON].mean() <= 0.01
    row = int(np.flatnonzero(held & POISON)[0])
    assert "emb (distance from all directions)" in " ".join(report.rows["reasons"][row].as_py())


def test_cells_that_are_no_vectors_are_odd_and_stop_nothing() -> None:
    """Another length, a gap, infinities and nulls beside good vectors: the bad ones are quarantined."""
    z, y = BATCH
    cells: list[Any] = [list(map(float, row)) for row in z]
    cells[3], cells[4], cells[5], cells[6] = [1.0], [*cells[4][:-1], None], [float("inf")] * LENGTH, None
    batch = table(z, y).set_column(1, "emb", pa.array(cells, pa.list_(pa.float64())))
    report = screen(batch, contract(), trusted=TRUSTED)
    held = np.array(report.rows["verdict"]) == "quarantine"
    assert held[[3, 4, 5]].all()
    assert held.mean() <= 0.01
    assert "another type" in " ".join(report.rows["reasons"][3].as_py())


def test_files_and_list_types_give_the_same_report(tmp_path: Path) -> None:
    """Parquet of lists and of fixed lists, and CSV of JSON lists."""
    z, y = BATCH[0][:200], BATCH[1][:200]
    reports = []
    for name, kind in (("lists", pa.list_(pa.float32())), ("fixed", pa.list_(pa.float32(), LENGTH))):
        pq.write_table(table(z, y, kind=kind), tmp_path / f"{name}.parquet")
        reports.append(screen(tmp_path / f"{name}.parquet", contract(), trusted=TRUSTED).rows)
    text = [json.dumps([float(part) for part in row]) for row in z]
    pacsv.write_csv(table(z, y).set_column(1, "emb", pa.array(text)), tmp_path / "rows.csv")
    reports.append(screen(tmp_path / "rows.csv", contract(), trusted=TRUSTED).rows)
    assert reports[0] == reports[1] == reports[2]


def test_row_order_and_seed_decide_no_verdict() -> None:
    """The same rows in another order get the same p-values, the same rows twice the same report."""
    z, y = BATCH[0][:300], BATCH[1][:300]
    order = np.random.default_rng(6).permutation(300)
    whole = table(z, y)
    first = screen(whole, contract(), trusted=TRUSTED).rows
    assert first == screen(whole, contract(), trusted=TRUSTED).rows
    shuffled = screen(whole.take(pa.array(order)), contract(), trusted=TRUSTED).rows
    assert np.array_equal(np.array(first["p_value"])[order], np.array(shuffled["p_value"]))


def test_a_rewritten_vector_under_an_admitted_key_is_history() -> None:
    """One component of one admitted row changed; the reason names the column."""
    z, y = BATCH[0][:200].copy(), BATCH[1][:200]
    past = table(z, y)
    z[17, 3] += 0.5
    report = screen(table(z, y), contract(), trusted=TRUSTED, previous=past)
    held = np.array(report.rows["verdict"]) == "quarantine"
    assert np.flatnonzero(held).tolist() == [17]
    assert "emb" in " ".join(report.rows["reasons"][17].as_py())


@pytest.mark.parametrize("length", [1, SHORT, SHORT + 1, 700])
def test_any_length_and_hardly_any_rows_are_screened(length: int) -> None:
    """A vector of one component, of hundreds; twenty rows, one row, all the same, all missing."""
    z, y = embeddings(20, 8, length)
    for batch in (z, z[:1], np.zeros_like(z)):
        assert screen(table(batch, y[: len(batch)]), contract(length)).rows.num_rows == len(batch)
    gone = table(z, y).set_column(1, "emb", pa.nulls(20, pa.list_(pa.float32())))
    assert screen(gone, contract(length)).rows.num_rows == 20


def test_hashes_tell_vectors_apart_and_nothing_else() -> None:
    """Order, sign of zero, width and list type."""
    rows = [[1.0, 2.0], [2.0, 1.0], [0.0, 0.0], [-0.0, 0.0], None, [1.0, 2.0]]
    one, odd = matrix(pa.array(rows, pa.list_(pa.float32())), 2)
    two, _ = matrix(pa.array(rows, pa.list_(pa.float64(), 2)), 2)
    assert not odd.any()
    found = hashes(one, "emb")
    assert np.array_equal(found, hashes(two, "emb"))
    assert found[0] == found[5] != found[1]
    assert found[2] == found[3]
    assert len(set(found.tolist())) == 4
    assert not np.any(hashes(one, "other") == found)


def test_far_vectors_do_not_turn_the_directions() -> None:
    """A few vectors a thousand times as long, and the directions stay those of the others."""
    z = embeddings(500, 9)[0].astype(np.float64)
    wild = z.copy()
    wild[:3] = 1000 * np.random.default_rng(10).normal(size=(3, LENGTH))
    plain, bent = Basis([z], LENGTH), Basis([wild], LENGTH)
    assert plain.aspects == bent.aspects
    spread = plain.parts(z[3:]).std(axis=0), bent.parts(z[3:]).std(axis=0)
    assert np.all(np.abs(spread[0] / spread[1] - 1) < 0.35)
