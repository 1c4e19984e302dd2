"""What all tests of the ledger may use."""

from tests.ledger.command import log

__all__ = ["log"]
