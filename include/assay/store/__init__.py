"""Where bytes live: content-addressed objects over fsspec, sealed where nobody should stumble over them."""

from assay.store.batch import Batch
from assay.store.errors import (
    ObjectMissing,
    StoreCorrupt,
    StoreFull,
    StoreKeyError,
    StoreReadOnly,
    StoreUnavailable,
    StoreUriError,
)
from assay.store.objects import ObjectStore, open_store
from assay.store.tables import put_table, read_table
from assay.store.writer import ObjectWriter, Stored

__all__ = [
    "Batch",
    "ObjectMissing",
    "ObjectStore",
    "ObjectWriter",
    "StoreCorrupt",
    "StoreFull",
    "StoreKeyError",
    "StoreReadOnly",
    "StoreUnavailable",
    "StoreUriError",
    "Stored",
    "open_store",
    "put_table",
    "read_table",
]
