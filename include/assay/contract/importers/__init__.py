"""Contracts from what others wrote: ODCS, Croissant and Frictionless descriptions of a data set.

An import is a start, not a translation: what those formats do not know (who signs, which column is the label) has to be
added, and what Assay has no place for is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from assay.contract.importers.croissant import from_croissant
from assay.contract.importers.draft import Imported, ImportRefused
from assay.contract.importers.frictionless import from_frictionless
from assay.contract.importers.odcs import from_odcs
from assay.errors import UsageError

Format = Literal["odcs", "croissant", "frictionless"]
FORMATS: dict[str, Callable[[Path], Imported]] = {
    "odcs": from_odcs,
    "croissant": from_croissant,
    "frictionless": from_frictionless,
}

__all__ = ["FORMATS", "Format", "ImportRefused", "Imported", "import_contract"]


def import_contract(format: str, path: str | Path) -> Imported:
    """Make a contract from another format's file.

    Args:
        format: `odcs` (Open Data Contract Standard v3, YAML), `croissant` (MLCommons Croissant 1.x, JSON-LD) or
            `frictionless` (a Data Package or a Table Schema, JSON or YAML).
        path: The file; what it refers to is read only where it lies beside it, never from elsewhere.

    Returns:
        The contract and notes on what could not be carried over.

    Raises:
        UsageError: There is no such format.
        ImportRefused: The file is not of that format, or describes no table.
        OSError: It cannot be read.
    """
    if format not in FORMATS:
        raise UsageError(f"no format is called {format!r}", expected=", ".join(FORMATS))
    return FORMATS[format](Path(path))
