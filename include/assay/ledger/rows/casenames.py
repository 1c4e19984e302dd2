"""What a case's id comes from: its delivery, its kind and the numbers of its rows."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.canonical import canonical_json, sha256_hex

_NOTHING = hashlib.sha256(b"").hexdigest()


def case_digest(delivery_id: str, kind: str, numbers_sha256: str) -> str:
    """SHA-256 of what a case is about; the case's id is its beginning."""
    return sha256_hex(canonical_json({"delivery": delivery_id, "kind": kind, "rows": numbers_sha256}))


def case_id(digest: str) -> str:
    """The id of a case with that digest."""
    return f"case-{digest[:32]}"


def digest_of_numbers(numbers: npt.NDArray[Any] | None) -> str:
    """SHA-256 over row numbers in ascending order, as little-endian 64-bit integers; None for a case without rows."""
    if numbers is None:
        return _NOTHING
    return hashlib.sha256(np.sort(numbers).astype("<i8").tobytes()).hexdigest()
