"""Versions of the databases' schemas, as Alembic migrations: `DATABASE/versions/NNNN_….py`, up and down.

They travel with the package and run at opening (`nodes.storage.engine.migrate`), in one transaction, one process at a
time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from nodes.storage.engine import Database, version_table

_LOCK = 0x636F6E63  # any number that nothing else in a PostgreSQL locks


def upgrade(engine: Engine, database: Database, target: str) -> None:
    """Bring a database up to a version; nothing, if another process was faster."""
    with _config(engine, database) as config:
        command.upgrade(config, target)


def downgrade(engine: Engine, database: Database, target: str) -> None:
    """Bring a database down to a version, "base" being none: what that one does not know is lost."""
    with _config(engine, database) as config:
        command.downgrade(config, target)


def versions(database: Database) -> list[str]:
    """Every version of a database's schema, the oldest first."""
    return sorted(path.name[:4] for path in (Path(__file__).parent / database / "versions").glob("[0-9]*.py"))


@contextmanager
def _config(engine: Engine, database: Database) -> Iterator[Config]:
    """Alembic's configuration, over one transaction that holds the database's lock."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / database).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes |= {"connection": connection, "version_table": version_table(database)}
        yield config
