"""Engines: SQLite made durable and forgetful, or PostgreSQL as it is.

A node has two databases, its listings and its protocol state, so that what must be forgotten soon and what must never
be rolled back do not share a file.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Final, Literal

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection

Database = Literal["listings", "state"]

VERSIONS: Final[dict[Database, str]] = {"listings": "0001", "state": "0001"}
"""The newest version of each database's schema: the last file in `migrations/DATABASE/versions`."""

BUSY_TIMEOUT_MS: Final = 30_000

_PRAGMAS: Final = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",  # first: the others may have to wait for another process
    "journal_mode = WAL",
    "synchronous = FULL",  # in WAL mode anything less may lose a commit when the power fails
    "secure_delete = ON",  # a deleted row is overwritten, not just unlinked
    "foreign_keys = ON",
)


def open_engine(url: str) -> Engine:
    """Open the database at `url` (`sqlite:////path` or `postgresql+psycopg://…`); any process may share it."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def migrate(engine: Engine, database: Database) -> None:
    """Bring a database to the newest version of its schema; any number of processes may do so at once."""
    if version(engine, database) != VERSIONS[database]:
        # Alembic is imported only where something is to be done: it would double the time of every start.
        import_module("nodes.storage.migrations").upgrade(engine, database, VERSIONS[database])


def version(engine: Engine, database: Database) -> str | None:
    """The version of a database's schema; None where there is none yet."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(version_table(database)):
            return None
        statement = text(f"SELECT version_num FROM {version_table(database)}")  # noqa: S608  # one of two names
        return connection.execute(statement).scalar_one_or_none()


def version_table(database: Database) -> str:
    """Where a database remembers its version; named after it, so that both may share one PostgreSQL."""
    return f"{database}_version"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection that writes: committed at the end of the block, rolled back if it raises."""
    with engine.execution_options(writes=True).begin() as connection:
        yield connection


def forget_log(engine: Engine) -> None:
    """Empty SQLite's write-ahead log into the database, so that what was erased is in no file any more."""
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin alone
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: if it read first and then asked for the lock, SQLite would have to refuse it.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
