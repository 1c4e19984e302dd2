"""Reading a bundle's JSON and safetensors strictly: bounded, nothing twice, nothing left over."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from assay.strictjson import strict_json

Weights = dict[str, npt.NDArray[Any]]

_MAX_HEADER_BYTES = 1 << 20  # some ten thousand arrays
_MAX_DEPTH = 64  # objects and lists within each other; a skip takes two


class _Entry(BaseModel):
    """One array in the header of a safetensors file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: Literal["F32", "F64"]
    shape: list[NonNegativeInt]
    data_offsets: list[NonNegativeInt]


_HEADER = TypeAdapter(dict[str, _Entry])


def read_weights(path: Path, *, at_most: int | None = None) -> Weights:
    """Read a safetensors file after its header was checked: no repeated name, no gap, no overlap, no byte too many.

    Args:
        path: The file.
        at_most: Bytes that the arrays may take.

    Raises:
        ValueError: The file is not a plain safetensors file of floats.
        OSError: It cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = bounded(path, None if at_most is None else at_most + _MAX_HEADER_BYTES + 8)
    if len(data) < 8:
        raise ValueError("it ends within its header")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header should have {length} bytes, which is more than there are or may be")
    try:
        header = _HEADER.validate_python(strict_json(data[8 : 8 + length]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"its header: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1].data_offsets):
        if len(entry.data_offsets) != 2 or entry.data_offsets[0] != end or entry.data_offsets[1] < end:
            raise ValueError(f"its arrays overlap or leave a gap at {name!r}")
        end = entry.data_offsets[1]
    if 8 + length + end != len(data):
        short = 8 + length + end > len(data)
        raise ValueError("it is cut short" if short else "it holds bytes that belong to no array")
    try:
        arrays: Weights = dict(load(data))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(first_line(error)) from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def bounded(path: Path, at_most: int | None) -> bytes:
    """All bytes of a file, unless there are too many.

    Raises:
        ValueError: There are more than `at_most`.
    """
    size = path.stat().st_size
    if at_most is not None and size > at_most:
        raise ValueError(f"{path.name} has {size} bytes, at most {at_most} are expected")
    return path.read_bytes()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
