"""SQLite's own dump of an empty database, in the place of the same migrations again for every new one."""

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Connection

import pytest
from sqlalchemy import Engine, inspect

from nodes.storage import migrations
from nodes.storage.engine import Database, open_engine, reading, writing

_KNOWN: dict[tuple[Database, str], tuple[str, ...]] = {}
_upgrade = migrations.upgrade


def dump(engine: Engine) -> tuple[str, ...]:
    """The statements that make a SQLite database what it is."""
    with reading(engine) as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, Connection)
        return tuple(it for it in driver.iterdump() if it not in {"BEGIN TRANSACTION;", "COMMIT;"})


def _known(database: Database, target: str) -> tuple[str, ...]:
    if (database, target) not in _KNOWN:
        memory = open_engine("sqlite://")
        _upgrade(memory, database, target)
        _KNOWN[database, target] = dump(memory)
        memory.dispose()
    return _KNOWN[database, target]


def upgrade(engine: Engine, database: Database, target: str) -> None:
    """As `migrations.upgrade`; where there is nothing yet on SQLite, by what that made of nothing before."""
    if engine.dialect.name == "sqlite":
        statements = _known(database, target)
        with writing(engine) as connection:
            if not inspect(connection).get_table_names():
                for statement in statements:
                    connection.exec_driver_sql(statement)
                return
    _upgrade(engine, database, target)


@contextmanager
def remembered() -> Iterator[None]:
    """In this process, new databases on SQLite are made from memory."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrations, "upgrade", upgrade)
        yield
