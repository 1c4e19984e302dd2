"""Rows: their hashes, the snapshots that they make, and how one is found again."""
