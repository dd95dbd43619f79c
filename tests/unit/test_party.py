"""Every message is verified step by step, each step with its own error; key generation names who was wrong."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.agreement.roster import COORDINATOR
from protocol.dkg import DkgConfig
from protocol.errors import DecodeError, DkgError, ExpiredError, HeaderError, PeerError, SignatureError
from protocol.messages import DkgCommit, DkgConfirm, Evaluate, Evaluated
from protocol.rounds.keygen import Keygen
from protocol.rounds.party import KEYHOLDERS, Party
from protocol.wire import MAX_CLOCK_SKEW, MAX_LIFETIME, Signed, read
from tests.parties import AGENCIES, NOW, PURPOSE, REQUESTER, federation, forged, party

FEDERATION = federation()
KEYS = {name: FEDERATION.secrets[name].signing_key for name in FEDERATION.secrets}
R, TAX = party(REQUESTER, FEDERATION), party("tax", FEDERATION)
SESSION = b"s" * 16
REQUEST = R.send(Evaluate(bytes(32), (bytes(32),)), audience=KEYHOLDERS, session=SESSION, purpose=PURPOSE, m=1, now=NOW)
REPLY = TAX.reply(Evaluated((bytes(32),), bytes(64)), read(REQUEST, Evaluate), NOW)

Changes = Mapping[str, Any]


def receive(data: bytes, now: int = NOW, by: Party = TAX) -> Signed[Evaluate]:
    return by.receive(data, Evaluate, now, audience=KEYHOLDERS)


def receive_reply(data: bytes, sender: str = "tax") -> Signed[Evaluated]:
    return R.receive_reply(data, Evaluated, read(REQUEST, Evaluate), sender, NOW)


def request(signer: str = REQUESTER, **header: object) -> bytes:
    """R's request with other header fields, signed by whom it may be."""
    return forged(REQUEST, Evaluate, KEYS[signer], header)


def reply(signer: str = "tax", **header: object) -> bytes:
    return forged(REPLY, Evaluated, KEYS[signer], header)


def test_what_was_sent_is_received() -> None:
    assert request() == REQUEST
    message = receive(REQUEST)
    assert (message.header.sender, message.header.session, message.header.m) == (REQUESTER, SESSION, 1)
    assert message.raw == REQUEST
    assert receive_reply(REPLY).header.answers == message.hash


@pytest.mark.parametrize("data", [REQUEST, REPLY], ids=["request", "reply"])
def test_no_byte_of_a_message_can_be_altered(data: bytes) -> None:
    verify: Callable[[bytes], object] = receive if data == REQUEST else receive_reply
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << secrets.randbelow(8)
        with pytest.raises((DecodeError, HeaderError, SignatureError)):
            verify(bytes(altered))


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_message_is_whole_and_nothing_follows_it(cut: int) -> None:
    for data in (REQUEST[:cut], REQUEST + b"\x00", REQUEST + REQUEST):
        with pytest.raises(DecodeError):
            receive(data)


def test_a_message_of_another_type_is_not_read() -> None:
    with pytest.raises(DecodeError, match="type evaluated"):
        receive_reply(REQUEST)
    with pytest.raises(DecodeError, match="type evaluate"):
        receive(REPLY)


def test_a_message_longer_than_its_limit_is_not_read() -> None:
    TAX.receive(REQUEST, Evaluate, NOW, audience=KEYHOLDERS, limit=len(REQUEST))
    with pytest.raises(DecodeError, match="longer"):
        TAX.receive(REQUEST, Evaluate, NOW, audience=KEYHOLDERS, limit=len(REQUEST) - 1)
    with pytest.raises(DecodeError, match="longer"):
        receive(REQUEST + bytes(Evaluate.LIMIT))


HEADERS: Mapping[str, tuple[Changes, str]] = {
    "agreement": ({"agreement": "procurement-2"}, "another agreement"),
    "version": ({"version": 2}, "another version"),
    "epoch": ({"epoch": 2}, "another epoch"),
    "sender": ({"sender": "zebra"}, "not in the roster"),
    "a group as sender": ({"sender": KEYHOLDERS}, "not in the roster"),
    "another group": ({"audience": "agencies"}, "another audience"),
    "one keyholder": ({"audience": "tax"}, "another audience"),
    "the coordinator": ({"audience": COORDINATOR}, "another audience"),
}


@pytest.mark.parametrize(("header", "reason"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_does_not_fit_is_refused(header: Changes, reason: str) -> None:
    with pytest.raises(HeaderError, match=reason):
        receive(request(**header))


def test_without_a_group_a_message_is_for_one_party() -> None:
    addressed = request(audience="tax")
    assert TAX.receive(addressed, Evaluate, NOW).body.blinded
    with pytest.raises(HeaderError, match="audience"):
        party("court", FEDERATION).receive(addressed, Evaluate, NOW)


@pytest.mark.parametrize("signer", ["bank", "tax", COORDINATOR])
def test_only_the_senders_own_key_signs(signer: str) -> None:
    with pytest.raises(SignatureError):
        receive(request(signer))
    with pytest.raises(SignatureError):
        receive(request(REQUESTER, sender=signer))


def test_a_signature_is_for_one_message_type() -> None:
    """The same header and body under another type is another message: DSSE signs the type too."""
    message = read(REQUEST, Evaluate)
    other = replace(message.envelope, payload_type=read(REPLY, Evaluated).envelope.payload_type)
    with pytest.raises(SignatureError):
        other.verify(R.terms.signing_key(REQUESTER))
    message.envelope.verify(R.terms.signing_key(REQUESTER))


@pytest.mark.parametrize("now", [NOW - MAX_CLOCK_SKEW, NOW, NOW + MAX_LIFETIME - 1])
def test_a_message_is_valid_for_its_lifetime(now: int) -> None:
    receive(REQUEST, now)


@pytest.mark.parametrize(
    ("now", "reason"),
    [(NOW - MAX_CLOCK_SKEW - 1, "future"), (NOW + MAX_LIFETIME, "expired"), (NOW + 10**6, "expired")],
)
def test_before_and_after_its_lifetime_it_is_not(now: int, reason: str) -> None:
    with pytest.raises(ExpiredError, match=reason):
        receive(REQUEST, now)


@pytest.mark.parametrize("expires", [NOW + MAX_LIFETIME + 1, NOW + 10**9, NOW, NOW - 1, 0])
def test_the_receiver_caps_the_lifetime(expires: int) -> None:
    with pytest.raises(ExpiredError, match="lives too long"):
        receive(request(expires=expires))


def test_a_message_cannot_be_dated_ahead_to_live_longer() -> None:
    late = NOW + MAX_LIFETIME + MAX_CLOCK_SKEW
    ahead = request(issued=NOW + MAX_CLOCK_SKEW, expires=late)
    receive(ahead)
    receive(ahead, late - 1)
    for now in (NOW - 1, late):
        with pytest.raises(ExpiredError):
            receive(ahead, now)


def test_a_reply_is_from_the_party_that_was_asked() -> None:
    with pytest.raises(HeaderError, match="another party"):
        receive_reply(REPLY, sender="court")
    with pytest.raises(HeaderError, match="another party"):
        receive_reply(reply("court", sender="court"))


REPLIES: Mapping[str, Changes] = {
    "another message": {"answers": bytes(32)},
    "no message": {"answers": b""},
    "a part of the hash": {"answers": read(REQUEST, Evaluate).hash[:31]},
    "another session": {"session": b"t" * 16},
}


@pytest.mark.parametrize("header", REPLIES.values(), ids=REPLIES.keys())
def test_a_reply_answers_exactly_the_message_that_was_sent(header: Changes) -> None:
    with pytest.raises(HeaderError, match="another message"):
        receive_reply(reply(**header))


def test_a_reply_to_an_equal_question_sent_again_does_not_answer_it() -> None:
    """Same fields, a second later: another hash."""
    later = read(forged(REQUEST, Evaluate, KEYS[REQUESTER], {"issued": NOW + 1}), Evaluate)
    with pytest.raises(HeaderError, match="another message"):
        R.receive_reply(REPLY, Evaluated, later, "tax", NOW)


@pytest.mark.parametrize("header", [{"purpose": "curiosity"}, {"m": 2}])
def test_a_reply_is_for_the_purpose_and_the_subjects_that_were_asked(header: Changes) -> None:
    with pytest.raises(HeaderError, match="another purpose or number"):
        receive_reply(reply(**header))


def test_a_request_answers_nothing() -> None:
    with pytest.raises(HeaderError, match="answers no message"):
        receive(request(answers=bytes(32)))


def test_a_reply_is_for_whoever_asked() -> None:
    with pytest.raises(HeaderError, match="audience"):
        receive_reply(reply(audience="bank"))
    coordinator = party(COORDINATOR, FEDERATION)
    # C passes it on, and may verify it.
    assert coordinator.receive_reply(REPLY, Evaluated, read(REQUEST, Evaluate), "tax", NOW)


# In the order of the module's steps; each fault is planted together with all that come after it.
FAULTS: tuple[tuple[type[PeerError], str, Changes], ...] = (
    (HeaderError, "another agreement", {"agreement": "x"}),
    (HeaderError, "another version", {"version": 2}),
    (HeaderError, "another epoch", {"epoch": 2}),
    (HeaderError, "not in the roster", {"sender": "zebra"}),
    (SignatureError, "signature", {"sender": "court"}),
    (HeaderError, "another audience", {"audience": "bank"}),
    (ExpiredError, "future", {"issued": NOW + 6}),
    (ExpiredError, "expired", {"expires": NOW}),
    (HeaderError, "another party", {}),
    (HeaderError, "another message", {"answers": bytes(32)}),
    (HeaderError, "another purpose", {"purpose": "curiosity"}),
)


@pytest.mark.parametrize("step", range(len(FAULTS)))
def test_the_first_step_that_fails_is_the_one_that_refuses(step: int) -> None:
    error, reason, _ = FAULTS[step]
    header: dict[str, Any] = {}
    for _, _, changes in reversed(FAULTS[step:]):
        header |= changes
    if error is not SignatureError and header.get("sender") == "court":
        del header["sender"]
    with pytest.raises(error, match=reason):
        receive_reply(reply(**header), sender="court" if step == 8 else "tax")


def test_a_party_shows_no_key() -> None:
    shown = repr(TAX)
    assert "signing_key" not in shown
    assert "sealing_key" not in shown
    assert "tax" in shown


HOLDERS = AGENCIES[:3]
CONFIG = DkgConfig(b"agreement, epoch, key, run", HOLDERS, 2)
RUN = Keygen(CONFIG, "procurement", 1, 1, {name: KEYS[name].public_key() for name in HOLDERS})
COMMITS = {name: RUN.write(DkgCommit(name.encode().ljust(32)), name, KEYS[name], NOW) for name in HOLDERS}


def culprits(messages: Mapping[str, bytes], now: int = NOW) -> tuple[str, ...]:
    with pytest.raises(DkgError, match="not as required") as caught:
        RUN.collect(messages, DkgCommit, now)
    return caught.value.culprits


def commit(name: str, signer: Ed25519PrivateKey | None = None, **header: object) -> bytes:
    return forged(COMMITS[name], DkgCommit, signer or KEYS[name], header)


@pytest.mark.parametrize("now", [NOW - MAX_CLOCK_SKEW, NOW, NOW + MAX_LIFETIME - 1])
def test_a_phase_is_collected_by_sender(now: int) -> None:
    assert RUN.collect(COMMITS, DkgCommit, now) == {name: DkgCommit(name.encode().ljust(32)) for name in HOLDERS}
    assert commit("tax") == COMMITS["tax"]


ANOTHER_RUN = Keygen(DkgConfig(b"another run", HOLDERS, 2), "procurement", 1, 1, RUN.identities)
WRONG: Mapping[str, bytes] = {
    "no message": b"",
    "no CBOR": b"\xff" * 100,
    "cut short": COMMITS["tax"][:-1],
    "another's message": COMMITS["court"],
    "another's message, signed by itself": commit("court", KEYS["tax"]),
    "signed by another": commit("tax", KEYS["court"]),
    "of another phase": RUN.write(DkgConfirm(bytes(32)), "tax", KEYS["tax"], NOW),
    "of another run": ANOTHER_RUN.write(DkgCommit(bytes(32)), "tax", KEYS["tax"], NOW),
    "another agreement": commit("tax", agreement="other"),
    "another version": commit("tax", version=2),
    "another epoch": commit("tax", epoch=2),
    "another sender": commit("tax", sender="court"),
    "another audience": commit("tax", audience="agencies"),
    "another session": commit("tax", session=SESSION),
    "another purpose": commit("tax", purpose="seal"),
    "with subjects": commit("tax", m=1),
    "an answer": commit("tax", answers=bytes(32)),
    "lives too long": commit("tax", expires=NOW + MAX_LIFETIME + 1),
    "expired": commit("tax", issued=NOW - MAX_LIFETIME, expires=NOW),
    "from the future": commit("tax", issued=NOW + 6, expires=NOW + 6 + MAX_LIFETIME),
}


@pytest.mark.parametrize("message", WRONG.values(), ids=WRONG.keys())
def test_each_fault_in_key_generation_names_its_sender_alone(message: bytes) -> None:
    assert culprits({**COMMITS, "tax": message}) == ("tax",)


def test_no_byte_of_a_key_generation_message_can_be_altered() -> None:
    for position in range(len(COMMITS["tax"])):
        altered = bytearray(COMMITS["tax"])
        altered[position] ^= 1 << secrets.randbelow(8)
        assert culprits({**COMMITS, "tax": bytes(altered)}) == ("tax",)


def test_two_culprits_are_named_at_once_and_whatever_each_did() -> None:
    assert culprits({**COMMITS, "tax": b"", "court": commit("court", epoch=2)}) == ("court", "tax")


def test_a_stranger_to_key_generation_is_named() -> None:
    assert culprits({**COMMITS, "zebra": COMMITS["tax"]}) == ("zebra",)


@pytest.mark.parametrize("now", [NOW - MAX_CLOCK_SKEW - 1, NOW + MAX_LIFETIME])
def test_a_phase_out_of_time_names_everyone(now: int) -> None:
    assert culprits(COMMITS, now) == tuple(sorted(HOLDERS))
