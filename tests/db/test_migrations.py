"""The schema's history says the same as the tables."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from assay.db import Base, Database
from assay.db.migrations import HEAD, KNOWN, VERSION_TABLE
from assay.db.migrations.run import config


def test_the_migrated_schema_is_what_the_tables_say(database_url: str) -> None:
    """A column that was added to the tables without a migration is found here."""
    database = Database(database_url)
    database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, VERSION_TABLE}
    database.dispose()


def test_the_comparison_would_notice_a_missing_column(database_url: str) -> None:
    """The test above can fail."""
    database = Database(database_url)
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE run DROP COLUMN final_validation_loss"))
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert [change[0] for change in compare_metadata(context, Base.metadata)] == ["add_column"]
    database.dispose()


def test_the_constants_repeat_what_the_version_files_say() -> None:
    """They let an up-to-date database be recognised without Alembic, so they must not lie."""
    scripts = ScriptDirectory.from_config(config())
    assert scripts.get_heads() == [HEAD]
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == KNOWN


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    """Every process migrates at its start."""
    database = Database(database_url)
    database.migrate()
    database.migrate()
    assert database.revision() == HEAD
    database.dispose()


def test_a_downgrade_takes_everything_away(database_url: str) -> None:
    """The way back leaves the database as it was before."""
    database = Database(database_url)
    database.migrate()
    with database.engine.begin() as connection:
        command.downgrade(config(connection), "base")
    with database.engine.begin() as connection:
        assert set(inspect(connection).get_table_names()) == {VERSION_TABLE}
    database.migrate()
    assert database.revision() == HEAD
    database.dispose()
