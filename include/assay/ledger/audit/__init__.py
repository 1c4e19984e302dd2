"""The check of everything: entries, checkpoints, index, and what registry and store hold against what was stated."""
