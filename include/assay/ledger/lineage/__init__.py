"""Lineage: what came from what, and what a key, a publisher, a file or a delivery touched."""
