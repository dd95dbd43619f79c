"""What both databases' `env.py` do: run the migrations over the connection, and in the transaction, they are given."""

from alembic import context


def run() -> None:
    """Run what `command` was called for."""
    given = context.config.attributes
    context.configure(connection=given["connection"], version_table=given["version_table"], transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
