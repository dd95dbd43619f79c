"""A node's databases: every test that takes `url` or `engine` speaks about SQLite and about PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from nodes.storage.cipher import ColumnCipher
from nodes.storage.engine import open_engine
from nodes.storage.listings import ListingStore
from nodes.storage.state import ProtocolState
from tests.postgres import ON_BOTH, schema
from tests.unit.nodes.stores import KEY, counter


@pytest.fixture(params=ON_BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/node.db"
    else:
        with schema() as made:
            yield made


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> ListingStore:
    """An empty store whose buckets have two places."""
    return ListingStore(engine, ColumnCipher(KEY, counter()), bucket_size=2)


@pytest.fixture
def state(engine: Engine) -> ProtocolState:
    return ProtocolState(engine)
