"""Which code took a step: its version, and a digest over its source files."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import assay
from assay.canonical import canonical_json

NAME = "assay"


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the package's Python files: canonical JSON of `{path: SHA-256}`, paths relative to the package."""
    root = Path(assay.__file__).resolve().parent
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.py"))
    }
    return hashlib.sha256(canonical_json(files)).hexdigest()


def code_version() -> dict[str, str]:
    """What a statement says about the code: `name`, `version` and `sha256`."""
    return {"name": NAME, "version": assay.__version__, "sha256": code_digest()}
