"""The stock gives out each ζ once, has some ready, and never waits for one."""

import gc
import math
import secrets
import threading
import time

from phe import PaillierPrivateKey

from api.zetas import MOST, ZetaStock
from protocol.paillier import PublicKey, Randomiser
from tests.parties import federation, randomiser, small_primes


def stock() -> ZetaStock:
    return ZetaStock(randomiser(federation()), secrets.token_bytes)


def test_no_zeta_is_given_out_twice_whether_from_the_stock_or_made_now() -> None:
    zetas = stock()
    given = [zetas.fresh(secrets.token_bytes) for _ in range(3 * MOST)]
    time.sleep(0.2)
    given += [zetas.fresh(secrets.token_bytes) for _ in range(3 * MOST)]
    assert len(set(given)) == len(given)


def test_a_sum_under_its_zetas_opens_as_phe_would_open_it() -> None:
    """On primes of the test's own, so that `phe` has the private key."""
    key = PublicKey(math.prod(small_primes()))
    private = PaillierPrivateKey(key.phe, *small_primes())
    zetas = ZetaStock(Randomiser.create(key, secrets.token_bytes), secrets.token_bytes)
    for plaintext in range(40):
        assert private.raw_decrypt(key.encrypt(plaintext, zetas.fresh(secrets.token_bytes))) == plaintext


def test_it_keeps_more_where_more_is_wanted() -> None:
    zetas = stock()
    for _ in range(2000):
        zetas.fresh(secrets.token_bytes)
    deadline = time.monotonic() + 10
    while len(zetas._stock) < 16 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 16 <= len(zetas._stock) <= MOST


def test_a_stock_that_nobody_holds_any_more_ends_its_thread() -> None:
    """Or every epoch that is forgotten would leave a thread, its tables, and randomisers."""
    before = set(threading.enumerate())
    zetas = stock()
    [thread] = set(threading.enumerate()) - before
    zetas.fresh(secrets.token_bytes)
    assert thread.is_alive()
    del zetas
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
