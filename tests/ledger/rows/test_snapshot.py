"""Snapshots: parts, manifests, and the Merkle root over all rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assay.findings import Outcome
from assay.ledger.errors import RowError, SnapshotError
from assay.ledger.merkle import root
from assay.ledger.rows.hashing import row_hashes
from assay.ledger.rows.parts import annotate, make_manifest, make_part, part_hashes
from assay.ledger.rows.snapshot import META, META_FIELDS, Part, SnapshotManifest
from assay.ledger.rows.verify import verify_snapshot
from assay.store import ObjectStore, put_table
from tests.ledger.support import COLUMNS, people, put_people, sha


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """An empty local store."""
    return ObjectStore(tmp_path / "store", work_dir=tmp_path / "work")


def manifest_of(
    store: ObjectStore, parts: list[Part], parent: SnapshotManifest | None = None
) -> SnapshotManifest:
    """A manifest over parts of people."""
    return make_manifest(
        store,
        dataset="people",
        contract_sha256=sha("contract"),
        columns=COLUMNS,
        key=["id"],
        parts=parts,
        parent=parent,
    )


def test_a_part_carries_each_rows_hash_and_origin() -> None:
    """Our columns stand beside the row, with the types that the docstring promises."""
    table = people(0, 3)
    part = annotate(
        table,
        COLUMNS,
        delivery="delivery-1",
        source=pa.array(["west", "west", "east"]),
        file="a.csv",
        record=pa.array([4, 5, 6], pa.int32()),
        decision=pa.array([None, None, "decision-1"]),
    )
    assert part.column_names == [*COLUMNS, *META]
    assert [part.schema.field(field.name) for field in META_FIELDS] == list(META_FIELDS)
    assert part["_row_hash"].to_pylist() == [value.tobytes() for value in row_hashes(table, COLUMNS)]
    assert part["_source"].to_pylist() == ["west", "west", "east"]
    assert part["_record"].to_pylist() == [4, 5, 6]
    assert part["_decision"].to_pylist() == [None, None, "decision-1"]


def test_the_root_is_that_of_all_rows_in_the_order_of_the_parts(store: ObjectStore) -> None:
    """One tree over the rows of all parts."""
    first, second = put_people(store, 0, 100), put_people(store, 100, 33)
    manifest = manifest_of(store, [first, second])
    both = pa.concat_tables([people(0, 100), people(100, 33)])
    assert manifest.rows == 133
    assert manifest.merkle_root == root(row_hashes(both, COLUMNS)).hex()
    assert first.root == root(row_hashes(people(0, 100), COLUMNS)).hex()


def test_the_root_is_the_same_whoever_wrote_the_parts(store: ObjectStore) -> None:
    """Other integer widths and plain texts instead of dictionaries: the same rows, the same root."""
    wide = people(0, 50).cast(
        pa.schema([("id", pa.int64()), ("name", pa.large_string()), ("age", pa.float64())])
    )
    narrow = people(0, 50).set_column(1, "name", people(0, 50)["name"].dictionary_encode())
    parts = []
    for table in (wide, narrow):
        stored = put_table(
            store, annotate(table, COLUMNS, delivery="d", source="s", file="f", record=pa.array(range(50)))
        )
        parts.append(make_part(store, stored.sha256, "d"))
    assert parts[0].root == parts[1].root
    assert parts[0].sha256 != parts[1].sha256


def test_a_new_version_reads_only_what_is_new(store: ObjectStore, tmp_path: Path) -> None:
    """The parent's right edge is enough to go on, even if its objects lie elsewhere by now."""
    first, second = put_people(store, 0, 77), put_people(store, 77, 60)
    parent = manifest_of(store, [first])
    whole = manifest_of(store, [first, second], parent)
    elsewhere = ObjectStore(tmp_path / "elsewhere", work_dir=tmp_path / "work")
    assert put_people(elsewhere, 77, 60) == second
    assert manifest_of(elsewhere, [first, second], parent) == whole
    assert (whole.version, whole.parent) == (2, parent.id)
    assert whole.merkle_root == root(row_hashes(people(0, 137), COLUMNS)).hex()


def test_a_version_that_leaves_something_out_is_computed_anew(store: ObjectStore) -> None:
    """A part of the parent that lost rows: the tree has only the rows that count."""
    first, second = put_people(store, 0, 50), put_people(store, 50, 50)
    parent = manifest_of(store, [first, second])
    less = make_part(store, first.sha256, first.delivery_id, excluded=[(40, 50), (0, 3), (10, 11)])
    child = manifest_of(store, [less, second], parent)
    keep = [*range(3, 10), *range(11, 40), *range(50, 100)]
    assert child.rows == len(keep) == 86
    assert child.merkle_root == root(row_hashes(people(0, 100).take(keep), COLUMNS)).hex()


def test_rows_that_count_are_found_and_counted() -> None:
    """`place` and `row_at` are each other's inverse, and agree with the mask."""
    part = Part(
        sha256=sha("x"), rows=20, root=sha("r"), delivery_id="d", excluded=((0, 2), (5, 9), (9, 10), (19, 20))
    )
    mask = part.mask(0, 20)
    counted = [row for row in range(20) if mask[row]]
    assert [part.place(row) for row in counted] == list(range(part.kept))
    assert [part.row_at(place) for place in range(part.kept)] == counted
    assert all(part.place(row) is None for row in range(20) if not mask[row])
    assert np.concatenate([part.mask(0, 7), part.mask(7, 20)]).tolist() == mask.tolist()


def test_a_manifest_comes_back_from_its_json(store: ObjectStore) -> None:
    """`from_json(m.to_json()) == m`, with the same id; other content, other id."""
    part = make_part(store, put_people(store, 0, 10).sha256, "d", excluded=[(1, 2)])
    manifest = manifest_of(store, [part])
    again = SnapshotManifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.id == manifest.id != manifest_of(store, [put_people(store, 0, 10)]).id


def test_each_row_of_the_tree_has_its_delivery(store: ObjectStore) -> None:
    """By its place in the order of the parts."""
    first = make_part(store, put_people(store, 0, 10).sha256, "first", excluded=[(0, 3)])
    manifest = manifest_of(store, [first, make_part(store, put_people(store, 10, 2).sha256, "second")])
    assert [manifest.delivery_of(index) for index in range(9)] == ["first"] * 7 + ["second"] * 2
    for index in (-1, 9):
        with pytest.raises(IndexError):
            manifest.delivery_of(index)


def test_an_empty_snapshot_has_the_root_of_the_empty_tree(store: ObjectStore) -> None:
    """No parts, no rows."""
    assert manifest_of(store, []).merkle_root == sha("")


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 11},
        {"merkle_root": sha("other")},
        {"edge": []},
        {"version": 0},
        {"version": "1"},
        {"columns": []},
        {"extra": 1},
        {"contract_sha256": "x"},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(store: ObjectStore, change: dict) -> None:
    """Sums, roots, edges and types must fit."""
    document = json.loads(manifest_of(store, [put_people(store, 0, 10)]).to_json())
    text = json.dumps({**document, **change}, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SnapshotError, match="malformed"):
        SnapshotManifest.from_json(text)


def test_a_manifest_has_one_spelling(store: ObjectStore) -> None:
    """Spaces, another order, or something that is no JSON at all."""
    data = manifest_of(store, []).to_json()
    for text in (data + b"\n", json.dumps(json.loads(data)).encode(), b"{", b"[]", b"\xff"):
        with pytest.raises(SnapshotError):
            SnapshotManifest.from_json(text)


@pytest.mark.parametrize("excluded", [[(0, 11)], [(3, 3)], [(2, 4), (3, 5)], [(-1, 2)]])
def test_excluded_rows_must_be_rows(store: ObjectStore, excluded: list) -> None:
    """Ranges within the part, apart from each other, not empty."""
    part = put_people(store, 0, 10)
    with pytest.raises(SnapshotError, match="excluded rows are malformed"):
        make_part(store, part.sha256, "d", excluded=excluded)


def test_an_object_that_is_no_part_is_refused(store: ObjectStore) -> None:
    """A Parquet file without our columns, a file of another kind, a truncated one, and one with other rows."""
    plain = put_table(store, people(0, 10)).sha256
    with pytest.raises(SnapshotError, match="not a part of a snapshot"):
        make_part(store, plain, "d")
    part = put_people(store, 0, 10)
    whole = store.get_bytes(part.sha256)
    for data in (b"id,name\n1,x\n", whole[: len(whole) // 2], b""):
        with pytest.raises(SnapshotError, match="cannot be read as Parquet"):
            make_part(store, store.put_bytes(data).sha256, "d")
    with pytest.raises(SnapshotError, match="another number of rows"):
        list(part_hashes(store, part.model_copy(update={"rows": 11})))
    with pytest.raises(SnapshotError, match="does not have the root"):
        manifest_of(store, [part.model_copy(update={"root": sha("other")})])


def test_a_whole_snapshot_verifies(store: ObjectStore) -> None:
    """Every row is hashed again from its values."""
    manifest = manifest_of(store, [put_people(store, 0, 40), put_people(store, 40, 40)])
    findings = verify_snapshot(store, manifest)
    assert [(finding.check, finding.outcome) for finding in findings] == [
        ("snapshot.part", Outcome.PASSED),
        ("snapshot.part", Outcome.PASSED),
        ("snapshot.root", Outcome.PASSED),
    ]


def test_a_row_that_was_changed_with_its_hash_left_as_it_was_is_named(store: ObjectStore) -> None:
    """A part written by someone else under the old hashes: the row is found by recomputing."""
    table = annotate(people(0, 40), COLUMNS, delivery="d", source="s", file="f", record=pa.array(range(40)))
    ages = table["age"].to_pylist()
    ages[17] = 99
    forged = table.set_column(2, "age", pa.array(ages, pa.int16()))
    part = make_part(store, put_table(store, forged).sha256, "d")
    manifest = manifest_of(store, [part])
    findings = verify_snapshot(store, manifest)
    assert [finding.outcome for finding in findings] == [Outcome.FAILED, Outcome.FAILED]
    assert findings[0].evidence["row"] == 17


def test_a_missing_or_damaged_object_fails_the_check(store: ObjectStore, tmp_path: Path) -> None:
    """The store's own complaint becomes the finding."""
    manifest = manifest_of(store, [put_people(store, 0, 40)])
    empty = ObjectStore(tmp_path / "none", work_dir=tmp_path / "work")
    (part, whole) = verify_snapshot(empty, manifest)
    assert (part.outcome, whole.outcome) == (Outcome.FAILED, Outcome.FAILED)
    assert "has no object" in part.message


def test_a_part_without_all_hashes_is_refused(store: ObjectStore) -> None:
    """A null in the hash column."""
    table = annotate(people(0, 3), COLUMNS, delivery="d", source="s", file="f", record=pa.array(range(3)))
    hashes = table["_row_hash"].to_pylist()
    holey = table.set_column(
        table.column_names.index("_row_hash"),
        "_row_hash",
        pa.array([hashes[0], None, hashes[2]], pa.binary(32)),
    )
    with pytest.raises(SnapshotError, match="rows without a hash"):
        make_part(store, put_table(store, holey).sha256, "d")


def test_rows_without_their_columns_are_not_annotated() -> None:
    """A column of the contract that the rows lack."""
    with pytest.raises(RowError, match="no column 'income'"):
        annotate(people(0, 1), [*COLUMNS, "income"], delivery="d", source="s", file="f", record=pa.array([0]))
