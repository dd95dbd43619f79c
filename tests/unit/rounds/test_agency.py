"""What an agency reads in a question, what it refuses, and for whom it has an entry."""

import secrets
from collections.abc import Callable, Mapping

import pytest

from protocol import labels
from protocol.codec import encode, i2osp
from protocol.errors import BucketOverflowError, CommitmentError, DecodeError, SealError
from protocol.hpke import seal
from protocol.messages import Answer, Ask, SealedAsk
from protocol.rounds import agency
from protocol.sealing import ask_commitment
from protocol.wire import read, to_map
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, forged
from tests.unit.rounds.steps import answers, joint, key, question, randomised, receive


def crafted(plain: bytes, commitment: bytes, session: bytes = b"s" * 16, m: int = 1) -> bytes:
    """An `ask` whose sealed parts hold whatever R likes."""
    r, terms = joint().parties[REQUESTER], joint().terms
    boxes = {
        name: seal(plain, terms.sealing_key(name), labels.SEALED_ASK, name.encode(), session) for name in terms.agencies
    }
    return r.send(Ask(commitment, boxes), audience="agencies", session=session, purpose=PURPOSE, m=m, now=NOW)


def asking(*prefixes: int, nonce: bytes = bytes(32), m: int | None = None, com: bytes | None = None) -> bytes:
    plain = encode(to_map(SealedAsk(nonce, tuple(i2osp(prefix, 8) for prefix in prefixes))))
    commitment = ask_commitment(b"s" * 16, nonce, prefixes) if com is None else com
    return crafted(plain, commitment, m=len(prefixes) if m is None else m)


def test_an_agency_learns_the_nonce_and_the_prefixes_that_were_asked() -> None:
    for name in AGENCIES:
        asked = receive(question().asked, name)
        assert (asked.nonce, asked.prefixes) == (question().state.nonce, question().state.prefixes)
    highest = (1 << joint().terms.bucket_bits) - 1
    assert receive(asking(0, highest)).prefixes == (0, highest)


PREFIXES: Mapping[str, Callable[[], bytes]] = {
    "beyond the buckets": lambda: asking(1 << joint().terms.bucket_bits),
    "far beyond": lambda: asking(2**64 - 1),
    "one of two beyond": lambda: asking(0, 1 << joint().terms.bucket_bits),
    "fewer than m": lambda: asking(0, m=2),
    "more than m": lambda: asking(0, 0, m=1),
    "m is zero": lambda: asking(0, m=0),
}


@pytest.mark.parametrize("asked", PREFIXES.values(), ids=PREFIXES.keys())
def test_prefixes_that_do_not_fit_are_refused(asked: Callable[[], bytes]) -> None:
    with pytest.raises(DecodeError, match="prefixes does not fit"):
        receive(asked())


OTHERS: Mapping[str, Callable[[], bytes]] = {
    "nothing": lambda: bytes(32),
    "other prefixes": lambda: ask_commitment(b"s" * 16, bytes(32), (1,)),
    "another nonce": lambda: ask_commitment(b"s" * 16, b"n" * 32, (0,)),
    "another session": lambda: ask_commitment(b"t" * 16, bytes(32), (0,)),
    "another question": lambda: question().state.ask.body.commitment,
}


@pytest.mark.parametrize("com", OTHERS.values(), ids=OTHERS.keys())
def test_another_question_than_committed_to_is_refused(com: Callable[[], bytes]) -> None:
    """So R cannot ask agencies about different subjects and subtract the answers."""
    with pytest.raises(CommitmentError):
        receive(asking(0, com=com()))
    receive(asking(0))


INNER = {"nonce": bytes(32), "prefixes": [bytes(8)]}
SEALED: Mapping[str, bytes] = {
    "nothing": b"",
    "no CBOR": b"\xff" * 40,
    "a list": encode([1, 2]),
    "a number": encode(1),
    "no prefixes": encode(INNER | {"prefixes": []}),
    "a short prefix": encode(INNER | {"prefixes": [bytes(7)]}),
    "a short nonce": encode(INNER | {"nonce": bytes(31)}),
    "a field missing": encode({"nonce": bytes(32)}),
    "a field too many": encode(INNER | {"note": 1}),
    "not canonical": encode(INNER) + b"\x00",
}


@pytest.mark.parametrize("plain", SEALED.values(), ids=SEALED.keys())
def test_a_sealed_part_that_holds_something_else_does_not_decode(plain: bytes) -> None:
    receive(crafted(encode(INNER), ask_commitment(b"s" * 16, bytes(32), (0,))))
    with pytest.raises(DecodeError):
        receive(crafted(plain, bytes(32)))


def test_a_sealed_part_is_for_one_agency() -> None:
    boxes = dict(question().state.ask.body.sealed)
    swapped = boxes | {"tax": boxes["court"], "court": boxes["tax"]}
    for wrong in (swapped, boxes | {"tax": boxes["tax"][:-1] + bytes([boxes["tax"][-1] ^ 1])}):
        with pytest.raises(SealError):
            receive(forged(question().asked, Ask, key(REQUESTER), body={"sealed": wrong}))


def test_a_sealed_part_is_for_one_session() -> None:
    with pytest.raises(SealError):
        receive(forged(question().asked, Ask, key(REQUESTER), {"session": bytes(16)}))


def test_every_agency_is_asked_and_nobody_else() -> None:
    boxes = dict(question().state.ask.body.sealed)
    for names in (
        {name: box for name, box in boxes.items() if name != "market"},
        boxes | {"zebra": boxes["tax"]},
        boxes | {REQUESTER: boxes["tax"]},
    ):
        with pytest.raises(DecodeError, match="exactly the agreement's agencies"):
            receive(forged(question().asked, Ask, key(REQUESTER), body={"sealed": names}))


def test_an_overfull_bucket_is_not_answered() -> None:
    asked, own, size = receive(question().asked), joint().parties["tax"], joint().terms.bucket_size
    silent = (0,) * len(joint().terms.layout(REQUESTER).lanes)

    def answer(entries: int) -> bytes:
        bucket = [(secrets.token_bytes(32), silent) for _ in range(entries)]
        buckets = dict.fromkeys(asked.prefixes, bucket)
        return agency.answer(own, asked, buckets, randomised(), secrets.token_bytes, NOW)

    assert read(answer(size), Answer, 1 << 26).body.sealed
    with pytest.raises(BucketOverflowError):
        answer(size + 1)


def test_a_subject_whose_payload_is_zero_has_no_entry() -> None:
    """The disputed subject stands in labour's register alone, the third one nowhere."""
    lifted = question().accept(answers())
    assert [value is not None for value in lifted["labour"]] == [True, True, False]
    assert [value is not None for value in lifted["tax"]] == [True, False, False]
    assert {name: set(lifted[name]) for name in ("court", "market", "customs")} == {
        name: {None} for name in ("court", "market", "customs")
    }
