"""Every version of a schema goes up and down, arrives at what the models say, and travels with the package."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, Integer, MetaData, inspect

from nodes.storage import migrations, state, tables
from nodes.storage.engine import VERSIONS, Database, migrate, open_engine, version, version_table

METADATA: dict[Database, MetaData] = {"listings": tables.Table.metadata, "state": state.Table.metadata}
ROOT = Path(migrations.__file__).parents[3]
both = pytest.mark.parametrize("database", VERSIONS)


def differences(engine: Engine, database: Database, metadata: MetaData) -> list[Any]:
    with engine.connect() as connection:
        options = {"version_table": version_table(database), "compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def scripts(database: Database) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent / database))
    return ScriptDirectory.from_config(config)


def names(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


@both
def test_the_newest_version_is_what_the_models_say(engine: Engine, database: Database) -> None:
    migrate(engine, database)
    assert differences(engine, database, METADATA[database]) == []


@both
def test_a_model_that_no_migration_knows_would_be_seen(engine: Engine, database: Database) -> None:
    """The twin."""
    migrate(engine, database)
    changed = MetaData()
    for table in METADATA[database].tables.values():
        table.to_metadata(changed)
    next(iter(changed.tables.values())).append_column(Column("more", Integer))
    (difference,) = differences(engine, database, changed)
    assert difference[0] == "add_column"


@both
def test_every_version_goes_down_and_up_again(engine: Engine, database: Database) -> None:
    migrate(engine, database)
    made = names(engine)
    for script in scripts(database).walk_revisions():
        migrations.downgrade(engine, database, script.down_revision or "base")  # type: ignore[arg-type]
        assert version(engine, database) == script.down_revision
    assert names(engine) == {version_table(database)}
    migrate(engine, database)
    assert names(engine) == made
    assert differences(engine, database, METADATA[database]) == []


@both
def test_the_version_in_the_code_is_the_last_script(database: Database) -> None:
    assert scripts(database).get_heads() == [VERSIONS[database]]


def test_both_databases_may_share_one(engine: Engine) -> None:
    for database in VERSIONS:
        migrate(engine, database)
    assert [version(engine, database) for database in VERSIONS] == list(VERSIONS.values())


@both
def test_threads_that_open_at_once_agree(engine: Engine, database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: migrate(engine, database), range(8)))
    assert differences(engine, database, METADATA[database]) == []


def migrate_in_another_process(url: str, database: Database) -> None:
    engine = open_engine(url)
    migrate(engine, database)
    engine.dispose()


def test_processes_that_open_at_once_agree(engine: Engine, url: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        pool.starmap(migrate_in_another_process, [(url, database) for database in VERSIONS] * 4, chunksize=1)
    for database in VERSIONS:
        assert version(engine, database) == VERSIONS[database]
    assert names(engine) == {table for it in VERSIONS for table in (*METADATA[it].tables, version_table(it))}


@both
def test_a_migration_that_fails_leaves_nothing(engine: Engine, database: Database) -> None:
    with engine.begin() as connection:
        last = list(METADATA[database].tables)[-1]
        connection.exec_driver_sql(f"CREATE TABLE {last} (in_the_way INTEGER)")
    with pytest.raises(Exception, match="already exists"):
        migrate(engine, database)
    assert version(engine, database) is None
    assert names(engine) == {last}


@both
def test_opening_what_is_up_to_date_is_fast_and_loads_no_alembic(engine: Engine, url: str, database: Database) -> None:
    migrate(engine, database)
    started = time.perf_counter()
    migrate(engine, database)
    assert time.perf_counter() - started < 0.15
    program = (
        "import sys; from nodes.storage.engine import migrate, open_engine; "
        f"migrate(open_engine({url!r}), {database!r}); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})  # noqa: S603
