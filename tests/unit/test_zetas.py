"""The stock gives out each ζ once, has some ready, and never waits for one."""

import gc
import math
import os
import secrets
import threading
import time
import warnings
from dataclasses import replace

import pytest
from phe import PaillierPrivateKey

from api.zetas import MOST, ZetaStock, ZetasWhenWanted
from api.zetas import zetas as zetas_of
from protocol.codec import Random
from protocol.paillier import PublicKey, Randomiser
from tests.parties import federation, randomiser, small_primes


def stock() -> ZetaStock:
    return ZetaStock(randomiser(federation()), secrets.token_bytes)


def filled(zetas: ZetaStock, least: int = 8) -> ZetaStock:
    """The stock, once at least as many are ready."""
    deadline = time.monotonic() + 20
    while len(zetas._stock) < least and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(zetas._stock) >= least
    return zetas


def gives_each_once(zetas: ZetaStock) -> None:
    given = [filled(zetas).fresh(secrets.token_bytes)]
    given += [zetas.fresh(secrets.token_bytes) for _ in range(MOST)]
    filled(zetas)
    given += [zetas.fresh(secrets.token_bytes) for _ in range(MOST)]
    assert len(set(given)) == len(given)


def test_no_zeta_is_given_out_twice_whether_from_the_stock_or_made_now() -> None:
    gives_each_once(stock())


def test_a_stock_that_keeps_what_it_gave_is_found() -> None:
    class Keeping(ZetaStock):
        def fresh(self, random: Random) -> int:
            zeta = super().fresh(random)
            self._stock.append(zeta)
            return zeta

    with pytest.raises(AssertionError):
        gives_each_once(Keeping(randomiser(federation()), secrets.token_bytes))


def given_beside_a_fork(zetas: ZetaStock) -> tuple[int, int]:
    """What this process and one that was forked off it are given next."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child takes one and ends
        child = os.fork()
    if not child:
        os.write(writing, b"%x" % zetas.fresh(secrets.token_bytes))
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        os.close(writing)
        return zetas.fresh(secrets.token_bytes), int(pipe.read(), 16)


def test_a_process_that_is_forked_off_is_given_others() -> None:
    ours, theirs = given_beside_a_fork(filled(stock()))
    assert ours != theirs


def test_or_both_would_be_given_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a stock that takes both for one process."""
    zetas = filled(stock())
    monkeypatch.setattr("api.zetas.os.getpid", lambda: zetas._process)
    ours, theirs = given_beside_a_fork(zetas)
    assert ours == theirs


def takes_and_watches(zetas: ZetaStock) -> None:
    """As long as some are taken the stock is not filled; who finds none has one made at once."""
    ready = len(filled(zetas)._stock)
    for taken in range(1, ready + 3):
        zetas.fresh(secrets.token_bytes)
        time.sleep(0.02)
        assert len(zetas._stock) == max(0, ready - taken)


def test_nothing_is_made_beside_answers_and_none_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    zetas = filled(stock())
    monkeypatch.setattr("api.zetas.QUIET_SECONDS", 20)
    takes_and_watches(zetas)


def test_a_stock_that_is_filled_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    zetas = filled(stock())
    monkeypatch.setattr("api.zetas.QUIET_SECONDS", 0)
    with pytest.raises(AssertionError):
        takes_and_watches(zetas)


def test_a_sum_under_its_zetas_opens_as_phe_would_open_it() -> None:
    """On primes of the test's own, so that `phe` has the private key."""
    key = PublicKey(math.prod(small_primes()))
    private = PaillierPrivateKey(key.phe, *small_primes())
    zetas = ZetaStock(Randomiser.create(key, secrets.token_bytes), secrets.token_bytes)
    for plaintext in range(40):
        assert private.raw_decrypt(key.encrypt(plaintext, zetas.fresh(secrets.token_bytes))) == plaintext


def test_under_a_sieve_a_table_is_made_when_the_first_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, whoever wants one afterwards; in the strict mode a stock is there before."""
    made: list[PublicKey] = []
    create = Randomiser.create

    def counting(public_key: PublicKey, random: Random) -> Randomiser:
        made.append(public_key)
        return create(public_key, random)

    monkeypatch.setattr(Randomiser, "create", counting)
    terms, key = federation().terms, PublicKey(math.prod(small_primes()))
    private = PaillierPrivateKey(key.phe, *small_primes())
    of_sieve = replace(terms, agreement=terms.agreement.model_copy(update={"sieve": True}))
    wanted = zetas_of(of_sieve, secrets.token_bytes)
    assert made == []
    assert isinstance(wanted, ZetasWhenWanted)
    small = ZetasWhenWanted(key, secrets.token_bytes)
    given = {small.fresh(secrets.token_bytes) for _ in range(9)}
    assert len(given) == 9
    assert {private.raw_decrypt(zeta) for zeta in given} == {0}
    assert made == [key]
    assert isinstance(zetas_of(terms, secrets.token_bytes), ZetaStock)
    assert made == [key, terms.public_key]


def test_it_keeps_more_where_more_is_wanted() -> None:
    zetas = stock()
    for _ in range(2000):
        zetas.fresh(secrets.token_bytes)
    assert 16 <= len(filled(zetas, 16)._stock) <= MOST


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
