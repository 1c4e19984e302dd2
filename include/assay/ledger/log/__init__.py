"""The log: signed statements in the database, one writer at a time; its signed heads, and its keys over time."""
