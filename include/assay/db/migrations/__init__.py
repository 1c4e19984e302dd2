"""The schema's history. `HEAD` and `KNOWN` repeat what the version files say, so that an up-to-date database is
recognised without importing Alembic, which takes a second.
"""

VERSION_TABLE = "assay_schema_version"
"""Not Alembic's default name: Airflow may keep its own tables in the same database."""

KNOWN = ("0001", "0002", "0003", "0004")
"""All revisions, oldest first."""

HEAD = KNOWN[-1]
