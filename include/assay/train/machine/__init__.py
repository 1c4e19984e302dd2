"""The machine that a run has: files written whole, processes started and ended with all their children, and Julia."""
