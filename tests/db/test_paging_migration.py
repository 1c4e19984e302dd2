"""Cases that were opened before they named their source get it from their delivery."""

from __future__ import annotations

from alembic import command
from sqlalchemy import text

from assay.db import Database
from assay.db.migrations import HEAD
from assay.db.migrations.run import config


def test_old_cases_get_the_source_of_their_delivery(database_url: str) -> None:
    """Nothing is asked of anybody: the migration fills it in."""
    database = Database(database_url)
    database.migrate()
    with database.engine.begin() as connection:
        command.downgrade(config(connection), "0002")
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO delivery (id, dataset, source, publisher, uri, manifest_sha256, contract_sha256, state, "
                "first_seen, detail) VALUES ('one', 'adult', 'west', 'census', 'x', 'ab', 'ab', 'held', 'now', '{}')"
            )
        )
        connection.execute(
            text(
                'INSERT INTO "case" (id, digest, dataset, delivery_id, kind, status, blocking, rows, summary, '
                "evidence, opened_at, approvals, on_timeout) VALUES ('case-1', 'ab', 'adult', 'one', "
                "'screening', 'open', :no, 3, 'three', '{}', 'now', 1, 'hold')"
            ),
            {"no": False},
        )
    database.migrate()
    with database.engine.begin() as connection:
        assert connection.execute(text('SELECT id, source FROM "case"')).all() == [("case-1", "west")]
    assert database.revision() == HEAD
    database.dispose()
