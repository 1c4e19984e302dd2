"""Signing keys: made, read and used from files or from a token, and a log's keys in their order."""
