"""Strict casts to the contract's types: a value keeps its meaning exactly or is reported, and nothing is coerced.

The text of a CSV cell is parsed by the type of its column. Arrow's own parser takes whole batches; only the cells that
it refuses are looked at one by one, by rules that accept the same texts and give the same values, so that the answer
for a cell never depends on its neighbours.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.intake import _vectors
from assay.intake._reading import EXAMPLES, Reading

Mask = npt.NDArray[np.bool_]

ARROW_TYPES: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "vector": _vectors.VECTOR,
}

_EPOCH = dt.date(1970, 1, 1)
_DAYS = ((dt.date.min - _EPOCH).days, (dt.date.max - _EPOCH).days)
_MICROS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)
_EXACT = 2**53  # integers up to here are exact in a float64
_BLANKS = " \t"

_PLAIN = {  # cells that Arrow parses for certain, as RE2 patterns
    "integer": r"^-?[0-9]{1,18}$",
    "number": r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$",
    "boolean": r"^(?i:true|false|0|1)$",
    "date": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
    "timestamp": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[ T]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$",
}
_INTEGER = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_NAN = re.compile(r"[+-]?nan(\([0-9a-z_]*\))?", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)

PROBLEMS = {
    "integer": "not an integer of 64 bits",
    "number": "not a number",
    "boolean": "not a boolean (true, false, 1, 0)",
    "date": "not a date (YYYY-MM-DD)",
    "timestamp": "not an ISO 8601 time with at most microseconds",
}
NOT_A_NUMBER = "NaN in a column that is not nullable"
INFINITE = "infinite"
YEARS = "outside the years 1 to 9999"
LOSSY = "would lose digits"
FRACTION = "has a fraction"
NUL = "holds a NUL character"


# --------------------------------------------------------------------------------------------------------- text cells
def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text) or len(text) > 40:
        return None
    value = int(text.split(".")[0])
    return value if -(2**63) <= value < 2**63 else None


def _number(text: str) -> float | None:
    if _NAN.fullmatch(text):
        return float("nan")
    return float(text) if _NUMBER.fullmatch(text) else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())


def _date(text: str) -> int | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return (dt.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return None


def _timestamp(text: str) -> int | None:
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_PARSERS: dict[str, tuple[Callable[[str], Any], pa.DataType]] = {
    "integer": (_integer, pa.int64()),
    "number": (_number, pa.float64()),
    "boolean": (_boolean, pa.bool_()),
    "date": (_date, pa.int32()),
    "timestamp": (_timestamp, pa.int64()),
}


def _whole(text: pa.StringArray, kind: str) -> pa.Array | None:
    """All cells through Arrow's parser at once; None where it refuses one or is laxer than we are."""
    if kind == "integer" and pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py():
        return None  # Arrow reads 0x10 as sixteen
    if kind in {"date", "timestamp"} and not pc.all(pc.match_substring_regex(text, _PLAIN[kind])).as_py():
        return None
    try:
        return pc.cast(text, ARROW_TYPES[kind])
    except pa.ArrowInvalid:
        return None


def from_text(text: pa.StringArray, name: str, reading: Reading, *, exact: bool = False) -> pa.Array:
    """Parse the cells of one column of a CSV batch by the contract's type.

    Args:
        text: The cells; nulls stay nulls.
        name: The column.
        reading: Where bad cells are reported; they become nulls.
        exact: Also hold strings against what no string may hold; CSV has done that with its whole text.

    Returns:
        An array of the contract's Arrow type, as long as `text`.

    Raises:
        ReadError: A cell is bad and bad cells are not collected.
    """
    kind = reading.column(name).type
    if kind == "string":
        return _sound(text, name, reading) if exact else text
    if kind == "vector":
        return _vectors.from_text(text, name, reading)
    if kind == "number":
        text = _no_lossy(text, name, reading)
    values = _whole(text, kind) if text.null_count < len(text) else pa.nulls(len(text), ARROW_TYPES[kind])
    if values is None:
        plain = pc.fill_null(pc.match_substring_regex(text, _PLAIN[kind]), True)
        values = pc.cast(pc.if_else(plain, text, pa.scalar(None, pa.string())), ARROW_TYPES[kind])
        places = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
        cells = text.take(pa.array(places)).to_pylist()
        parse, storage = _PARSERS[kind]
        parsed = [parse(cell.strip(_BLANKS)) for cell in cells]
        mask = np.zeros(len(text), dtype=bool)
        mask[places] = True
        values = pc.replace_with_mask(
            values, pa.array(mask), pa.array(parsed, storage).cast(ARROW_TYPES[kind])
        )
        refused = [i for i, value in enumerate(parsed) if value is None]
        if refused:
            examples = [cells[i] for i in refused[:EXAMPLES]]
            reading.report(name, PROBLEMS[kind], places[refused], examples)
    return _sound(values, name, reading)


def _no_lossy(text: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Report whole numbers that a float64 cannot hold: identifiers and the like, which would become others."""
    long = pc.fill_null(pc.match_substring_regex(text, r"^[ \t]*[+-]?[0-9]{16,}[ \t]*$"), False)
    places = np.flatnonzero(long.to_numpy(zero_copy_only=False))
    if not len(places):
        return text
    cells = [cell.strip(_BLANKS) for cell in text.take(pa.array(places)).to_pylist()]
    mask = np.zeros(len(text), dtype=bool)
    # Longer ones than int() reads at once are no identifiers; as floats they are infinite or rounded as all are.
    mask[places] = [len(cell) < 300 and int(float(cell)) != int(cell) for cell in cells]
    return drop(text, mask, name, LOSSY, reading)


# ------------------------------------------------------------------------------------------------------- Arrow's cells
def acceptable(found: pa.DataType, kind: str) -> bool:
    """Whether a Parquet column of the Arrow type `found` can hold values of the contract's type without coercion."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found):
        return True
    decimal = pa.types.is_decimal(found)
    answers: dict[str, bool] = {
        "integer": pa.types.is_integer(found)
        or pa.types.is_floating(found)
        or (decimal and found.scale == 0 and found.precision <= 18),
        "number": pa.types.is_integer(found)
        or pa.types.is_floating(found)
        or (decimal and found.precision <= 15),
        "string": pa.types.is_string(found)
        or pa.types.is_large_string(found)
        or pa.types.is_string_view(found),
        "boolean": pa.types.is_boolean(found),
        "date": pa.types.is_date(found),
        "timestamp": pa.types.is_timestamp(found),
        "vector": _vectors.acceptable(found),
    }
    return answers[kind]


def from_arrow(values: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Cast one column of a Parquet batch to the contract's Arrow type, exactly.

    Args:
        values: The cells, of a type that `acceptable` accepts.
        name: The column.
        reading: Where bad cells are reported; they become nulls.

    Returns:
        An array of the contract's Arrow type, as long as `values`.

    Raises:
        ReadError: A cell is bad and bad cells are not collected.
    """
    kind = reading.column(name).type
    target = ARROW_TYPES[kind]
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    found = values.type
    if pa.types.is_null(found):
        return pa.nulls(len(values), target)
    if kind == "vector":
        return _vectors.from_arrow(values, name, reading)
    if kind == "integer":
        if pa.types.is_floating(found):
            values = _finite(values.cast(pa.float64()), name, reading)
            floats = _numpy(values, 0.0)
            values = drop(values, floats != np.trunc(floats), name, FRACTION, reading)
            floats = _numpy(values, 0.0)
            values = drop(values, (floats < -(2.0**63)) | (floats >= 2.0**63), name, PROBLEMS[kind], reading)
        elif found == pa.uint64():
            values = drop(values, _numpy(values, 0) >= 2**63, name, PROBLEMS[kind], reading)
    elif kind == "number" and pa.types.is_integer(found) and found.bit_width == 64:
        numbers = _numpy(values, 0)
        beyond = numbers > _EXACT
        if found == pa.int64():
            beyond |= numbers < -_EXACT
        values = drop(values, beyond, name, LOSSY, reading)
    elif kind == "date" and found == pa.date64():
        millis = _numpy(values.cast(pa.int64()), 0)
        values = drop(values, millis % 86_400_000 != 0, name, PROBLEMS[kind], reading)
    elif kind == "timestamp":
        values = _micros(values, name, reading)
    return _sound(values.cast(target), name, reading)


def _micros(values: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Timestamps of any unit as microseconds in UTC."""
    unit, zone = values.type.unit, values.type.tz
    if zone is None:
        reading.stats.assumed_utc.add(name)
    ticks = values.cast(pa.int64())
    numbers = _numpy(ticks, 0)
    if unit == "ns":
        ticks = drop(ticks, numbers % 1000 != 0, name, LOSSY, reading)
        ticks = pa.array(_numpy(ticks, 0) // 1000, mask=_nulls(ticks))
    elif unit in {"s", "ms"}:
        factor = {"s": 1_000_000, "ms": 1000}[unit]
        ticks = drop(ticks, np.abs(numbers.astype(np.float64)) * factor > 9e18, name, YEARS, reading)
        ticks = pa.array(_numpy(ticks, 0) * factor, mask=_nulls(ticks))
    return ticks.cast(ARROW_TYPES["timestamp"])


# ------------------------------------------------------------------------------------------------- for both of them
def _numpy(values: pa.Array, fill: float) -> npt.NDArray[Any]:
    filled = values.fill_null(fill) if values.null_count else values
    array: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return array


def _nulls(values: pa.Array) -> Mask:
    nulls: Mask = values.is_null().to_numpy(zero_copy_only=False)
    return nulls


def drop(values: pa.Array, bad: Mask, name: str, problem: str, reading: Reading) -> pa.Array:
    """Report the cells under the mask and put nulls there.

    Raises:
        ReadError: There are some and bad cells are not collected.
    """
    if not bad.any():
        return values
    where = np.flatnonzero(bad)
    examples = [str(cell) for cell in values.take(pa.array(where[:EXAMPLES])).to_pylist()]
    reading.report(name, problem, where, examples)
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)


def _finite(values: pa.Array, name: str, reading: Reading) -> pa.Array:
    """No NaN and no infinity: a NaN becomes null where nulls may be, and is counted; all else is reported."""
    floats = _numpy(values, 0.0)
    if np.isfinite(floats).all():
        return values
    nan = np.isnan(floats)
    if nan.any():
        if reading.column(name).nullable:
            counts = reading.stats.nan_as_null
            counts[name] = counts.get(name, 0) + int(nan.sum())
            values = pc.if_else(pa.array(nan), pa.scalar(None, values.type), values)
        else:
            values = drop(values, nan, name, NOT_A_NUMBER, reading)
    return drop(values, np.isinf(floats), name, INFINITE, reading)


def _sound(values: pa.Array, name: str, reading: Reading) -> pa.Array:
    """What no type of ours may hold, whatever the file's format."""
    if values.type == pa.float64():
        return _finite(values, name, reading)
    if values.type == pa.date32():
        days = _numpy(values.cast(pa.int32()), 0)
        return _drop_ticks(values, (days < _DAYS[0]) | (days > _DAYS[1]), days, name, reading)
    if values.type == ARROW_TYPES["timestamp"]:
        micros = _numpy(values.cast(pa.int64()), 0)
        return _drop_ticks(values, (micros < _MICROS[0]) | (micros > _MICROS[1]), micros, name, reading)
    if values.type == pa.string():
        nul = pc.fill_null(pc.match_substring(values, "\0"), False)
        if pc.any(nul).as_py():
            return drop(values, nul.to_numpy(zero_copy_only=False), name, NUL, reading)
    return values


def _drop_ticks(
    values: pa.Array, bad: Mask, ticks: npt.NDArray[Any], name: str, reading: Reading
) -> pa.Array:
    """As `drop`, for times that Python cannot print."""
    if not bad.any():
        return values
    where = np.flatnonzero(bad)
    unit = "days" if values.type == pa.date32() else "microseconds"
    reading.report(name, YEARS, where, [f"{ticks[i]} {unit} from 1970" for i in where[:EXAMPLES]])
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
