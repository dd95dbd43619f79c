"""Keys at rest come back as they were, under their passphrase only."""

import secrets
import threading
from pathlib import Path

import pytest

from api import keystore
from protocol.errors import SealError
from tests.parties import federation

NODE_KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    keystore.save(path, federation().secrets["tax"], NODE_KEY, b"correct horse", secrets.token_bytes)
    return path


def test_keys_come_back_under_their_passphrase_and_no_other(file: Path) -> None:
    held, node_key = keystore.load(file, b"correct horse")
    saved = federation().secrets["tax"]
    assert node_key == NODE_KEY
    assert held.signing_key.private_bytes_raw() == saved.signing_key.private_bytes_raw()
    assert (held.oprf_share, held.opening_share) == (saved.oprf_share, saved.opening_share)
    with pytest.raises(SealError):
        keystore.load(file, b"battery staple")


def test_keys_are_never_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        keystore.save(file, federation().secrets["court"], NODE_KEY, b"correct horse", secrets.token_bytes)
    assert file.read_bytes() == before


def test_threads_that_open_keys_at_once_do_not_wait_for_each_other_forever(file: Path) -> None:
    """As a service's do when a new epoch begins."""
    threads = [threading.Thread(target=keystore.load, args=(file, b"correct horse"), daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [thread for thread in threads if thread.is_alive()]
