"""What holds for every process of tests: what it forgets, and keys at rest that need not be waited for."""

import gc
from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi.dependencies import models

from api import keystore

_REMEMBERED: Final[list[Any]] = [it for it in vars(models).values() if hasattr(it, "cache_clear")]


def pytest_collection_finish() -> None:
    """Leave what was imported and collected, half a million objects that stay, out of the collector's work.

    They are what a full collection costs; and garbage waits until it is a quarter of them, whatever it holds.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # from here on the collector compares with what came after


def pytest_runtest_teardown() -> None:
    """Let go of the applications that a test made: FastAPI remembers thousands of their functions.

    Each holds its gateway, tables of powers and databases: tens of megabytes. A service makes one application.
    """
    for it in _REMEMBERED:
        it.cache_clear()


@pytest.fixture(scope="module")
def quick_keys() -> Iterator[None]:
    """Keys at rest open in no time, in this process alone; what opening them costs is `test_keystore`'s."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keystore, "_ITERATIONS", 1)
        patched.setattr(keystore, "_MEMORY_KIB", 8 * keystore._LANES)
        yield
