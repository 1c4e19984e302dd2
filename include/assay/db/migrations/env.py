"""What Alembic runs for each command; it gets an open connection from `run.config`."""

from alembic import context

from assay.db.migrations import VERSION_TABLE
from assay.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    compare_type=True,
    render_as_batch=True,  # SQLite cannot alter a column in place
    transactional_ddl=True,  # one transaction around everything, the caller's
)
with context.begin_transaction():
    context.run_migrations()
