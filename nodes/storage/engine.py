"""Engines: SQLite made durable and forgetful, or PostgreSQL with what the claims rely on.

A node has two databases, its listings and its protocol state, so that what must be forgotten soon and what must never
be rolled back do not share a file. A gateway has its portfolios in the place of listings.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache, partial
from importlib import import_module
from typing import Any, Final, Literal

from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, Dialect
from sqlalchemy.exc import ArgumentError

from protocol.errors import UsageError

Database = Literal["listings", "portfolios", "state"]

Run = Callable[[str, Mapping[str, object]], DBAPICursor | CursorResult[Any]]
"""Runs one statement, inside a transaction, with `:name` for each of its values."""

VERSIONS: Final[dict[Database, str]] = {"listings": "0003", "portfolios": "0001", "state": "0002"}
"""The newest version of each database's schema: the last file in `migrations/DATABASE/versions`."""

BUSY_TIMEOUT_MS: Final = 30_000
CONNECT_SECONDS: Final = 5

_PRAGMAS: Final = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",  # first: the others may have to wait for another process
    "journal_mode = WAL",
    "synchronous = FULL",  # in WAL mode anything less may lose a commit when the power fails
    "secure_delete = ON",  # a deleted row is overwritten, not just unlinked
    "foreign_keys = ON",
)

# A writer takes its lock at once: if it read first and then asked for the lock, SQLite would have to refuse it.
_BEGIN_WRITING: Final = "BEGIN IMMEDIATE"

# A server may be set up otherwise: a claim must be on disk once committed, and whoever waits for a lock wait as long as
# on SQLite.
_SETTINGS: Final = ("synchronous_commit = on", f"lock_timeout = {BUSY_TIMEOUT_MS}")

_DRIVERS: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_VALUE: Final = re.compile(r":(\w+)")
_SECRETS: Final = ("password", "sslpassword")


def open_engine(url: str) -> Engine:
    """Open the database at `url` (`sqlite:////path` or `postgresql+psycopg://…`); any process may share it.

    A user and password in the URL reach the server and nothing else: no log, `repr` or exception holds them.

    Raises:
        UsageError: this is no such URL; says nothing of what it is.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, hide_parameters=True)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine
    public, login = _apart(parsed)
    engine = create_engine(
        public,
        connect_args=login,
        hide_parameters=True,
        pool_pre_ping=True,  # a connection from before the server's restart is replaced, not handed to a request
        pool_size=2,  # a process does little at once, and a server's connections are few
        max_overflow=8,
        isolation_level="READ COMMITTED",  # a claim that waited for another must see it, whatever the server's default
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _set_up)
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
        statement = text(f"SELECT version_num FROM {version_table(database)}")  # noqa: S608  # one of three names
        return connection.execute(statement).scalar_one_or_none()


def version_table(database: Database) -> str:
    """Where a database remembers its version; named after it, so that several may share one PostgreSQL."""
    return f"{database}_version"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection that writes: committed at the end of the block, rolled back if it raises."""
    with engine.connect() as connection, connection.execution_options(writes=True).begin():
        yield connection


@contextmanager
def claiming(engine: Engine) -> Iterator[Run]:
    """A transaction that writes by the driver alone, committed and rolled back as `writing`'s; gives what runs in it.

    For what every request does: SQLAlchemy's own work on a transaction takes longer than SQLite's.
    """
    # Not committed, it is rolled back when the pool takes the connection back.
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        if engine.dialect.name == "sqlite":
            cursor.execute(_BEGIN_WRITING)
        yield partial(_run, cursor, engine.dialect.name)
        connection.commit()


def reading(engine: Engine) -> Connection:
    """A connection that sees the database as it is at one moment, however many statements it reads it by."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def run(connection: Connection, statement: str, values: Mapping[str, object]) -> CursorResult[Any]:
    """Run one statement with `:name` for each of its values, which are given to the driver as they are.

    For what every request does: SQLAlchemy's own work on a statement and each of its values takes longer than SQLite's.
    """
    return connection.exec_driver_sql(_for_driver(statement, connection.dialect.name), dict(values))


def rows(connection: Connection, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """The rows that `run` finds as the driver gives them: of many, to make an object of each would take longest."""
    cursor = run(connection, statement, values).cursor
    return [] if cursor is None else [*cursor.fetchall()]


def _run(cursor: DBAPICursor, dialect: str, statement: str, values: Mapping[str, object]) -> DBAPICursor:
    cursor.execute(_for_driver(statement, dialect), values)
    return cursor


@cache
def _for_driver(statement: str, dialect: str) -> str:
    return statement if dialect == "sqlite" else _VALUE.sub(r"%(\1)s", statement)


def forget_log(engine: Engine) -> None:
    """Empty SQLite's write-ahead log into the database, so that what was erased is not in the log any more."""
    _checkpoint(engine)


def forget_erased(engine: Engine) -> None:
    """Rewrite SQLite's files without what was erased, which takes as long as to copy them.

    `secure_delete` overwrites what is erased where it lies, but not copies of it that were left where a page was split.

    Raises:
        TimeoutError: somebody reads for so long that the write-ahead log could not be emptied.
    """
    if not _checkpoint(engine, "VACUUM"):
        raise TimeoutError("erased, but somebody reads for so long that the write-ahead log keeps it")


def _checkpoint(engine: Engine, *before: str) -> bool:
    if engine.dialect.name != "sqlite":
        return True
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        for statement in (*before, "PRAGMA wal_checkpoint(TRUNCATE)"):
            cursor.execute(statement)
        row = cursor.fetchone()  # whether it was kept from it, and two numbers of pages
        return row is not None and not row[0]


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin alone
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    with closing(connection.connection.cursor()) as cursor:  # by the driver: every question has a few
        cursor.execute(_BEGIN_WRITING if writes else "BEGIN")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    # An unescaped "@" would leave the password's end in the host, which may be named.
    if parsed is None or parsed.drivername not in _DRIVERS or "@" in (parsed.host or ""):
        raise UsageError(
            "not a database's URL: sqlite:////PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME, "
            "in which other characters than letters and digits of the password are percent-encoded"
        )
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _apart(url: URL) -> tuple[URL, dict[str, Any]]:
    """A URL without credentials, and what the driver is given beside it."""
    login: dict[str, Any] = {name: url.query[name] for name in _SECRETS if name in url.query}
    login |= {name: value for name, value in (("user", url.username), ("password", url.password)) if value}
    if "connect_timeout" not in url.query:
        login["connect_timeout"] = CONNECT_SECONDS
    return url._replace(username=None, password=None).difference_update_query(_SECRETS), login


def _connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> DBAPIConnection:
    try:
        return dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.Error as error:
        reason = str(error)
        for name in ("user", *_SECRETS):
            if name in options:
                reason = reason.replace(f'"{options[name]}"', '"***"')
        raise type(error)(reason) from None


def _set_up(connection: DBAPIConnection, _record: object) -> None:
    with closing(connection.cursor()) as cursor:
        for setting in _SETTINGS:
            cursor.execute(f"SET {setting}")
    connection.commit()  # or the first rollback would undo them
