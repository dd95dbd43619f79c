"""What a door, the subject's own client and the coordinator take for an agency's answer to a subject."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from federation.coordinator import Coordinator
from federation.transport import MemoryNetwork
from nodes.storage.engine import open_engine
from nodes.storage.state import ProtocolState
from protocol import labels
from protocol.agreement.roster import COORDINATOR
from protocol.agreement.terms import SEAL
from protocol.codec import decode, encode, i2osp
from protocol.envelope import sign
from protocol.errors import (
    DecodeError,
    HeaderError,
    IndeterminateError,
    NotGrantedError,
    PeerError,
    QuotaError,
    ReplayedError,
    SealError,
    SignatureError,
)
from protocol.hpke import seal, unseal
from protocol.messages import CONTENT_BYTES, Access, Accessed
from protocol.rounds import access
from protocol.wire import read
from tests.parties import AGENCIES, NOW, REQUESTER, forged
from tests.unit.rounds.door import (
    DOOR,
    FOREIGN,
    HELD,
    NOTHING,
    STRANGER,
    SUBJECT,
    answered,
    asked,
    asking,
    opened,
    party,
    replies,
    request,
)
from tests.unit.rounds.steps import LATE, LISTED, UNLISTED, key

# What the door takes for an answer.


def reply(signer: str = "tax", body: Mapping[str, Any] | None = None, **header: object) -> bytes:
    return forged(replies()["tax"], Accessed, key(signer), header, body)


def short() -> bytes:
    """An answer of half the size, signed by its agency."""
    right = read(replies()["tax"], Accessed)
    payload = decode(right.envelope.payload, Accessed.LIMIT)
    payload["body"]["sealed"] = payload["body"]["sealed"][: CONTENT_BYTES // 2]
    return sign(right.envelope.payload_type, encode(payload), key("tax")).to_bytes()


NO_ANSWERS: Mapping[str, tuple[Callable[[], bytes], type[PeerError]]] = {
    "nothing": (lambda: b"", DecodeError),
    "cut short": (lambda: replies()["tax"][:-1], DecodeError),
    "of another size": (short, DecodeError),
    "another type": (lambda: asked().raw, DecodeError),
    "altered": (lambda: replies()["tax"][:-1] + bytes([replies()["tax"][-1] ^ 1]), SignatureError),
    "signed by the coordinator": (lambda: reply(COORDINATOR), SignatureError),
    "another agency's": (lambda: replies()["court"], PeerError),
    "to another request": (lambda: answered("tax", asking(LISTED, UNLISTED).raw), HeaderError),
    "for another door": (lambda: reply(audience="court"), HeaderError),
    "of another epoch": (lambda: reply(epoch=2), HeaderError),
    "of another version": (lambda: reply(version=2), HeaderError),
    "for another purpose": (lambda: reply(purpose=SEAL), HeaderError),
    "for more identifiers": (lambda: reply(m=3), HeaderError),
    "to nothing": (lambda: reply(answers=b""), HeaderError),
}


@pytest.mark.parametrize(("data", "_error"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_answer_counts_as_none_and_its_agency_is_named(
    data: Callable[[], bytes], _error: type[PeerError]
) -> None:
    found, missing = access.answers(party(DOOR), asked(), encode(replies() | {"tax": data()}), NOW)
    assert missing == ("tax",)
    assert found == {name: data for name, data in replies().items() if name != "tax"}


def test_who_did_not_answer_is_named_in_the_agreements_order() -> None:
    for held in ((), ("court",), ("market", "labour")):
        found, missing = access.answers(party(DOOR), asked(), encode({name: replies()[name] for name in held}), NOW)
        assert set(found) == set(held)
        assert missing == tuple(name for name in AGENCIES if name not in held)
    assert access.answers(party(DOOR), asked(), encode(replies()), LATE) == ({}, AGENCIES)


@pytest.mark.parametrize("value", [[], 1, None, "x", {"zebra": b""}, {"bank": b""}, {"tax": 5}, {"tax": None}])
def test_what_is_no_map_of_answers_does_not_decode(value: object) -> None:
    with pytest.raises(DecodeError):
        access.answers(party(DOOR), asked(), encode(value), NOW)
    with pytest.raises(DecodeError):
        access.answers(party(DOOR), asked(), b"garbage", NOW)


# What the subject's own client takes for an answer.


@pytest.mark.parametrize(("data", "error"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_a_subject_opens_nothing_but_an_agencys_answer_to_its_own_request(
    data: Callable[[], bytes], error: type[PeerError]
) -> None:
    with pytest.raises(error):
        opened(data())


def test_a_subject_sees_that_its_door_asked_for_another_key() -> None:
    """The door could read such an answer; what it shows the subject must name the subject's key."""
    swapped = asking(LISTED, UNLISTED, of=FOREIGN)
    with pytest.raises(HeaderError, match="another key"):
        opened(answered("tax", swapped.raw), request=swapped.raw)
    shown = request()
    with pytest.raises(HeaderError, match="another message"):
        opened(answered("tax", swapped.raw), request=shown)


def test_only_the_subject_opens_its_answers() -> None:
    with pytest.raises(HeaderError):
        opened(replies()["tax"], of=STRANGER)
    context = b"tax", asked().hash
    for wrong in (STRANGER, party(DOOR).sealing_key, party("tax").sealing_key, party(COORDINATOR).sealing_key):
        with pytest.raises(SealError):
            unseal(read(replies()["tax"], Accessed).body.sealed, wrong, labels.SEALED_CONTENT, *context)


def test_an_answer_is_by_the_agency_that_it_is_said_to_be_from() -> None:
    with pytest.raises(PeerError):
        opened(replies()["tax"], "court")
    for nobody in ("zebra", REQUESTER, COORDINATOR):
        with pytest.raises(HeaderError, match="by an agency"):
            opened(replies()["tax"], nobody)


def test_a_request_is_by_an_agency_that_signed_it() -> None:
    for data, error in (
        (request(REQUESTER), HeaderError),
        (forged(asked().raw, Access, key("tax")), SignatureError),
        (b"", DecodeError),
    ):
        with pytest.raises(error):
            opened(replies()["tax"], request=data)


def test_an_answer_stays_open_to_the_subject_after_its_time() -> None:
    """No clock is asked: nobody can have answered before the subject made its key."""
    assert opened(reply(issued=NOW - 86_400, expires=NOW - 86_340)) == HELD["tax"]


CONTENTS: Mapping[str, bytes] = {
    "longer than it is": (i2osp(CONTENT_BYTES - 3, 4)).ljust(CONTENT_BYTES, b"\0"),
    "far longer": b"\xff" * 4 + bytes(CONTENT_BYTES - 4),
    "something in the padding": i2osp(2, 4) + NOTHING + bytes(CONTENT_BYTES - 7) + b"\1",
}


@pytest.mark.parametrize("plain", CONTENTS.values(), ids=CONTENTS.keys())
def test_content_that_is_not_of_its_form_is_refused(plain: bytes) -> None:
    def answer(inner: bytes) -> bytes:
        sealed = seal(inner, SUBJECT.public_key(), labels.SEALED_CONTENT, b"tax", asked().hash)
        return party("tax").reply(Accessed(sealed), asked(), NOW)

    assert opened(answer(i2osp(2, 4) + NOTHING + bytes(CONTENT_BYTES - 6))) == NOTHING
    with pytest.raises(DecodeError, match="not of its form"):
        opened(answer(plain))


def test_an_answer_sealed_for_another_request_or_agency_does_not_open() -> None:
    for context in ((b"court", asked().hash), (b"tax", bytes(32))):
        sealed = seal(bytes(CONTENT_BYTES), SUBJECT.public_key(), labels.SEALED_CONTENT, *context)
        with pytest.raises(SealError):
            opened(reply(body={"sealed": sealed}))


# The coordinator's part.


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ProtocolState]:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield ProtocolState(engine)
    engine.dispose()


def served(
    ledger: ProtocolState, data: bytes, failing: Mapping[str, bytes | PeerError] | None = None
) -> dict[str, bytes]:
    """What a coordinator makes of a door's message before agencies that answer, or do what is said of them."""
    network = MemoryNetwork()

    def attach(name: str) -> None:
        async def handle(kind: str, message: bytes) -> bytes:
            assert kind == Access.TYPE
            match (failing or {}).get(name):
                case bytes() as wrong:
                    return wrong
                case PeerError() as refusal:
                    raise refusal
            return answered(name, message)

        network.attach(name, handle)

    for name in AGENCIES:
        attach(name)

    async def run(*_: Any) -> Any:
        raise AssertionError("nothing is computed for a subject")

    coordinator = Coordinator(party(COORDINATOR), network.transport(COORDINATOR), ledger, run, lambda: NOW)
    found: dict[str, bytes] = decode(asyncio.run(coordinator.handle(Access.TYPE, data)), 1 << 20)
    return found


def logged(ledger: ProtocolState) -> list[tuple[str, str, str, int]]:
    return [(entry.kind, entry.sender, entry.outcome, entry.m) for entry in ledger.entries()]


def test_the_coordinator_passes_on_what_every_agency_answers(ledger: ProtocolState) -> None:
    found, missing = access.answers(party(DOOR), asked(), encode(served(ledger, asked().raw)), NOW)
    assert missing == ()
    assert {name: opened(data, name) for name, data in found.items()} == {
        name: HELD.get(name, NOTHING) for name in AGENCIES
    }
    assert logged(ledger) == [("access", DOOR, "admitted", 2)]


def test_some_answers_are_given_where_others_are_missing(ledger: ProtocolState) -> None:
    """What an agency holds is whole by itself; who did not answer is missing, and nothing else is said of it."""
    failing: dict[str, bytes | PeerError] = {
        "court": IndeterminateError(["court"]),
        "customs": b"garbage",
        "labour": replies()["tax"],
    }
    assert set(served(ledger, asked().raw, failing)) == {"tax", "market"}
    everybody: dict[str, bytes | PeerError] = dict.fromkeys(AGENCIES, QuotaError("spent", 60))
    assert served(ledger, asking(LISTED).raw, everybody) == {}


def test_a_question_is_passed_on_once(ledger: ProtocolState) -> None:
    served(ledger, asked().raw)
    with pytest.raises(ReplayedError):
        served(ledger, asked().raw)
    assert [outcome for _, _, outcome, _ in logged(ledger)] == ["admitted", "ReplayedError"]


def test_a_door_asks_under_a_thousand_identifiers_a_day(ledger: ProtocolState) -> None:
    """So an agency that lies about whom it authenticated cannot go through the population."""
    terms = party(COORDINATOR).terms
    allowance = terms.allowance(asked().header, NOW)
    assert allowance.limit == 1000
    before = party(DOOR).header(
        audience="agencies", session=bytes(16), purpose="subject-access", m=999, now=NOW, expires=NOW + 60
    )
    ledger.admit(Access.TYPE, before, allowance, NOW)
    with pytest.raises(QuotaError):
        served(ledger, asked().raw)
    assert served(ledger, asking(LISTED).raw)


def test_the_coordinator_passes_nothing_on_without_a_right(ledger: ProtocolState) -> None:
    with pytest.raises(NotGrantedError):
        served(ledger, request(REQUESTER))
    assert logged(ledger) == [("access", "", "NotGrantedError", 0)]
