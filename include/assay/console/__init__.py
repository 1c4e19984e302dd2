"""Read models for people who review: what the pages show, as JSON-ready dictionaries, without HTTP and without HTML.

`Console` is the whole face. Nothing here changes the registry, the store or the ledger.
"""

from assay.console.console import Console
from assay.console.errors import BadQuery, NotFound

__all__ = ["BadQuery", "Console", "NotFound"]
