"""From table columns to a float32 matrix, at training and at inference alike, with a state that is plain JSON.

The state is fitted on the training split alone, so that nothing of the validation rows leaks into it, and travels in
the bundle's `spec.json`. It holds numbers and strings only: there is nothing in it that could run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.contract.models import Contract
from assay.contract.network import EmbeddingLayer
from assay.train.errors import PrepareError, PreprocessError

PREPROCESSING_FORMAT: Final = "assay-preprocessing/1"
MAX_CATEGORIES = 64
"""Categories of one column that get a feature of their own; the rest share `other`."""
MAX_EMBEDDED = 4096
"""Categories of one embedded column that get a vector of their own."""
CLIP = 1e6
"""Standardised numbers are held within this many deviations, so that a finite number stays finite in float32."""

Kind = Literal["number", "category", "boolean", "time", "vector"]
Matrix = npt.NDArray[np.float32]


class ColumnState(BaseModel):
    """How one column becomes features.

    Attributes:
        name: The column.
        kind: `number`, `category` (one feature per known value), `boolean`, `time` (seconds since 1970), or `vector`
            (one feature per component).
        missing: Whether a feature says that the value was missing; without it a missing value is only imputed.
        median: What a missing number becomes.
        mean: Subtracted from numbers.
        scale: What numbers are divided by: their standard deviation, or 1 for a constant column.
        values: Known categories, in feature order.
        means: Of a vector, what is subtracted from each component; a missing vector stands there.
        scales: Of a vector, what each component is divided by.
        embedded: Whether a category is one feature that holds its number: its place among `values`, the next number for
            every other value, the one after that for a missing one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    missing: bool = False
    median: float = Field(default=0.0, allow_inf_nan=False)
    mean: float = Field(default=0.0, allow_inf_nan=False)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    values: tuple[str, ...] = ()
    means: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    embedded: bool = False

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.means) != len(self.scales) or (self.kind == "vector") != bool(self.means):
            raise ValueError("a vector has a mean and a scale for each component, and nothing else has")
        return self

    @property
    def vocabulary(self) -> int:
        """How many numbers an embedded category can have."""
        return len(self.values) + 1 + self.missing

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that this column becomes."""
        if self.embedded:
            return (self.name,)
        if self.kind == "category":
            names = [f"{self.name}={value}" for value in self.values]
            names.append(f"{self.name}:other")
        elif self.kind == "vector":
            names = [f"{self.name}[{number}]" for number in range(len(self.means))]
        else:
            names = [self.name]
        if self.missing:
            names.append(f"{self.name}:missing")
        return tuple(names)


class Preprocessing(BaseModel):
    """The fitted state: columns to features, and for regression the scale of the label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["assay-preprocessing/1"] = PREPROCESSING_FORMAT
    columns: tuple[ColumnState, ...] = Field(min_length=1)
    target_mean: float = Field(default=0.0, allow_inf_nan=False)
    target_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the matrix's columns, in order."""
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def embedded(self) -> tuple[tuple[int, int], ...]:
        """Place and vocabulary of each feature that holds a category's number."""
        found, at = [], 0
        for column in self.columns:
            if column.embedded:
                found.append((at, column.vocabulary))
            at += len(column.features)
        return tuple(found)

    def transform(self, table: pa.Table | pa.RecordBatch) -> Matrix:
        """Turn a table into the matrix that the network takes.

        Columns are found by name; others are ignored. Missing values, NaN and infinities are imputed; categories that
        the training split did not have become `other`.

        Returns:
            float32 (rows, features), C order, finite throughout.

        Raises:
            PreprocessError: A column is missing, or holds what cannot be read as its kind.
        """
        out = np.zeros((table.num_rows, len(self.features)), dtype=np.float32)
        self.transform_into(table, out)
        return out

    def transform_into(self, table: pa.Table | pa.RecordBatch, out: Matrix) -> None:
        """As `transform`, into zeroed rows that the caller holds: (rows, features)."""
        names = set(table.schema.names)
        lacking = [column.name for column in self.columns if column.name not in names]
        if lacking:
            raise PreprocessError(
                f"the table lacks {len(lacking)} of the columns that the model learned from",
                expected=", ".join(column.name for column in self.columns),
                found=f"without {', '.join(lacking[:12])}",
                next_step="hand over every feature column of the contract; a missing value is a null in it",
            )
        at = 0
        for column in self.columns:
            width = len(column.features)
            _write(column, table.column(column.name), out[:, at : at + width])
            at += width

    def target(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Label values in the network's scale."""
        return (values - self.target_mean) / self.target_scale

    def inverse_target(self, outputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The network's outputs in the label's own unit."""
        return np.asarray(outputs, dtype=np.float64) * self.target_scale + self.target_mean


def load_preprocessing(state: Mapping[str, object]) -> Preprocessing:
    """Read the state from a bundle's `spec.json`.

    Raises:
        PreprocessError: It is not such a state.
    """
    try:
        return Preprocessing.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise PreprocessError(
            f"the preprocessing state cannot be used: {where}: {first['msg']}", expected=PREPROCESSING_FORMAT
        ) from error


def fit(table: pa.Table, contract: Contract, *, max_categories: int = MAX_CATEGORIES) -> Preprocessing:
    """Fit on a table that holds the training split's rows only.

    Columns that the contract's first layer embeds become numbers of categories, the others features of zero and one.

    Raises:
        PrepareError: The contract leaves no feature column, or the table lacks one.
    """
    schema = contract.schema_
    if not schema.features:
        raise PrepareError(
            "the contract leaves no column to learn from",
            expected="at least one column that is not key, source, label or ignored",
            next_step="add a column to schema.columns, or take one out of schema.ignore",
        )
    lacking = [name for name in schema.features if name not in table.column_names]
    if lacking:
        raise PrepareError(
            f"the table lacks the contract's column {lacking[0]!r}",
            expected=", ".join(schema.features),
            found=", ".join(table.column_names),
        )
    embedded = _embedded_columns(contract)
    columns = []
    for name in schema.features:
        column = schema.columns[name]
        values = table.column(name)
        kind: Kind = {
            "integer": "number",
            "number": "number",
            "string": "category",
            "boolean": "boolean",
            "date": "time",
            "timestamp": "time",
            "vector": "vector",
        }[column.type]  # type: ignore[assignment]
        if column.length is not None:
            columns.append(_fit_vector(name, values, column.length, column.nullable))
            continue
        most = MAX_EMBEDDED if name in embedded else max_categories
        state = _fit_column(name, kind, values, column.nullable, most)
        columns.append(state.model_copy(update={"embedded": name in embedded}))
    return Preprocessing(columns=tuple(columns))


def _embedded_columns(contract: Contract) -> frozenset[str]:
    """The columns that the contract's first layer embeds.

    Raises:
        PrepareError: There is none to embed.
    """
    layers, schema = contract.training.layers, contract.schema_
    if not layers or not isinstance(layers[0], EmbeddingLayer):
        return frozenset()
    texts = [name for name in schema.features if schema.columns[name].type == "string"]
    wanted = texts if layers[0].columns is None else list(layers[0].columns)
    strange = [name for name in wanted if name not in texts]
    if strange or not wanted:
        raise PrepareError(
            f"the embedding cannot take {strange[0]!r}" if strange else "there is no text column to embed",
            expected=f"text columns to learn from: {', '.join(texts) or 'there is none'}",
            next_step="change training.layers[0] in the contract",
        )
    return frozenset(wanted)


def _fit_column(
    name: str, kind: Kind, values: pa.ChunkedArray, nullable: bool, max_categories: int
) -> ColumnState:
    if kind == "category":
        texts = _texts(name, values)
        counts = pc.value_counts(texts.drop_null())
        ranked = sorted(
            zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True),
            key=lambda pair: (-pair[1], pair[0]),
        )
        # Most frequent first decides who gets a feature; the features themselves stand in alphabetical order.
        known = sorted(value for value, _ in ranked[:max_categories])
        return ColumnState(
            name=name, kind=kind, missing=nullable or texts.null_count > 0, values=tuple(known)
        )
    numbers = _numbers(name, kind, values)
    good = numbers[np.isfinite(numbers)]
    missing = nullable or good.size < numbers.size
    if kind == "boolean" or not good.size:
        return ColumnState(name=name, kind=kind, missing=missing)
    scale = float(good.std())
    return ColumnState(
        name=name,
        kind=kind,
        missing=missing,
        median=float(np.median(good)),
        mean=float(good.mean()),
        scale=scale if math.isfinite(scale) and scale > 1e-12 * max(1.0, abs(float(good.mean()))) else 1.0,
    )


def _fit_vector(name: str, values: pa.ChunkedArray, length: int, nullable: bool) -> ColumnState:
    matrix, there = _components(name, values, length)
    means = matrix.mean(axis=0) if len(matrix) else np.zeros(length)
    spread = matrix.std(axis=0) if len(matrix) else np.ones(length)
    flat = ~np.isfinite(spread) | (spread <= 1e-12 * np.maximum(1.0, np.abs(means)))
    return ColumnState(
        name=name,
        kind="vector",
        missing=nullable or not there.all(),
        means=tuple(means.tolist()),
        scales=tuple(np.where(flat, 1.0, spread).tolist()),
    )


def _write(column: ColumnState, values: pa.ChunkedArray | pa.Array, out: Matrix) -> None:
    """Fill the features of one column; `out` is zero on entry."""
    if column.kind == "vector":
        matrix, there = _components(column.name, values, len(column.means))
        standard = (matrix - np.array(column.means)) / np.array(column.scales)
        out[there, : len(column.means)] = np.clip(standard, -CLIP, CLIP)
        if column.missing:
            out[:, len(column.means)] = ~there
        return
    if column.kind == "category":
        texts = _texts(column.name, values)
        codes = pc.index_in(texts, value_set=pa.array(column.values, type=pa.string()), skip_nulls=True)
        codes = codes.fill_null(len(column.values)).to_numpy(zero_copy_only=False)
        gone = np.asarray(texts.is_null())
        if column.missing:
            codes = np.where(gone, len(column.values) + 1, codes)
        if column.embedded:
            out[:, 0] = codes
            return
        out[np.arange(len(codes)), codes] = 1.0
        return
    numbers = _numbers(column.name, column.kind, values)
    gone = ~np.isfinite(numbers)
    if column.kind == "boolean":
        out[:, 0] = np.where(gone, 0.0, numbers)
    else:
        standard = (np.where(gone, column.median, numbers) - column.mean) / column.scale
        out[:, 0] = np.clip(standard, -CLIP, CLIP)
    if column.missing:
        out[:, 1] = gone


def _components(
    name: str, values: pa.ChunkedArray | pa.Array, length: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of the vectors that are there, (those, length) components; and which of the rows have one.

    A vector with a component that is null, NaN or infinite counts as missing.
    """
    array = _plain(values)
    if pa.types.is_null(array.type):
        return np.zeros((0, length)), np.zeros(len(array), dtype=bool)
    try:
        sizes = pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False)
        there = sizes >= 0
        if np.any(sizes[there] != length):
            raise PreprocessError(
                f"column {name!r} holds vectors of another length",
                expected=f"{length} components",
                found=f"{int(sizes[there & (sizes != length)][0])} components",
            )
        flat = array.flatten().cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PreprocessError(f"column {name!r} cannot be read as vectors", found=array.type) from error
    matrix = np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float64).reshape(-1, length)
    sound = np.isfinite(matrix).all(axis=1)
    there = there.copy()
    there[np.flatnonzero(there)[~sound]] = False
    return matrix[sound], there


def _plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array


def _texts(name: str, values: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = _plain(values)
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise PreprocessError(f"column {name!r} cannot be read as text", found=array.type) from error


def _numbers(name: str, kind: Kind, values: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.float64]:
    """The column as float64 (rows,), NaN where it is missing; times as seconds since 1970 in UTC."""
    array = _plain(values)
    try:
        if kind == "time":
            array = array.cast(pa.timestamp("us", tz=getattr(array.type, "tz", None))).cast(pa.int64())
            divisor = 1e6
        else:
            if kind == "boolean":
                array = array.cast(pa.bool_())
            divisor = 1.0
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.int8())
        if pa.types.is_integer(array.type):
            # Beyond 2**53 a float64 rounds; a feature does not need the last digit, so the cast need not be exact.
            numbers = np.asarray(array.cast(pa.float64(), safe=False), dtype=np.float64)
        else:
            numbers = np.asarray(array.cast(pa.float64()), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        raise PreprocessError(
            f"column {name!r} cannot be read as {kind}",
            found=f"{array.type}: {str(error).splitlines()[0][:160]}",
        ) from error
    return numbers / divisor if divisor != 1.0 else numbers
