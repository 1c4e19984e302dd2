"""From an admitted table to the arrays that a trainer reads."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.contract.models import Contract
from assay.train.errors import PrepareError
from assay.train.network.spec import Class, Task, is_plain
from assay.train.setup.preprocess import Preprocessing, fit
from assay.train.setup.request import Arrays
from assay.train.setup.split import content_hashes, split_rows

CHUNK_ROWS = 65_536
MIN_ROWS = 8
"""Fewer rows leave nothing to measure on."""


@dataclass(frozen=True)
class PreparedData:
    """Arrays on disk and what is known about them.

    Attributes:
        run_dir: Where the arrays lie.
        arrays: Their paths.
        task: `classification` where the label has classes, else `regression`.
        label: The label's column.
        classes: Class names in the order of class numbers; `None` for regression.
        features: Names of the matrix's columns.
        state: The fitted preprocessing.
        rows: Rows in all.
        train_rows: int64 row numbers that are learned from.
        validation_rows: int64 row numbers that are only measured on.
        train_labels: Labels of the training rows, class numbers or standardised numbers.
        source_names: Names by source number; empty without a source column.
        data_sha256: SHA-256 over the arrays.
    """

    run_dir: Path
    arrays: Arrays
    task: Task
    label: str
    classes: tuple[Class, ...] | None
    features: tuple[str, ...]
    state: Preprocessing
    rows: int
    train_rows: npt.NDArray[np.int64]
    validation_rows: npt.NDArray[np.int64]
    train_labels: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    source_names: tuple[str, ...]
    data_sha256: str

    @property
    def preprocessing(self) -> dict[str, object]:
        """The fitted state, JSON-ready."""
        return self.state.model_dump(mode="json")


def prepare(
    table: pa.Table, contract: Contract, run_dir: Path, source_column: str | None = None
) -> PreparedData:
    """Split, fit the preprocessing on the training split, and write the arrays.

    The same table, contract and seed write the same bytes, so a killed preparation is simply done again.

    Args:
        table: Admitted rows, with the contract's columns.
        contract: Names features, label and key, and the validation fraction.
        run_dir: Directory for the arrays; made with mode 0700.
        source_column: Column that names each row's source; the contract's own by default.

    Raises:
        PrepareError: No label, too few rows, a label that the contract does not know, fewer than two classes, a missing
            column, or no room to write.
    """
    label = contract.schema_.label
    if label is None:
        raise PrepareError(
            f"the contract of {contract.dataset!r} has no label, so there is nothing to learn",
            expected="schema.label.column, and classes for a classification",
        )
    if table.num_rows < MIN_ROWS:
        raise PrepareError(
            "there are too few rows to train on", expected=f">= {MIN_ROWS}", found=table.num_rows
        )
    if label.column not in table.column_names:
        raise PrepareError(
            f"the table lacks the label column {label.column!r}", found=", ".join(table.column_names)
        )

    values = table.column(label.column)
    classes: tuple[Class, ...] | None = label.classes
    codes = _class_numbers(values, classes, label.column) if classes else None
    numbers = None if classes else _label_numbers(values, label.column)
    training = contract.training
    key = contract.schema_.key or (*contract.schema_.features, label.column)
    lacking = [name for name in key if name not in table.column_names]
    if lacking:
        raise PrepareError(f"the table lacks the column {lacking[0]!r}", found=", ".join(table.column_names))
    train, validation = split_rows(
        content_hashes(table, tuple(key), training.seed), training.validation_fraction, codes
    )
    state = fit(table.take(pa.array(train)), contract)
    if codes is not None:
        y: npt.NDArray[np.int64] | npt.NDArray[np.float64] = codes
    else:
        assert numbers is not None
        scale = float(numbers[train].std())
        state = state.model_copy(
            update={"target_mean": float(numbers[train].mean()), "target_scale": scale if scale > 0 else 1.0}
        )
        y = state.target(numbers)

    source_column = source_column or contract.schema_.source
    sources: npt.NDArray[np.int32] | None = None
    source_names: tuple[str, ...] = ()
    if source_column is not None and source_column in table.column_names:
        texts = pc.fill_null(table.column(source_column).cast(pa.string()), "")
        source_names = tuple(sorted(pc.unique(texts).to_pylist()))
        if odd := [name for name in source_names if not is_plain(name)]:
            raise PrepareError(
                f"the name of a source cannot be shown: {odd[0][:60]!a}",
                expected="one line of plain text, at most 256 characters, without <, > and backticks",
                next_step="name sources plainly in the contract, or in the column that names them",
            )
        indices = pc.index_in(texts, value_set=pa.array(source_names, type=pa.string()))
        sources = np.asarray(indices.combine_chunks()).astype(np.int32)

    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir = run_dir.resolve()
        digest = hashlib.sha256()
        arrays = Arrays(
            x=_write_matrix(run_dir / "x.npy", table, state, digest),
            y=_write_array(run_dir / "y.npy", y, digest),
            train=_write_array(run_dir / "train.npy", train, digest),
            validation=_write_array(run_dir / "validation.npy", validation, digest),
            sources=None if sources is None else _write_array(run_dir / "sources.npy", sources, digest),
        )
    except OSError as error:
        raise PrepareError(
            f"the training arrays cannot be written to {run_dir}: {error.strerror}",
            state="files written so far are complete; a second try writes the same ones",
            next_step="make room there, or name another directory",
        ) from error
    return PreparedData(
        run_dir=run_dir,
        arrays=arrays,
        task="classification" if classes else "regression",
        label=label.column,
        classes=classes,
        features=state.features,
        state=state,
        rows=table.num_rows,
        train_rows=train,
        validation_rows=validation,
        train_labels=y[train],
        source_names=source_names,
        data_sha256=digest.hexdigest(),
    )


def _class_numbers(values: pa.ChunkedArray, classes: tuple[Class, ...], column: str) -> npt.NDArray[np.int64]:
    array = values.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        known = pa.array(list(classes)).cast(array.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise PrepareError(
            f"the label column {column!r} does not hold the contract's classes",
            expected=", ".join(map(str, classes)),
            found=f"a column of type {array.type}",
        ) from error
    codes = pc.index_in(array, value_set=known, skip_nulls=True)
    if codes.null_count:
        strange = pc.unique(array.filter(codes.is_null())).to_pylist()
        raise PrepareError(
            f"{codes.null_count} rows have a label in {column!r} that the contract does not know",
            expected=", ".join(map(str, classes)),
            found=", ".join(repr(value) for value in strange[:8]),
            next_step="train on an admitted snapshot, which has no such rows, or name the class in the contract",
        )
    numbers = np.asarray(codes).astype(np.int64)
    if len(np.unique(numbers)) < 2:
        raise PrepareError(
            "all rows have the same label, so there is nothing to learn",
            expected="at least two classes",
            found=str(classes[int(numbers[0])]),
        )
    return numbers


def _label_numbers(values: pa.ChunkedArray, column: str) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(values.combine_chunks().cast(pa.float64(), safe=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PrepareError(
            f"the label column {column!r} holds no numbers",
            found=str(values.type),
            next_step="name the label's classes in schema.label.classes if it is a classification",
        ) from error
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise PrepareError(f"{bad} rows have no finite number in the label column {column!r}")
    return numbers


def _replace(temporary: Path, path: Path) -> Path:
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.chmod(0o600)
    temporary.replace(path)
    return path


def _write_matrix(path: Path, table: pa.Table, state: Preprocessing, digest: hashlib._Hash) -> Path:
    """Write the feature matrix chunk by chunk: memory is set by the chunk, not by the table."""
    temporary = path.with_name(f".{path.name}.partial")
    shape = (table.num_rows, len(state.features))
    try:
        with temporary.open("wb") as stream:
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            for start in range(0, table.num_rows, CHUNK_ROWS):
                data = state.transform(table.slice(start, CHUNK_ROWS)).astype("<f4", copy=False).tobytes()
                digest.update(data)
                stream.write(data)
        return _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_array(path: Path, values: npt.NDArray[np.generic], digest: hashlib._Hash | None) -> Path:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)
        if digest is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
        return _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
