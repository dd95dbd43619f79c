"""Both databases are set up for what the claims rely on, and no credentials of a URL come back out."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from nodes.storage.engine import migrate, open_engine
from protocol.errors import UsageError
from tests.postgres import run, schema
from tests.unit.nodes.builders import sqlite_only

USER, PASSWORD = "somebody", "geheim-17"


def said(error: BaseException) -> str:
    """All that could be printed of an error, its causes included."""
    causes = (error, error.__cause__, getattr(error, "orig", None))
    return " ".join(f"{cause} {cause!r}" for cause in causes if cause)


class TestSqlite:
    @sqlite_only
    def test_is_durable_and_forgets(self, engine: Engine) -> None:
        with engine.connect() as connection:
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "busy_timeout")
            }
        assert settings == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
            "busy_timeout": 30_000,
        }


class TestCredentials:
    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:PORT/db",
            f"postgresql://{USER}:{PASSWORD}@127.0.0.1:PORT/db",
            f"postgresql://{USER}@127.0.0.1:PORT/db?password={PASSWORD}&sslpassword={PASSWORD}",
        ],
    )
    def test_reach_the_server_and_nothing_else(self, url: str) -> None:
        given: dict[str, Any] = {}
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            engine = open_engine(url.replace("PORT", str(closed.getsockname()[1])))
            with pytest.raises(OperationalError) as caught:
                migrate(engine, "state")
        connect = engine.dialect.connect
        engine.dialect.connect = lambda **options: given.update(options) or connect(**options)  # type: ignore[method-assign]
        with pytest.raises(OperationalError):
            engine.connect()
        assert (given["user"], given["password"]) == (USER, PASSWORD)
        for shown in (repr(engine), str(engine.url), repr(engine.url), said(caught.value)):
            assert USER not in shown
            assert PASSWORD not in shown

    @pytest.mark.parametrize(
        "url",
        [
            PASSWORD,
            f"postgresql://{USER}:{PASSWORD}@host:port/db",
            f"postgresql://{USER}:first@{PASSWORD}@host/db",
            f"mysql://{USER}:{PASSWORD}@host/db",
            f"postgresql+{PASSWORD}://host/db",
            "",
        ],
    )
    def test_stand_in_no_refusal(self, url: str) -> None:
        with pytest.raises(UsageError) as caught:
            open_engine(url)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert USER not in said(caught.value)
        assert PASSWORD not in said(caught.value)

    def test_a_statement_that_fails_shows_no_values(self, engine: Engine) -> None:
        with engine.connect() as connection, pytest.raises(Exception, match="no_table") as caught:
            connection.execute(text("SELECT :value FROM no_table"), {"value": PASSWORD})
        assert PASSWORD not in said(caught.value)


@pytest.fixture
def servers() -> Iterator[str]:
    """A server whose administrator chose otherwise, in a schema of ours."""
    with schema("default_transaction_isolation=serializable", "synchronous_commit=off", "lock_timeout=0") as url:
        yield url


def shown(engine: Engine) -> list[str]:
    names = ("transaction_isolation", "synchronous_commit", "lock_timeout")
    with engine.connect() as connection:
        return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]


@pytest.mark.postgres
class TestPostgres:
    def test_claims_find_what_they_rely_on_whatever_the_server_prefers(self, servers: str) -> None:
        ours, plain = open_engine(servers), create_engine(servers)
        for _ in range(2):  # nor does a rollback undo it
            assert shown(ours) == ["read committed", "on", "30s"]
        assert shown(plain) == ["serializable", "off", "0"]
        for engine in (ours, plain):
            engine.dispose()

    def test_a_restarted_server_fails_no_request(self, servers: str) -> None:
        """All connections end, as at a restart; the twin, without a ping before use, hands one of them out."""
        ours, plain = open_engine(servers), create_engine(servers)
        for engine in (ours, plain):
            with engine.connect() as connection:
                process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            run(f"SELECT pg_terminate_backend({process}, 5000)")
        migrate(ours, "state")
        with pytest.raises(OperationalError), plain.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        for engine in (ours, plain):
            engine.dispose()

    def test_a_user_whom_the_server_refuses_is_not_named(self, servers: str) -> None:
        host = servers.partition("@")[2]
        with pytest.raises(OperationalError) as caught:
            open_engine(f"postgresql+psycopg://{USER}:{PASSWORD}@{host}").connect()
        assert USER not in said(caught.value)
        assert PASSWORD not in said(caught.value)
        assert "***" in said(caught.value)
